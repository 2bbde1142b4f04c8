"""Any `nn.Module` as a model that attncli can run: `OwnModule` gives it the forward pass of transformers' models.

It is run on token ids (the first argument of its own forward pass, and the second one for a decoder's), or on inputs
that its author gave. What a dimension of those counts is found by trying: one that may be shorter in all tensors at
once counts tokens (`resize_inputs`).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from attncli.errors import ModelError

#: What stands before the paths of the user's modules.
OWN_PREFIX = "own."

#: Own inputs, as the forward pass of `OwnModule` takes them: positional ones are called "0", "1", …
OwnInputs = Mapping[str, Any]


class OwnConfig(PreTrainedConfig):  # type: ignore[misc]
    """The configuration of a module that has none of its own."""

    model_type = "own-code"


class OwnHead(NamedTuple):
    """The layer that makes the logits. positions: of how many; 1 where the module returns those of one alone."""

    module: nn.Linear
    positions: int


class OwnModule(PreTrainedModel):  # type: ignore[misc]
    """A module of the user's own, as `own`. Each has a subclass with the name of its own class.

    head: its language-model head, once it was looked for (`find_own_head`).
    """

    config_class = OwnConfig
    base_model_prefix = ""

    def __init__(self, own: nn.Module) -> None:
        super().__init__(OwnConfig(is_encoder_decoder=len(_required(own)) > 1))
        self.own = own
        self.head: OwnHead | None = None

    @property
    def returns_one(self) -> bool:
        """Whether the logits are of one position alone."""
        return self.head is not None and self.head.positions == 1

    def get_output_embeddings(self) -> nn.Module | None:
        return None if self.head is None else self.head.module

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        **given: Any,
    ) -> Any:
        if input_ids is None:
            places = sorted((name for name in given if name.isdigit()), key=int)
            named = {name: value for name, value in given.items() if not name.isdigit()}
            return self.own(*(given[place] for place in places), **named)
        ids = [input_ids] if decoder_input_ids is None else [input_ids, decoder_input_ids]
        takes_mask = "attention_mask" in inspect.signature(self.own.forward).parameters
        return self.own(*ids, **({"attention_mask": attention_mask} if takes_mask else {}))


def as_transformers_model(module: nn.Module) -> PreTrainedModel:
    """The module itself if it is a model of transformers, else as an `OwnModule` of its class's name."""
    if isinstance(module, PreTrainedModel):
        return module
    kind = type(type(module).__name__, (OwnModule,), {"__module__": __name__})
    wrapped: PreTrainedModel = kind(module)
    return wrapped


def _required(module: nn.Module) -> list[str]:
    """The arguments without which the forward pass can't be called."""
    parameters = inspect.signature(module.forward).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [each.name for each in parameters if each.kind in positional and each.default is inspect.Parameter.empty]


# --- Inputs that the author gave


def own_inputs(module: nn.Module, inputs: object) -> dict[str, Any]:
    """Inputs as arguments of `OwnModule`'s forward pass: those of a dict, a tuple, or one tensor; of a batch the first.

    Raises ModelError where there is no tensor among them.
    """
    if isinstance(inputs, Mapping):
        given = {str(name): value for name, value in inputs.items()}
    else:
        listed = inputs if isinstance(inputs, tuple | list) else (inputs,)
        given = {str(place): value for place, value in enumerate(listed)}
    if not any(isinstance(value, Tensor) and value.ndim for value in given.values()):
        raise ModelError(
            f"the inputs of {type(module).__name__} hold no tensor",
            hint="give a tensor, a tuple of tensors, or a dict of them by the names of the forward pass",
        )
    return _first_of_batch(given, _batch_axis(module))


def _batch_axis(module: nn.Module) -> int:
    """1 where torch's modules say that the sequence comes first."""
    return int(any(getattr(part, "batch_first", True) is False for part in module.modules()))


def _first_of_batch(given: Mapping[str, Any], axis: int) -> dict[str, Any]:
    sizes = {value.shape[axis] for value in given.values() if _is_batched(value)}
    if len(sizes) != 1 or sizes == {1}:
        return dict(given)
    return {name: value.narrow(axis, 0, 1) if _is_batched(value) else value for name, value in given.items()}


def _is_batched(value: object) -> bool:
    return isinstance(value, Tensor) and (value.ndim > 2 or (value.ndim == 2 and not value.is_floating_point()))


class Resized(NamedTuple):
    """Own inputs of other lengths, and the lengths before and after."""

    arguments: dict[str, Any]
    before: tuple[int, ...]
    after: tuple[int, ...]


def resize_inputs(model: PreTrainedModel, arguments: OwnInputs) -> Resized | None:
    """Own inputs cut to about half, or None where the module takes no other length.

    The length of a tensor of features is the last dimension before these. It is a length if the module runs with all
    tensors of that length cut, along that dimension, or where masks are as wide, along all dimensions of that size.
    """
    resized, before, after = dict(arguments), list[int](), list[int]()
    for size in dict.fromkeys(value.shape[axis] for value in _tensors(arguments) for axis in _token_axes(value)):
        shorter = size // 2 if size > 3 else size - 1
        for everywhere in (False, True):
            cut = {name: _cut(value, size, shorter, everywhere) for name, value in resized.items()}
            if _runs(model, cut):
                resized, before, after = cut, [*before, size], [*after, shorter]
                break
    return Resized(resized, tuple(before), tuple(after)) if before else None


def _tensors(arguments: OwnInputs) -> Iterator[Tensor]:
    return (value for value in arguments.values() if isinstance(value, Tensor))


def _token_axes(value: Tensor) -> list[int]:
    """The dimensions that may count tokens: of features (…, n, d) or (n, 1, d) that before d, of ids and masks all."""
    several = [axis for axis, size in enumerate(value.shape) if size > 1]
    if not value.is_floating_point():
        return several
    return several[-2:-1] if value.ndim > 1 else []


def _cut(value: Any, size: int, shorter: int, everywhere: bool) -> Any:
    """A tensor with its dimensions of this size cut, or only those that may count tokens."""
    if not isinstance(value, Tensor):
        return value
    for axis in range(value.ndim) if everywhere else _token_axes(value):
        value = value.narrow(axis, 0, shorter) if value.shape[axis] == size else value
    return value


def _runs(model: PreTrainedModel, arguments: OwnInputs) -> bool:
    devices = {value.device for value in _tensors(arguments) if value.device.type == "cuda"}
    try:
        with torch.random.fork_rng(sorted(devices, key=str)), torch.no_grad():
            model(**arguments)
    except Exception:  # the user's code may refuse another length in any way
        return False
    return True


class OwnRun(NamedTuple):
    """How a module runs on inputs of its author. resized: other ones, or None where it takes no other length."""

    resized: Resized | None

    @classmethod
    def of_inputs(cls, model: PreTrainedModel, arguments: OwnInputs) -> OwnRun | None:
        """None for a model of transformers, and for a module that is run on token ids."""
        if not isinstance(model, OwnModule) or "input_ids" in arguments:
            return None
        return cls(resize_inputs(model, arguments))

    @property
    def lengths(self) -> Sequence[int]:
        return () if self.resized is None else self.resized.before
