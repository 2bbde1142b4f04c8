"""The probe: every attention computation of a forward pass, whatever the family, handed to one observer.

transformers routes nearly every modern model through one function with (module, query, key, value, mask, scaling, …),
taken from `AttentionInterface` by name. Ours is registered there, and its twin for masks in `AttentionMaskInterface`
(without it sliding windows and padding would silently vanish). Families that compute attention their own way run
eager, and forward hooks take the weights from their attention modules one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig, PreTrainedModel

from attncli.errors import ModelError
from attncli.models.call import Attention, WeightsAttention
from attncli.models.mask import mask_rule
from attncli.models.query_key import QueryKeyAttention
from attncli.models.structure import block_lists, mixers, named_attention

IMPLEMENTATION = "attncli_probe"

#: Called with the dotted path of the attention module and what it computes.
Observer = Callable[[str, Attention], None]

#: Synonyms in which families pass what is added to the scores, and the logits of sinks.
_BIAS_NAMES = ("position_bias", "attention_bias")
_SINK_NAMES = ("s_aux", "sinks")

#: What modules have that attend within windows and hand out weights on offsets instead of keys (Longformer, LED).
_WINDOW_MARKS = ("one_sided_attn_window_size",)

#: Tensors that go along for other kernels; the mask or the states hold what they say already.
_IGNORED_TENSORS = frozenset(
    {
        "position_ids",
        "cache_position",
        "cu_seq_lens_q",
        "cu_seq_lens_k",
        "cu_seqlens",
        "encoder_hidden_states",
        "encoder_attention_mask",
        "position_embeddings",
    }
)


@dataclass
class _Session:
    """One probed forward pass of a batch: who listens, and what the modules are called."""

    observe: Observer
    paths: dict[int, str]
    batch: int
    seen: int = 0

    def hand_on(self, module: nn.Module, attention: Attention) -> None:
        self.seen += 1
        self.observe(self.paths[id(module)], attention)


_session: ContextVar[_Session] = ContextVar("attncli_probe_session")


def attention_probe(
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
    session = _session.get()
    bias, sinks = _pop_first(extra, _BIAS_NAMES), _pop_first(extra, _SINK_NAMES)
    _refuse_unknown(module, extra)
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
    session.hand_on(module, attention)
    return attention.output(), None


AttentionInterface.register(IMPLEMENTATION, attention_probe)
AttentionMaskInterface.register(IMPLEMENTATION, mask_rule)


def run_probed(model: PreTrainedModel, arguments: Mapping[str, Any], observe: Observer) -> None:
    """Run `model` once and hand every attention computation to `observe`, in the order in which it happens.

    Raises ModelError where no module of the model attends.
    """
    paths = {id(module): name for name, module in model.named_modules()}
    session = _Session(observe, paths, batch=len(arguments["input_ids"]))
    token = _session.set(session)
    try:
        with torch.no_grad(), _restored(model):
            own_ways = _route(model)
            if len(own_ways) < len(list(_models(model))):
                _forward(model, own_ways, arguments, session)
            if not session.seen:
                # Some classes say that they use the interface, and don't.
                _set_all(model, "eager")
                _forward(model, list(_models(model)), arguments, session)
    finally:
        _session.reset(token)
    if not session.seen:
        raise _nothing_seen(model)


def _route(model: PreTrainedModel) -> list[PreTrainedModel]:
    """Point every part of the model that uses the interface at the probe; answer the parts that go their own way.

    The configurations are set one by one: several families copy them for their stacks, and transformers'
    own setter doesn't reach every copy.
    """
    own_ways = []
    for part in _models(model):
        uses_interface = part._can_set_attn_implementation()
        _set_all(part, IMPLEMENTATION if uses_interface else "eager")
        if not uses_interface:
            own_ways.append(part)
    return own_ways


def _forward(
    model: PreTrainedModel, own_ways: list[PreTrainedModel], arguments: Mapping[str, Any], session: _Session
) -> None:
    """One pass. From the parts that go their own way, the weights are taken as their attention modules return them,
    and each is released before the next layer runs."""
    modules = {id(module): module for part in own_ways for module in part.modules() if _hands_out_weights(module)}
    hooks = [module.register_forward_hook(_weights_hook(session), prepend=True) for module in modules.values()]
    # Newer families return the weights unasked; with the flag, transformers would keep every layer's.
    asked = bool(hooks) and "attentions" not in (model._can_record_outputs or {})
    try:
        model(**arguments, **({"output_attentions": True} if asked else {}))
    finally:
        for hook in hooks:
            hook.remove()


def _hands_out_weights(module: nn.Module) -> bool:
    return named_attention(module) and not any(hasattr(module, mark) for mark in _WINDOW_MARKS)


def _weights_hook(session: _Session) -> Callable[[nn.Module, Any, Any], Any]:
    def hook(module: nn.Module, _: Any, output: Any) -> Any:
        place = _weights_place(output, session.batch)
        if place is None:
            return None
        session.hand_on(module, WeightsAttention(output[place]))
        # An empty tensor in their place, of as many dimensions: nobody above can keep the weights alive.
        emptied = [*output[:place], output[place].new_empty(0, 0, 0, 0), *output[place + 1 :]]
        return emptied if isinstance(output, list) else tuple(emptied)

    return hook


def _weights_place(output: object, batch: int) -> int | None:
    """Where in a module's output its attention stands: (batch, heads, queries, keys), rows that sum to 1 or less.

    Rows that sum to 1 go first: a bias that happens to be small and positive would pass for attention with a sink.
    """
    parts = list(enumerate(output))[1:] if isinstance(output, tuple | list) else []
    sums = {index: part.float().sum(-1) for index, part in parts if _may_be_weights(part, batch)}
    whole = [index for index, total in sums.items() if bool(((total - 1).abs() < 0.01).all())]
    partial = [index for index, total in sums.items() if bool(((total > 0) & (total < 1.01)).all())]
    return next(iter(whole + partial), None)


def _may_be_weights(part: object, batch: int) -> bool:
    if not isinstance(part, Tensor) or part.ndim != 4 or not part.is_floating_point() or not part.numel():
        return False
    return part.shape[0] == batch and bool((part >= 0).all())


@contextmanager
def _restored(model: PreTrainedModel) -> Iterator[None]:
    """Leave the model's attention implementation, and its sub-models', as they were: it may be the user's."""
    before = [(config, config._attn_implementation_internal) for config in _configs(model)]
    try:
        yield
    finally:
        for config, implementation in before:
            config._attn_implementation_internal = implementation


