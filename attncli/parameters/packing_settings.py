"""The quantization settings of a configuration for each module: bits and group size, with exceptions for some modules.

Libraries write exceptions as entries beside the common settings (MLX), as groups with `targets` (compressed-tensors),
or as a table from names or patterns to settings (GPTQModel, AutoRound, ModelOpt, Quark, Gemma). Whatever the table is
called, an exception is a mapping whose key names modules, and so they are found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from math import factorial, inf, prod
from time import monotonic
from typing import Any, NamedTuple

Fields = Mapping[str, Any]

#: The entries of a configuration that hold quantization settings.
_ENTRIES = ("quantization_config", "quantization", "compression_config")
_BITS = ("bits", "num_bits", "w_bit", "nbits", "wbits", "weight_bits")
_GROUP_SIZES = ("group_size", "q_group_size")
#: Fields whose words tell the bits: `NVFP4`, `W4A16_AWQ`, `mxfp8`, `int4`.
_NAMES_WITH_BITS = ("quant_algo", "mode", "dtype", "data_type", "weight_dtype")
_WIDTH = re.compile(r"(?:fp|int|float|nf|w)(\d+)", re.IGNORECASE)
#: Settings of the weights, where others beside them are for the inputs.
_OF_WEIGHTS = ("weights", "weight")
_NOT_OF_WEIGHTS = ("input_activations", "output_activations", "kv_cache_scheme")

#: Patterns come from an untrusted file: limits, so that none takes for ever.
_MAX_PATTERN = 1_000
_MAX_REPETITIONS = 6
_MAX_STEPS = 100_000_000
_MATCHING_SECONDS = 5.0


class ModuleSettings(NamedTuple):
    """The settings for one module.

    method: the quantization method.  bits: of a weight.  group_size: how many weights of a row share a scale; None
    where a whole row does.  mode: MLX's name of the format.  expert_dtype: of the experts' weights, where it differs.
    """

    method: str | None = None
    bits: int | None = None
    group_size: int | None = None
    mode: str | None = None
    expert_dtype: str | None = None


class PackingSettings:
    """The quantization settings of a model's configuration. found: whether it has any."""

    def __init__(self, config: Fields) -> None:
        entry = _find_entry(config)
        self.found = entry is not None
        self._common = _with_global(entry or {})
        self._expert_dtype = _text(self._common, "expert_dtype") or _text(config, "expert_dtype")
        self._named: dict[str, Fields] = {}
        self._classes: list[tuple[str, Fields]] = []
        self._patterns: list[tuple[_Pattern, Fields]] = []
        exceptions = list(_exceptions(self._common))
        self._common_bits, self._common_size = _bits(self._common), _find_number(self._common, _GROUP_SIZES)
        self._seconds = _MATCHING_SECONDS
        # Groups are all there is: where they agree, they hold for modules that none of them names, too.
        self._fallback = {} if self._common_bits else _common_fields([fields for _, fields in exceptions]) or {}
        for target, fields in exceptions:
            pattern = _pattern(target)
            if pattern is not None:
                self._patterns.append((pattern, fields))
            elif target.isidentifier() and target[0].isupper():
                self._classes.append((target, fields))
            else:
                self._named.setdefault(target, fields)

    @property
    def method(self) -> str | None:
        return _text(self._common, "quant_method")

    def at(self, module: str) -> ModuleSettings:
        """The settings for the module with this path. An exception that names it comes before one that matches it."""
        if not self.found:
            return ModuleSettings(expert_dtype=self._expert_dtype)
        found = self._find_named(module) or self._find_matching(module) or self._find_class(module) or self._fallback
        size = _find_number(found, _GROUP_SIZES) or self._common_size or 0
        return ModuleSettings(
            self.method,
            (_bits(found) if found else None) or self._common_bits,
            size if size > 0 else None,
            # MLX: an exception without a mode has the default one, not the common one.
            _text(found or self._common, "mode"),
            self._expert_dtype,
        )

    def _find_named(self, module: str) -> Fields | None:
        """The exception for the path, or for its last steps (`self_attn.q_proj`)."""
        rest = module if self._named else ""
        while rest:
            if rest in self._named:
                return self._named[rest]
            rest = rest.partition(".")[2]
        return None

    def _find_matching(self, module: str) -> Fields | None:
        if not self._patterns:
            return None
        started = monotonic()
        matching = (fields for pattern, fields in self._patterns if self._seconds > 0 and pattern.matches(module))
        found = next(matching, None)
        self._seconds -= monotonic() - started
        return found

    def _find_class(self, module: str) -> Fields | None:
        """The settings for the module's class. A header doesn't tell it, but embeddings are called so."""
        is_table = "embed" in module.rpartition(".")[2]
        fitting = [fields for name, fields in self._classes if ("Embedding" in name) == is_table]
        return _common_fields(fitting or [fields for _, fields in self._classes])


