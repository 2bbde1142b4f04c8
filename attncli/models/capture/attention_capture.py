"""The probe: every attention computation of a forward pass, whatever the family, handed to one observer.

transformers routes nearly every modern model through one function with (module, query, key, value, mask, scaling, …),
taken from `AttentionInterface` by name. Ours is registered there, and its twin for masks in `AttentionMaskInterface`
(without it sliding windows and padding would silently vanish). Families that compute attention their own way run
eager, and their weights are caught inside of their attention modules, one by one (`own_ways`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from weakref import ReferenceType, ref

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig, PreTrainedModel

from attncli.errors import ModelError
from attncli.models.capture.attention_types import Attention
from attncli.models.capture.lazy_mask import lazy_mask, restrict_to_selected
from attncli.models.capture.local_attention import AttentionSlice, ShiftedWindows, patch_attention
from attncli.models.capture.query_key_attention import QueryKeyAttention
from attncli.models.capture.softmax_capture import SoftmaxCapture
from attncli.models.capture.structure import block_lists, is_attention, mixer_names, stack_word
from attncli.models.loading.forward import MODALITIES, accepted_arguments, forward_for, runnable

IMPLEMENTATION = "attncli_probe"

#: Called with the dotted path of the attention module and what it computes.
Observer = Callable[[str, Attention], None]

#: Synonyms in which families pass what is added to the scores, and the logits of sinks.
_BIAS_NAMES = ("position_bias", "attention_bias")
_SINK_NAMES = ("s_aux", "sinks")

#: Keys that a lighter search has chosen for each query (DeepSeek's sparse attention): (batch, queries, chosen).
_SELECTED_NAMES = ("indices",)

#: Tensors that go along for other kernels; the mask or the states hold what they say already.
_IGNORED_TENSORS = frozenset(
    {
        "position_ids",
        "cache_position",
        "cu_seq_lens_q",
        "cu_seq_lens_k",
        "cu_seqlens",
        "input_ids",
        "encoder_hidden_states",
        "encoder_attention_mask",
        "position_embeddings",
    }
)


#: Arguments that hold a picture or a sound.
_MEDIA_ARGUMENTS = frozenset(name for names in MODALITIES.values() for name in names)

#: Fields of a configuration that say how many learned positions stand before every text.
_PROMPT_LENGTH_FIELDS = ("prompt_length",)


@dataclass
class _CaptureSession:
    """One probed forward pass of a batch: who listens, what the modules are called, how long the sequences are.

    lengths: of the text and, in an encoder–decoder, of what the decoder is given.  prompt: of what the model puts
    before each text.  sees: whether a picture or a sound goes with the text.
    """

    observe: Observer
    paths: dict[int, str]
    lengths: tuple[int, ...]
    prompt: int = 0
    sees: bool = False
    own_ways: SoftmaxCapture | None = None
    windows: ShiftedWindows | None = None
    seen: int = 0
    #: Query and key of the last one, not kept alive: they would lie beside the layer's feed-forward network.
    last: tuple[ReferenceType[Tensor], ...] = ()

    def hand_on(self, module: nn.Module, attention: Attention) -> None:
        path = self.paths[id(module)]
        for suffix, part in self._parts(path, attention):
            self.seen += 1
            self.observe(path + suffix, part)

    def probed(self, module: nn.Module, attention: QueryKeyAttention) -> None:
        """Hand on what came through the interface."""
        if self.own_ways is not None:
            self.own_ways.mark_seen()
        states = (attention.query, attention.key)
        if self.last and all(last() is now for last, now in zip(self.last, states, strict=True)):
            return  # the same attention, to other values (DiffLlama)
        self.last = tuple(ref(state) for state in states)
        places = self.windows.of(module) if self.windows is not None else None
        inside = None if places is None else patch_attention(attention, places)
        self.hand_on(module, inside or attention)

    def _parts(self, path: str, attention: Attention) -> list[tuple[str, Attention]]:
        """The attention itself, or what of it is between tokens of the given sequences."""
        size, text, target = (attention.queries, attention.keys), self.lengths[0], self.lengths[-1]
        if self.prompt and size == (self.prompt + text, self.prompt + text):
            return [("", AttentionSlice(attention, self.prompt, self.prompt, text, text))]
        seen = attention.queries - text
        if self.sees and stack_word(path) not in ("vision", "audio") and seen > 0 and _is_media_prefix(attention, seen):
            own, other = (
                AttentionSlice(attention, seen, seen, text, text),
                AttentionSlice(attention, seen, 0, text, seen),
            )
            return [("", own), (".cross_attention", other)]
        if len(self.lengths) == 2 and size == (target, target + text):
            # Its own tokens and the encoder's states side by side (T5Gemma 2).
            own, other = (
                AttentionSlice(attention, 0, 0, target, target),
                AttentionSlice(attention, 0, target, target, text),
            )
            return [("", own), (".cross_attention", other)]
        return [("", attention)]


def _is_media_prefix(attention: Attention, seen: int) -> bool:
    """Whether what is seen stands before the text, in the same rows, and doesn't look back at it (GIT)."""
    if attention.queries != attention.keys:
        return False
    return not any(bool(block.visible[..., seen:].any()) for block in attention.blocks(rows=(0, seen)))