def _models(model: PreTrainedModel) -> Iterator[PreTrainedModel]:
    """The model and the models inside it, the outer ones first."""
    return (module for module in model.modules() if isinstance(module, PreTrainedModel))


def _set_all(model: PreTrainedModel, implementation: str) -> None:
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


def _refuse_unknown(module: nn.Module, extra: dict[str, Any]) -> None:
    unknown = [name for name, value in extra.items() if isinstance(value, Tensor) and name not in _IGNORED_TENSORS]
    if unknown:
        raise ModelError(
            f"{type(module).__name__} passes {unknown[0]!r} to its attention, and its meaning isn't known here",
            hint="the pattern could be wrong without it; name another model (-m), or report this architecture",
        )


def _nothing_seen(model: PreTrainedModel) -> ModelError:
    """What to say of a model without attention, and of one whose attention neither way can read."""
    name, lists = type(model).__name__, block_lists(model)
    names = ", ".join(mixers(lists))
    if any(block.attends for block_list in lists for block in block_list.described()):
        return ModelError(
            f"the attention of {name} can't be read: {names} doesn't hand out weights for each query and key",
            hint="name another model (-m)",
        )
    mixed = f"its tokens are mixed by {names}" if names else "it has no blocks that mix tokens"
    return ModelError(f"{name} has no attention to look at", hint=f"{mixed}; name a model with attention (-m)")
