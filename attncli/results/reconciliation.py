"""Where a configuration's module and a checkpoint's tensors differ, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from attncli.results.base import short_repr

#: Why checkpoint and module differ: how a difference is called, and the sentence that says it. Those that a model is
#: none the worse for come first.
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
#: What must not be where both are of one model.
FAULTS = frozenset({"extra_layer", "size", "missing", "unexpected"})


class TensorDifference(NamedTuple):
    """All tensors that differ for one reason, alike but for the numbers in their names.

    reason: a key of REASONS.  checkpoint, module: their names on either side, a `*` for each number that differs;
    None where that side has none.  tensors: how many of them there are on the side that has them (the checkpoint's
    first).  parameters: their elements on either side.
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
        """Whether it must not be where both sides are of one model."""
        return self.reason in FAULTS

    def to_dict(self) -> dict[str, object]:
        return {**self._asdict(), "why": self.why}


@short_repr
class Reconciliation(NamedTuple):
    """A module held against a checkpoint.

    checkpoint_total: all elements that the checkpoint stands for, buffers and copies too.
    matched: parameters that both sides have, whatever they call them.
    """

    module_total: int
    checkpoint_total: int
    matched: int
    differences: tuple[TensorDifference, ...]

    @property
    def agrees(self) -> bool:
        """Whether every parameter of the module is in the checkpoint, and nothing there is unexplained."""
        return not any(difference.is_fault for difference in self.differences)

    @property
    def is_same_model(self) -> bool:
        """Whether the checkpoint holds the module, whatever it holds besides: what is loaded is what was counted."""
        return not any(difference.is_fault and difference.reason != "unexpected" for difference in self.differences)

    @property
    def unexpected(self) -> int:
        """Elements of the checkpoint that nothing in the module explains."""
        return sum(each.checkpoint_parameters for each in self.differences if each.reason == "unexpected")

    def to_dict(self) -> dict[str, object]:
        return {
            "module_total": self.module_total,
            "checkpoint_total": self.checkpoint_total,
            "matched": self.matched,
            "agrees": self.agrees,
            "is_same_model": self.is_same_model,
            "differences": [difference.to_dict() for difference in self.differences],
        }