_current_session: ContextVar[_CaptureSession] = ContextVar("attncli_probe_session")


def capture_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    scaling: float | None = None,
    is_causal: bool | None = None,
    softcap: float | None = None,
    **extra: Any,
) -> tuple[Tensor, None]:
    """The attention function that transformers calls while a model is probed.

    Shapes as in transformers: query (batch, heads, queries, d), key and value (batch, key heads, keys, d); returns
    (batch, queries, heads, d) and no weights. Raises ModelError for a tensor argument whose meaning isn't known: to
    leave it out could make a wrong pattern.
    """
    session = _current_session.get()
    bias, sinks = _pop_first(extra, _BIAS_NAMES), _pop_first(extra, _SINK_NAMES)
    selected = _pop_first(extra, _SELECTED_NAMES)
    _check_extra_tensors(module, extra)
    if selected is not None:
        attention_mask = restrict_to_selected(attention_mask, selected, keys=key.shape[2])
    # The flag of the call goes before the module's, as in transformers' own functions.
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    attention = QueryKeyAttention(
        query=query,
        key=key,
        value=value,
        mask=attention_mask,
        is_causal=bool(causal) and query.shape[2] > 1,
        scaling=query.shape[-1] ** -0.5 if scaling is None else float(scaling),
        bias=bias,
        softcap=softcap,
        sinks=sinks,
    )
    session.probed(module, attention)
    return attention.output(), None


AttentionInterface.register(IMPLEMENTATION, capture_attention)
AttentionMaskInterface.register(IMPLEMENTATION, lazy_mask)


def run_captured(model: PreTrainedModel, arguments: Mapping[str, Any], observe: Observer) -> tuple[str, ...]:
    """Run `model` once and hand every attention computation to `observe`, in the order in which it happens.

    Answers the paths of the attention modules that ran as well and can't be read.

    Raises ModelError where no module of the model attends, and where it can't run on a text alone.
    """
    paths = {id(module): name for name, module in model.named_modules()}
    given = [arguments[name] for name in ("input_ids", "decoder_input_ids") if name in arguments]
    prompt = next((getattr(model.config, name) for name in _PROMPT_LENGTH_FIELDS if hasattr(model.config, name)), 0)
    # Towers for pictures and sounds read none.
    sees = "input_ids" in arguments and len(arguments.keys() & _MEDIA_ARGUMENTS) > 0
    session = _CaptureSession(observe, paths, tuple(ids.shape[1] for ids in given) or (0,), prompt, sees)
    batch = len(next(value for value in arguments.values() if isinstance(value, Tensor)))
    token = _current_session.set(session)
    try:
        with torch.no_grad(), _restored_implementations(model):
            _route_attention(model)
            _run_forward(model, arguments, session, batch=batch)
            if not session.seen and _may_return_weights(model):
                # Code of a model's own may hide its softmax, and yet hand weights out.
                _set_implementation(model, "eager")
                _run_forward(model, {**arguments, "output_attentions": True}, session, batch=batch)
    finally:
        _current_session.reset(token)
    if not session.seen or session.own_ways is None:
        raise _no_attention_error(model)
    return tuple(paths[id(module)] for module in session.own_ways.unread)