def _common_fields(settings: Sequence[Fields]) -> Fields | None:
    """The settings of several exceptions, where all give the same bits."""
    return settings[0] if settings and len({_bits(fields) for fields in settings}) == 1 else None


def _find_entry(config: Fields) -> Fields | None:
    for part in (config, config.get("text_config")):
        for name in _ENTRIES:
            found = part.get(name) if isinstance(part, Mapping) else None
            if isinstance(found, Mapping):
                return found
    return None


def _with_global(entry: Fields) -> Fields:
    """Quark: the common settings are an entry of their own."""
    common = entry.get("global_quant_config")
    return {**common, **entry} if isinstance(common, Mapping) else entry


def _exceptions(common: Fields) -> Iterator[tuple[str, Fields]]:
    """The modules and settings of every exception, in the order of the file."""
    for key, value in common.items():
        if not isinstance(value, Mapping) or key in _NOT_OF_WEIGHTS or key in _OF_WEIGHTS:
            continue
        if any(type(value.get(name)) is int for name in (*_BITS, *_GROUP_SIZES)):
            yield key, value
            continue
        for name, fields in value.items():
            if isinstance(fields, Mapping):
                targets = fields.get("targets")
                names = targets if isinstance(targets, list) else [name]
                yield from ((each, fields) for each in names if isinstance(each, str))


class _Pattern(NamedTuple):
    """A pattern of module names.

    search: finds it in a name.  factor, repetitions: for the number of steps that this takes at most, which is
    factor · length^repetitions / repetitions!.
    """

    search: Callable[[str], Any]
    factor: float = 1
    repetitions: int = 0

    def matches(self, name: str) -> bool:
        steps = self.factor * len(name) ** self.repetitions / factorial(self.repetitions)
        return steps <= _MAX_STEPS and bool(self.search(name))


def _pattern(target: str) -> _Pattern | None:
    """The pattern that a target is: a regular expression, or a shell's pattern; None for a name.

    Marked expressions (`re:`, GPTQModel's `+:` and `-:`) begin at the first letter of a name, others anywhere.
    """
    mark, colon, rest = target.partition(":")
    if not colon and not set(target) & set("\\[(^$+?|{") and ".*" not in target:
        return _Pattern(lambda name: fnmatchcase(name, target)) if "*" in target else None
    expression = rest if colon and mark in ("re", "+", "-") else target
    factor, repetitions = _expense(expression)
    try:
        compiled = re.compile(expression) if factor < inf else None
    except (re.error, OverflowError, RecursionError):
        compiled = None
    if compiled is None:
        return _Pattern(lambda name: False)
    return _Pattern(compiled.match if colon else compiled.search, factor, repetitions)


def _expense(expression: str) -> tuple[float, int]:
    """How many ways a regular expression can take, and its repetitions; infinite where a group is repeated."""
    plain = re.sub(r"\\.|\[[^]]*\]", "x", expression[: _MAX_PATTERN + 1])
    repetitions = len(re.findall(r"[*+{]", plain))
    if len(expression) > _MAX_PATTERN or repetitions > _MAX_REPETITIONS or re.search(r"\)[*+{]", plain):
        return inf, 0
    open_groups, ways = [1], 1
    for sign in re.findall(r"[(|)]", plain):
        if sign == "(":
            open_groups.append(1)
        elif sign == "|":
            open_groups[-1] += 1
        elif len(open_groups) > 1:
            ways *= open_groups.pop()
    optional = len(re.findall(r"(?<![(*+?}])\?", plain))
    return prod(open_groups, start=ways) * 2.0 ** min(optional, 99), repetitions


def _bits(fields: Fields) -> int | None:
    """The bits of a weight, as a number or in the name of a format."""
    for part in _parts_of_weights(fields):
        words = (match for name in _NAMES_WITH_BITS if (match := _WIDTH.search(_text(part, name) or "")))
        found = _find_number(part, _BITS) or next((int(match[1]) for match in words), None)
        if found is not None:
            return found if 1 <= found <= 8 else None
    return None


def _find_number(fields: Fields, names: Sequence[str]) -> int | None:
    return next(
        (value for part in _parts_of_weights(fields) for name in names if type(value := part.get(name)) is int), None
    )


def _parts_of_weights(fields: Fields) -> Iterator[Fields]:
    yield from (part for name in _OF_WEIGHTS if isinstance(part := fields.get(name), Mapping))
    yield fields


def _text(fields: Fields, name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) else None
