"""Checks of a configuration's numbers before a model is built from it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeGuard

from attncli.errors import ModelError
from attncli.limits import MAX_EXPERTS, MAX_LABELS, MAX_LAYERS, MAX_MODULES, MAX_SIZE
from attncli.parameters.inventory import FIELDS


class _Limit(NamedTuple):
    """Fields that count the same thing, what they count, and the smallest and largest plausible number."""

    names: tuple[str, ...]
    what: str
    least: int
    most: int


_LIMITS = (
    _Limit(
        (*FIELDS["layers"], "decoder_layers", "num_encoder_layers", "num_decoder_layers"), "layers", 0, MAX_LAYERS
    ),
    _Limit((*FIELDS["heads"], "encoder_attention_heads", "decoder_attention_heads"), "attention heads", 1, MAX_SIZE),
    _Limit(FIELDS["kv_heads"], "key-value heads", 1, MAX_SIZE),
    _Limit(FIELDS["experts"], "experts", 0, MAX_EXPERTS),
    _Limit(FIELDS["hidden"], "width of a token", 1, MAX_SIZE),
    _Limit(FIELDS["head_dim"], "width of a head", 0, MAX_SIZE),
    _Limit(("intermediate_size", "n_inner", "d_ff", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim"),
           "width of the feed-forward network", 0, MAX_SIZE),
    _Limit(FIELDS["vocabulary"], "tokens in its vocabulary", 0, MAX_SIZE),
    _Limit(("max_position_embeddings", "n_positions", "n_ctx"), "positions", -1, MAX_SIZE),
    _Limit(("num_labels", "_num_labels"), "labels", 0, MAX_LABELS),
)  # fmt: skip
#: Other fields that count modules, each of which is built.
_MODULE_COUNT = re.compile(r"(^|_)(layers?|blocks?|stages?|groups|codebooks|quantizers|levels|depths?|repeats?)$")
_MODULES = _Limit((), "modules", -MAX_MODULES, MAX_MODULES)
#: Fields with the width of a head; with one of them the model's width need not be divisible by the heads.
HEAD_WIDTH_FIELDS = (*FIELDS["head_dim"], *FIELDS["value_head_dim"], "qk_nope_head_dim", "attention_hidden_size")


def check_numbers(fields: Mapping[str, Any], name: str, *, has_head_width: Callable[[str], bool] | None = None) -> None:
    """Check the numbers of a configuration file, its parts (`text_config`) included.

    name: the model's, for the message.  has_head_width: whether a model type has a default head width (one of
    HEAD_WIDTH_FIELDS); then the model's width need not be divisible by the heads. None: it needn't be anyway, as some
    classes round.
    Raises ModelError for numbers out of range, and for heads that don't divide the width or the key-value heads.
    """
    for path, part in _nested_configs(fields):
        for field, sentence in _faults(part, path, has_head_width):
            raise ModelError(f"the configuration of {name} is impossible: {sentence}", hint=f"correct {path}{field}")


def _nested_configs(
    fields: Mapping[str, Any], path: str = "", depth: int = 4
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield path, fields
    for key, value in fields.items():
        if isinstance(value, Mapping) and str(key).endswith("config") and depth:
            yield from _nested_configs(value, f"{path}{key}.", depth - 1)


def _faults(
    fields: Mapping[str, Any], path: str, has_head_width: Callable[[str], bool] | None
) -> Iterator[tuple[str, str]]:
    """Each impossible field, and why."""
    for limit in _LIMITS:
        for field in limit.names:
            value = fields.get(field)
            if isinstance(value, (str, dict)) or (isinstance(value, float) and not value.is_integer()):
                yield field, f"{path}{field} is {str(value)[:40]!r} instead of a number ({limit.what})"
            yield from ((field, fault) for fault in _out_of_range(value, path + field, limit))
    for field in ("id2label", "label2id"):
        labels = fields.get(field)
        if isinstance(labels, Mapping) and len(labels) > MAX_LABELS:
            yield field, f"{path}{field} has {len(labels):,} labels"
    for field in fields:
        if _MODULE_COUNT.search(field):
            yield from ((field, fault) for fault in _out_of_range(fields[field], path + field, _MODULES))
    heads_field, heads = _first_number(fields, "heads")
    kv_field, kv_heads = _first_number(fields, "kv_heads")
    if heads and kv_heads and heads % kv_heads:
        yield kv_field, f"{path}{heads_field}, {heads:,}, can't be shared by {kv_heads:,} key-value heads"
    hidden_field, hidden = _first_number(fields, "hidden")
    if has_head_width is None or not heads or hidden % heads == 0 or any(map(fields.get, HEAD_WIDTH_FIELDS)):
        return
    kind = fields.get("model_type")
    if isinstance(kind, str) and not has_head_width(kind):
        yield heads_field, f"{path}{hidden_field}, {hidden:,}, can't be divided into {heads:,} heads"


def _out_of_range(value: object, name: str, limit: _Limit) -> Iterator[str]:
    """Each number out of the limits, alone or in a list with one for each layer."""
    for each in value if isinstance(value, list) else [value]:
        number = int(each) if isinstance(each, float) and each.is_integer() else each
        if _is_number(number) and not limit.least <= number <= limit.most:
            count = f"{number:,}" if abs(number) < 10**30 else f"at least 10^{len(str(abs(number))) - 1}"
            yield f"{name} is {count} ({limit.what})"


def _first_number(fields: Mapping[str, Any], role: str) -> tuple[str, int]:
    return next(((name, fields[name]) for name in FIELDS[role] if _is_number(fields.get(name))), ("", 0))


def _is_number(value: object) -> TypeGuard[int]:
    return type(value) is int
