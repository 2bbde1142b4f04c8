"""Which matrix takes what the heads of an attention module read back to the residual stream.

It is told by running: the first module with a matrix that is handed as many numbers a token as the heads gave. Families
keep it in different places (`o_proj` of the module, `output.dense` beside it) and multiply from different sides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers.pytorch_utils import Conv1D

from attncli.models.entry import SENSES
from attncli.models.placement import weights_at_hand

if TYPE_CHECKING:
    from attncli.models.call import Attention
    from attncli.models.loaded import LoadedModel


def output_projections(model: LoadedModel, arguments: Mapping[str, Tensor | bool]) -> dict[str, Tensor]:
    """The output matrix of every attention module by its path, (heads · d_value, width).

    arguments: of a forward pass; of each text the first two tokens are run, and pictures and sounds whole. Modules
    whose heads give no values, or go through no plain matrix, are left out.
    """
    short = {name: _shortened(name, value) for name, value in arguments.items()}
    watch = _Watch()
    with watch.watching():
        model.attend(short, watch.expect)
    return watch.found


def _shortened(name: str, value: Tensor | bool) -> Tensor | bool:
    seen = any(name in names for names in SENSES.values())
    return value[:, :2] if isinstance(value, Tensor) and not seen else value


@dataclass
class _Watch:
    """Waits, after each attention, for the module that is handed its output."""

    found: dict[str, Tensor] = field(default_factory=dict)
    _expected: tuple[str, int] | None = None

    def expect(self, path: str, attention: Attention) -> None:
        reader = attention.values_of
        self._expected = None if reader is None else (path, attention.heads * reader.value.shape[-1])

    @contextmanager
    def watching(self) -> Iterator[None]:
        handle = register_module_forward_pre_hook(self._meet)
        try:
            yield
        finally:
            handle.remove()

    def _meet(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if self._expected is None or not inputs or not isinstance(inputs[0], Tensor):
            return
        path, width = self._expected
        matrix = plain_matrix(module)
        if matrix is not None and inputs[0].shape[-1] == width == matrix.shape[0]:
            self.found[path] = matrix
            self._expected = None


def plain_matrix(module: nn.Module) -> Tensor | None:
    """What a plain linear module multiplies its input with from the right, (in, out)."""
    if not isinstance(module, nn.Linear | Conv1D) or not module.weight.is_floating_point():
        return None
    if module.weight.is_meta:
        # A model that is spread over several devices has a module's weights at hand in its forward pass alone.
        with weights_at_hand(module):
            matrix = module.weight.detach().clone()
    else:
        matrix = module.weight.detach()
    return matrix if isinstance(module, Conv1D) else matrix.T