def _may_return_weights(model: PreTrainedModel) -> bool:
    """Whether there is attention that a flag may bring out."""
    takes_flag = bool(accepted_arguments(model) & {"output_attentions", "kwargs"})
    return takes_flag and any(is_attention(module) for module in model.modules())


def _route_attention(model: PreTrainedModel) -> None:
    """Point every part of the model that uses the interface at the probe, and the others at their own eager ways.

    The configurations are set one by one: several families copy them for their stacks, and transformers'
    own setter doesn't reach every copy.
    """
    for part in _submodels(model):
        _set_implementation(part, IMPLEMENTATION if part._can_set_attn_implementation() else "eager")


def _run_forward(model: PreTrainedModel, arguments: Mapping[str, Any], session: _CaptureSession, *, batch: int) -> None:
    """One pass, on all of the arguments."""
    session.windows = ShiftedWindows(model)
    session.own_ways = SoftmaxCapture(model, batch, session.lengths[0], session.hand_on, session.windows)
    with runnable(model, arguments), session.windows, session.own_ways:
        forward_for(model, arguments)(**arguments)


@contextmanager
def _restored_implementations(model: PreTrainedModel) -> Iterator[None]:
    """Leave the model's attention implementation, and its sub-models', as they were: it may be the user's."""
    before = [(config, config._attn_implementation_internal) for config in _configs(model)]
    try:
        yield
    finally:
        for config, implementation in before:
            config._attn_implementation_internal = implementation


def _submodels(model: PreTrainedModel) -> Iterator[PreTrainedModel]:
    """The model and the models inside it, the outer ones first."""
    return (module for module in model.modules() if isinstance(module, PreTrainedModel))


def _set_implementation(model: PreTrainedModel, implementation: str) -> None:
    for config in _configs(model):
        config._attn_implementation_internal = implementation


def _configs(model: PreTrainedModel) -> list[PreTrainedConfig]:
    """Every configuration that some module of the model reads, each once."""
    held = (getattr(module, "config", None) for module in model.modules())
    configs = {id(config): config for config in held if isinstance(config, PreTrainedConfig)}
    for config in list(configs.values()):
        for name in config.sub_configs:
            if (nested := getattr(config, name, None)) is not None:
                configs.setdefault(id(nested), nested)
    return list(configs.values())


def _pop_first(arguments: dict[str, Any], names: tuple[str, ...]) -> Tensor | None:
    values = [arguments.pop(name, None) for name in names]
    return next((value for value in values if value is not None), None)


def _check_extra_tensors(module: nn.Module, extra: dict[str, Any]) -> None:
    unknown = [name for name, value in extra.items() if isinstance(value, Tensor) and name not in _IGNORED_TENSORS]
    if unknown:
        raise ModelError(
            f"{type(module).__name__} passes {unknown[0]!r} to its attention, and its meaning isn't known here",
            hint="the pattern could be wrong without it; name another model (-m), or report this architecture",
        )


def _no_attention_error(model: PreTrainedModel) -> ModelError:
    """What to say of a model without attention, and of one whose attention neither way can read."""
    name, lists = type(model).__name__, block_lists(model)
    names = ", ".join(mixer_names(lists))
    if any(block.attends for block_list in lists for block in block_list.describe_layers()):
        return ModelError(
            f"the attention of {name} can't be read: {names} doesn't hand out weights for each query and key",
            hint="name another model (-m)",
        )
    mixed = f"its tokens are mixed by {names}" if names else "it has no blocks that mix tokens"
    return ModelError(f"{name} has no attention to look at", hint=f"{mixed}; name a model with attention (-m)")
