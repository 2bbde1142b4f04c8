"""What the user named -> the shapes of that model, from its configuration, its files' headers, or the user's code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from attncli.errors import ModelError, UsageError
from attncli.models.files.model_files import ModelFiles, open_files
from attncli.models.files.reference import Kind, ModelRef, parse_reference
from attncli.progress import Progress
from attncli.verbs.shapes import Shapes, from_module

Source = Literal["config", "header"]
_WITH_HEADER = (".safetensors", ".gguf")


class How(NamedTuple):
    """How a model that was named is to be had, and what is changed in its configuration."""

    source: Source | None
    changes: Sequence[str]
    revision: str | None
    refresh: bool
    trust_remote_code: bool
    progress: Progress

    def shapes(self, model: str | Path) -> Shapes:
        """The tensors of the model of this name. Raises ModelError where it is not to be had."""
        ref = parse_reference(str(model), revision=self.revision)
        if ref.kind is Kind.FUNCTION:
            return self._from_function(ref)
        if ref.kind is Kind.PRESET:
            return self._from_preset(ref)
        files, fields = self._opened(ref)
        if files.base is None:
            return self._from_files(files, fields)
        from attncli.models.files.adapters import check_adapter_header
        from attncli.verbs.checkpoints import with_adapter

        check_adapter_header(ref, files.source)
        return with_adapter(self._from_files(files, fields), files)

    def _from_files(self, files: ModelFiles, fields: dict[str, Any] | None) -> Shapes:
        from_header = _needs_header(files, fields) if self.source is None else self.source == "header"
        return self._from_headers(files) if from_header else self._from_config(files, fields or {})

    def _opened(self, ref: ModelRef) -> tuple[ModelFiles, dict[str, Any] | None]:
        """The files of a model, and its configuration. Where they are not to be had, a preset may do."""
        try:
            files = open_files(ref, refresh=self.refresh, progress=self.progress)
            return files, _fields(files)
        except ModelError as error:
            from attncli.models.builtin.presets import preset_called

            preset = preset_called(ref.location) if ref.kind is Kind.HUB else None
            if preset is None:
                raise
            hint = f"preset:{preset} counts this architecture without the hub; {error.hint}"
            raise ModelError(error.message, hint=hint) from error

    def _from_function(self, ref: ModelRef) -> Shapes:
        if self.changes or self.source:
            raise UsageError(f"{ref.name} has no configuration", hint="leave --set and --source out")
        self.progress("starting torch", 0, None)
        from attncli.models.loading.own_code import module_of

        return from_module(module_of(ref), ref.name)

    def _from_preset(self, ref: ModelRef) -> Shapes:
        if self.source == "header":
            raise UsageError(f"{ref.name} is an architecture without weights", hint="leave --source header out")
        from attncli.models.builtin.presets import read_preset
        from attncli.verbs.configured import of_preset

        return of_preset(ref.name, read_preset(ref.location), self.changes, self.progress).shapes()

    def _from_headers(self, files: ModelFiles) -> Shapes:
        """The tensors of the weights, by the headers of their files. Imports neither torch nor transformers."""
        if self.changes:
            raise UsageError("--set changes a configuration, not a checkpoint", hint="name its config.json instead")
        from attncli.models.files.checkpoint import read_checkpoint
        from attncli.verbs.checkpoints import from_checkpoint

        return from_checkpoint(read_checkpoint(files), files)

    def _from_config(self, files: ModelFiles, fields: dict[str, Any]) -> Shapes:
        from attncli.verbs.checkpoints import reconciled
        from attncli.verbs.configured import of_files

        configured = of_files(files, fields, self.changes, self.progress, trust_remote_code=self.trust_remote_code)
        # A checkpoint says nothing about a model that is otherwise.
        return configured.shapes() if self.changes else reconciled(configured, files)


def _fields(files: ModelFiles) -> dict[str, Any] | None:
    """What config.json holds; None where there is none, as beside a GGUF file."""
    from attncli.models.files import weight_headers

    path = files.find("config.json")
    return weight_headers.read_json(path, mend=files.mend) if path is not None else None


def _needs_header(files: ModelFiles, fields: dict[str, Any] | None) -> bool:
    """Whether the weights were named, or no configuration says anything of them."""
    if files.ref.named_file or fields is None:
        return True
    # A configuration that is there and empty is what is wrong with the model, unless there are weights beside it.
    model = files if files.base is None else files.base
    return not fields and any(name.endswith(_WITH_HEADER) for name in model.source.names())
