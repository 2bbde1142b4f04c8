"""Adapters (LoRA, prefix tuning and others), applied and run by peft: `apply_adapter`, `Adapter`.

The names in an adapter's configuration and weights are those of the class that it was trained on, mostly a model with a
head. So that class is built (`trained_class`), with as many labels as the adapter's saved head has (`set_label_count`),
and `peft.PeftModel` wraps it. Passes go through the wrapper, as some adapters act in its forward pass: activated LoRA
looks for its invocation tokens there, and prompt learning adds its virtual tokens.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import transformers
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from attncli.errors import ModelError
from attncli.models.capture.hooks import hooked
from attncli.models.files.sources import ADAPTER_CONFIG
from attncli.models.files.weight_headers import read_json
from attncli.models.loading.configuration import custom_class, first_model_class
from attncli.models.loading.library_errors import library_errors
from attncli.models.loading.meta_model import empty_module

if TYPE_CHECKING:
    from attncli.models.files.model_files import ModelFiles

#: The auto class of transformers that is trained for each task of peft, as in peft's own `AutoPeftModelFor…`.
_TASK_CLASSES = {
    "CAUSAL_LM": "AutoModelForCausalLM",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
    "FEATURE_EXTRACTION": "AutoModel",
}

#: Prefixes of names in an adapter's file: peft's wrapper and its tuner, or the wrapper alone (prompt learning).
_WRAPPERS = ("base_model.model.", "base_model.")

#: Methods whose virtual tokens are keys and values before those of every layer; those of others are embeddings.
_PREFIX_METHODS = frozenset({"PREFIX_TUNING", "CARTRIDGE"})

_BASE_HINT = "write the base model that it was trained on as base_model_name_or_path into its adapter_config.json"
_OTHER_ADAPTER_HINT = "use its base model instead (-m), or another adapter"


@dataclass(frozen=True)
class Adapter:
    """A model with an adapter, as peft runs it. model: the `peft.PeftModel`."""

    model: Any
    name: str

    @property
    def base(self) -> PreTrainedModel:
        """The transformers model inside, with the adapter's modules in their places."""
        return self.model.get_base_model()

    @property
    def kind(self) -> str:
        """peft's name of the method, such as `LORA`."""
        return str(getattr(self._config.peft_type, "value", self._config.peft_type))

    @property
    def virtual_tokens(self) -> int:
        """How many learned positions come before every text."""
        return int(self._config.num_virtual_tokens) if self._config.is_prompt_learning else 0

    @property
    def has_virtual_queries(self) -> bool:
        """Whether the virtual tokens are rows as well as columns: embeddings, and not only keys and values."""
        return self.virtual_tokens > 0 and self.kind not in _PREFIX_METHODS

    @property
    def acts_by_position(self) -> bool:
        """Whether its modules compute something else before the tokens that invoke it than after them (aLoRA)."""
        return bool(getattr(self._config, "alora_invocation_tokens", None))

    def virtual_states(self, stack: str | None) -> int:
        """How many states of a stack belong to virtual tokens: a prompt comes before the text, not before a target."""
        is_target = bool(self.base.config.is_encoder_decoder) and stack == "decoder"
        return self.virtual_tokens if self.has_virtual_queries and not is_target else 0

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the attention that is shown leaves out."""
        if not getattr(self._config, "is_adaption_prompt", False):
            return ()
        return (
            f"{self.name} attends to its adaption prompt with a second softmax; the patterns show only the first "
            "softmax, over the text",
        )

    def __call__(self, **arguments: Any) -> Any:
        """A forward pass, with the logits of the last position alone.

        Raises ModelError where peft needs more than a text for this method.
        """
        with self._reported_errors(), _last_logits_only(self.base):
            return self.model(**arguments)

    def with_logits(self, **arguments: Any) -> Any:
        """A forward pass with the logits of every position. Raises ModelError as a call does."""
        with self._reported_errors():
            return self.model(**arguments)

    def generate(self, **arguments: Any) -> Any:
        """As transformers' `generate`. Raises ModelError as a call does."""
        with self._reported_errors():
            return self.model.generate(**arguments)

    @property
    def _config(self) -> Any:
        return self.model.active_peft_config

    @contextmanager
    def _reported_errors(self) -> Iterator[None]:
        what = f"the adapter {self.name} ({self.kind}) can't be run on a text"
        with library_errors(what, _OTHER_ADAPTER_HINT), warnings.catch_warnings(action="ignore"):
            yield


#: What peft raises for adapters that it can't build, load or run.
_PEFT_ERRORS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RuntimeError,
    AssertionError,
    ArithmeticError,
    ImportError,
    OSError,
)


