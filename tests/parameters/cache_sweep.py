"""Every model type of transformers that writes text, built tiny: do we count what its own cache objects hold?

Run it as `python -m tests.parameters.cache_sweep` for the table, or with the names of model types.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from attncli.results.cache import Compressed

TOKENS = 11
#: Parameters of a model beyond which it isn't run.
ELEMENTS = 300_000_000
AGREES, DIFFERS, NO_CACHE, NOT_RUN = "agrees", "differs", "no cache", "can't be run"


class Outcome(NamedTuple):
    """What came of one model type. ours, theirs: numbers by what they are."""

    model_type: str
    kind: str
    ours: Mapping[str, int] = MappingProxyType({})
    theirs: Mapping[str, int] = MappingProxyType({})
    detail: str = ""


def model_types() -> list[str]:
    """Every model type with a class that writes text."""
    from transformers.models.auto import modeling_auto as auto

    return sorted({*auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES})


def outcome(model_type: str) -> Outcome:
    """One type, in the first form in which transformers can run it."""
    from tests.attention.shrink import FORMS, default_config, repaired, shrunk

    reasons = []
    for form in FORMS:
        try:
            config: Any = shrunk(default_config(model_type), form)
        except Exception as error:  # whatever a configuration refuses is the answer here
            reasons.append(f"{type(error).__name__}: {error}")
            continue
        for _ in range(4):
            try:
                return _compared(model_type, config)
            except Exception as error:  # and so is whatever transformers can't run
                reasons.append(f"{type(error).__name__}: {error}")
                config = repaired(config, error)
                if config is None:
                    break
    return Outcome(model_type, NOT_RUN, detail=" ".join(reasons[0].split())[:120] if reasons else "")


def _compared(model_type: str, config: Any) -> Outcome:
    import torch

    from attncli.models.loading.meta_model import generates, whole_class
    from attncli.parameters.cache import cached_layers
    from attncli.parameters.count import locate_shares
    from attncli.parameters.inventory import Settings, inventory_from_module

    cls = whole_class(config)
    with torch.device("meta"):
        elements = sum(each.numel() for each in cls._from_config(config).parameters())
    if elements > ELEMENTS:
        raise MemoryError(f"{elements:,} parameters")
    torch.manual_seed(0)
    model = cls._from_config(config, attn_implementation="eager").eval()
    given = {"input_ids": torch.arange(TOKENS)[None] % 90 + 30, "use_cache": True}
    if getattr(config, "is_encoder_decoder", False):
        given["decoder_input_ids"] = given["input_ids"]
    with torch.no_grad():
        cache = getattr(model(**given), "past_key_values", None)
    inventory = inventory_from_module(model).untied()
    layers = cached_layers(locate_shares(inventory), Settings(inventory.settings)) if generates(cls, config) else ()
    # transformers keeps one token less than the window, as the next one comes first.
    layers = tuple(each._replace(window=each.window and max(each.window - 1, 1)) for each in layers)
    # And exactly the tokens of the block that isn't full, of which we count the most.
    layers = tuple(each._replace(compressed=tuple(map(_at_its_length, each.compressed))) for each in layers)
    ours: Counter[str] = Counter()
    for layer in layers:
        for kind, amount in layer.by_kind(TOKENS).items():
            ours[kind] += amount.total
    theirs = Counter() if cache is None else Counter(dict(_walked(cache)))
    if not theirs:
        return Outcome(
            model_type, NO_CACHE if not sum(ours.values()) else DIFFERS, dict(+ours), detail=str(type(cache))
        )
    kind = AGREES if sum(ours.values()) == sum(theirs.values()) else DIFFERS
    return Outcome(model_type, kind, dict(+ours), dict(theirs), cls.__name__)


def _at_its_length(part: Compressed) -> Compressed:
    kept = part.open * (TOKENS % part.ratio) + (part.overlap if part.ratio <= TOKENS else 0)
    return part._replace(open=0, overlap=kept)


def _walked(cache: Any) -> Iterator[tuple[str, int]]:
    """The numbers in a cache, by the attributes of its layers."""
    found: Counter[str] = Counter()
    parts = [cache]
    if hasattr(cache, "self_attention_cache"):
        parts = [cache.self_attention_cache, cache.cross_attention_cache]
    for name, part in zip(("", "cross "), parts, strict=False):
        for layer in getattr(part, "layers", ()):
            fields = dict(vars(layer))
            if fields.get("values") is fields.get("keys"):
                fields.pop("values", None)
            for attribute, value in fields.items():
                count = sum(each.numel() for each in tensors_in(value) if each.is_floating_point())
                if count:
                    found[name + attribute] += count
        # What some caches keep beside their layers.
        for attribute, value in vars(part).items():
            if attribute != "layers":
                found[name + attribute] += sum(each.numel() for each in tensors_in(value) if each.is_floating_point())
    yield from (+found).items()


def tensors_in(value: object) -> Iterator[Any]:
    """The tensors in a value, through lists, tuples and dictionaries."""
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from tensors_in(each)


def main(arguments: Sequence[str]) -> int:
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    outcomes = []
    for model_type in arguments or model_types():
        found = outcome(model_type)
        outcomes.append(found)
        print(f"{model_type:28} {found.kind:14} {found.ours} | {found.theirs} {found.detail}", flush=True)
    print()
    for kind, count in Counter(found.kind for found in outcomes).most_common():
        print(f"{count:5} {kind}")
    return int(any(found.kind == DIFFERS for found in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
