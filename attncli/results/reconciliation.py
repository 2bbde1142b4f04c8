"""The differences between a configuration's module and a checkpoint's tensors, with their reasons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from attncli.results.base import struct

#: Why checkpoint and module differ: an identifier and a description. The harmless reasons come first.
REASONS: Mapping[str, str] = {
    "renamed": "the same tensors under other names",
    "merged": "the same parameters in other tensors",
    "tied_copy": "second copies of tied tensors",
    "buffer": "buffers (masks, indices, statistics), which are no parameters",
    "prediction_layer": "layers for multi-token prediction, which the module leaves out",
    "extra_layer": "layers beyond those of the configuration",
    "size": "tensors of another size than the configuration gives",
    "missing": "tensors of the module that the checkpoint doesn't hold",
    "unexpected": "tensors of the checkpoint that the module doesn't have",
}
#: The reasons that are errors, where both sides should be the same model.
FAULTS = frozenset({"extra_layer", "size", "missing", "unexpected"})


@struct("reason checkpoint module tensors checkpoint_parameters module_parameters why", short=False)
class TensorDifference(NamedTuple):
    """Tensors that differ for the same reason, and only in the numbers in their names.

    reason: a key of REASONS.  checkpoint, module: their names on either side, with `*` for each number; None where that
    side has none.  tensors: how many there are, in the checkpoint if it has them.
    checkpoint_parameters, module_parameters: their elements on either side.
    """

    reason: str
    checkpoint: str | None
    module: str | None
    tensors: int
    checkpoint_parameters: int
    module_parameters: int

    @property
    def why(self) -> str:
        return REASONS[self.reason]

    @property
    def is_fault(self) -> bool:
        """Whether the difference is an error, where both sides should be the same model."""
        return self.reason in FAULTS


@struct("module_total checkpoint_total matched agrees is_same_model differences")
class Reconciliation(NamedTuple):
    """The comparison of a module with a checkpoint.

    checkpoint_total: all elements of the checkpoint after unpacking, buffers and copies included.
    matched: parameters that both sides have, under any names.
    """

    module_total: int
    checkpoint_total: int
    matched: int
    differences: tuple[TensorDifference, ...]

    @property
    def agrees(self) -> bool:
        """Whether every parameter of the module is in the checkpoint, and everything there is explained."""
        return not any(difference.is_fault for difference in self.differences)

    @property
    def is_same_model(self) -> bool:
        """Whether the checkpoint contains the module, and maybe more: then the loaded model is the counted one."""
        return not any(difference.is_fault and difference.reason != "unexpected" for difference in self.differences)

    @property
    def unexpected(self) -> int:
        """Elements of the checkpoint without a counterpart or an explanation."""
        return sum(each.checkpoint_parameters for each in self.differences if each.reason == "unexpected")