@contextmanager
def _last_logits_only(module: PreTrainedModel) -> Iterator[None]:
    """Compute the logits of the last position alone: those of a long text would take more memory than its attention."""
    head = module.get_output_embeddings()
    if head is None:
        yield
        return

    def keep_last(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        states = inputs[0] if inputs else None
        return (states[:, -1:], *inputs[1:]) if isinstance(states, Tensor) and states.ndim == 3 else inputs

    with hooked(iter([head.register_forward_pre_hook(keep_last)])):
        yield


# --- The class that an adapter was trained on


def trained_class(config: PreTrainedConfig, files: ModelFiles) -> type[PreTrainedModel] | None:
    """The class that an adapter was trained on: its task's, else the one in its `auto_mapping`, else the first in
    `architectures` of its base. None where none of these names one."""
    fields = _adapter_fields(files)
    auto = _TASK_CLASSES.get(str(fields.get("task_type")))
    own = (getattr(config, "auto_map", None) or {}).get(auto)
    if own and files.trusted:
        return custom_class(files, own)
    mapping = fields.get("auto_mapping")
    named = [mapping.get("base_model_class")] if isinstance(mapping, dict) else []
    found = None if auto is None else getattr(transformers, auto)._model_mapping.get(type(config), None)
    cls: type[PreTrainedModel] | None = found[0] if isinstance(found, tuple | list) else found
    # The entry of a model with several parts may be the class of its text part.
    if cls is not None and cls.config_class is type(config):
        return cls
    return first_model_class((*named, *(config.architectures or ())))


def _adapter_fields(files: ModelFiles) -> dict[str, Any]:
    assert files.adapter is not None
    return read_json(files.adapter / ADAPTER_CONFIG, repair_hint=files.source.repair_hint)


# --- Applying an adapter


def check_applicable(files: ModelFiles) -> None:
    """Raise ModelError for an adapter whose loading would fetch other models, or run code that its files name."""
    fields = _adapter_fields(files)
    if fields.get("peft_type") == "XLORA":
        reason = "peft can load an X-LoRA only together with all adapters that it mixes"
    elif fields.get("peft_type") == "SHADOW" and fields.get("shadow_model", "mirror") != "mirror":
        reason = f"it needs a second model, {str(fields['shadow_model'])!r}"
    elif fields.get("megatron_config"):
        reason = "its configuration names a module to import (megatron_core)"
    else:
        return
    raise ModelError(
        f"the adapter {files.ref.name} ({fields.get('peft_type')}) can't be applied: {reason}", hint=_OTHER_ADAPTER_HINT
    )


def read_weights(files: ModelFiles) -> dict[str, Tensor]:
    """The tensors of an adapter by the names in its file. Raises ModelError for a file that can't be read."""
    from peft import load_peft_weights

    what = f"the weights of the adapter {files.ref.name} can't be read"
    with library_errors(what, files.source.repair_hint, catch=_PEFT_ERRORS):
        return load_peft_weights(str(files.adapter), device="cpu")  # type: ignore[no-any-return]


def set_label_count(config: PreTrainedConfig, cls: type[PreTrainedModel], saved: Mapping[str, Tensor]) -> None:
    """Give the configuration as many labels as the head that the adapter saved has.

    A head is found by its shape: its first dimension is the number of labels in a model with the configuration's own.
    """
    from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING

    own = tuple(prefix for prefix in PEFT_TYPE_TO_PREFIX_MAPPING.values() if prefix)
    whole = {name: tensor for name, tensor in saved_parameters(saved).items() if not any(map(name.__contains__, own))}
    if not any("." in name for name in whole):
        return
    shapes = {name: tensor.shape for name, tensor in empty_module(cls, config).state_dict().items()}
    for name, tensor in whole.items():
        shape = shapes.get(name)
        if shape is not None and shape != tensor.shape and shape[0] == config.num_labels:
            config.num_labels = len(tensor)
            return


def saved_parameters(saved: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an adapter by the names that they would have in the model; those of peft's modules have none."""
    prefixes = ((next((each for each in _WRAPPERS if name.startswith(each)), ""), name) for name in saved)
    return {name.removeprefix(prefix): saved[name] for prefix, name in prefixes}


def apply_adapter(base: PreTrainedModel, files: ModelFiles, saved: Mapping[str, Tensor]) -> Adapter:
    """Apply an adapter to its base by peft itself. saved: the tensors of its file (`read_weights`).

    Raises ModelError where peft can't build or load it, and where the names or shapes of its weights don't fit.
    """
    import peft

    kind = str(_adapter_fields(files).get("peft_type"))
    if kind not in peft.PEFT_TYPE_TO_CONFIG_MAPPING:
        raise ModelError(
            f"peft {peft.__version__} doesn't know the type of the adapter {files.ref.name}: {kind!r}",
            hint="pip install -U peft, or use its base model instead (-m)",
        )
    what = f"the adapter {files.ref.name} ({kind}) can't be applied to {type(base).__name__}"
    # It warns about settings of training.
    with library_errors(what, _BASE_HINT, catch=_PEFT_ERRORS), warnings.catch_warnings(action="ignore"):
        model = peft.PeftModel.from_pretrained(base, str(files.adapter), torch_device="cpu").eval()
        # peft only warns of what is missing, and ignores what it has no place for.
        loaded = peft.set_peft_model_state_dict(model, dict(saved))
    adapter = Adapter(model, files.ref.name)
    missing = _missing_names(adapter, loaded.missing_keys)
    # Tensors of a prompt encoder are loaded apart from the model, and are no parameters of a module.
    unexpected = sorted(name for name in loaded.unexpected_keys if "." in name or not adapter.virtual_tokens)
    if missing or unexpected:
        what = f"{missing[0]} isn't in its weights" if missing else f"{type(base).__name__} has no {unexpected[0]}"
        raise ModelError(f"the adapter {files.ref.name} doesn't fit its base model: {what}", hint=_BASE_HINT)
    for config in (base.config, base.config.get_text_config()):
        # A classifier looks for the last token of each text before the padding.
        if base.get_output_embeddings() is None and config.pad_token_id is None:
            config.pad_token_id = 0
    return adapter


def _missing_names(adapter: Adapter, missing: Collection[str]) -> list[str]:
    """The adapter's own tensors that its file lacks. A shared one may be saved under another of its names."""
    from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING

    state = adapter.model.state_dict()
    loaded = {tensor.data_ptr() for name, tensor in state.items() if name not in missing}
    prefix = PEFT_TYPE_TO_PREFIX_MAPPING.get(adapter.kind) or ""
    own = (name for name in missing if prefix and prefix in name)
    return sorted(name for name in own if name in state and state[name].data_ptr() not in loaded)
