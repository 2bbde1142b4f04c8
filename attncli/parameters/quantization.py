"""Quantized checkpoints: the weights behind packed tensors, scales and zero points.

A quantized matrix is stored as several tensors (packed integers, scales, zero points, tables) of one module. A tensor
that a layout knows as packed (`packing_layouts`) has the other tensors of its module as companions, whatever they are
called, except biases and what the model itself names so. What is packed in no such layout is said to be unknown.

Also here: the settings of a configuration for each module, bits and group size, with exceptions for some modules.
Libraries write exceptions as entries beside the common settings (MLX), as groups with `targets` (compressed-tensors),
or as a table from names or patterns to settings (GPTQModel, AutoRound, ModelOpt, Quark, Gemma). Whatever the table is
called, an exception is a mapping whose key names modules, and so they are found.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from fnmatch import fnmatchcase
from math import factorial, inf, prod
from time import monotonic
from typing import Any, NamedTuple

from attncli.parameters.inventory import is_buffer
from attncli.parameters.packing_layouts import (
    FLOATS_8,
    INTEGERS,
    LAYOUTS,
    Layout,
    ModuleSettings,
    PackedTensors,
    Shape,
    StoredTensor,
    is_possible,
    layouts_of,
    names_scale,
)


class WeightTensor(NamedTuple):
    """A tensor of weights, after unpacking.

    name: its name in the module.  shape: of the weights.  dtype: of the stored tensor.
    stored_bytes: of the stored tensor and its companions.  companions: names of its scales, zero points and tables.
    """

    name: str
    shape: Shape
    dtype: str
    stored_bytes: int
    companions: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        return prod(self.shape)

    @property
    def bits(self) -> float:
        """Stored bits per weight, scales included."""
        return 8 * self.stored_bytes / self.parameters if self.parameters else 0.0


class UnpackedCheckpoint(NamedTuple):
    """The weights of a checkpoint.

    schemes: how many tensors are packed in each format.  flat: names of tensors whose number of weights is known, but
    not their shape.  unknown: names of stored tensors that are packed in an unknown way: their elements are counted, as
    the number of their weights can't be told.  disputed: names of weights that have other bits than the configuration
    says.  scales: those of caches and inputs that belong to no matrix.
    """

    weights: tuple[WeightTensor, ...]
    schemes: Mapping[str, int] = {}
    flat: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    disputed: tuple[str, ...] = ()
    scales: tuple[WeightTensor, ...] = ()

    @property
    def shapes(self) -> dict[str, Shape]:
        return {weights.name: weights.shape for weights in self.weights}

    @property
    def stored_bytes(self) -> int:
        return sum(weights.stored_bytes for weights in (*self.weights, *self.scales))


def unpack(
    tensors: Iterable[StoredTensor], config: Mapping[str, Any] | None = None, known: Mapping[str, Shape] | None = None
) -> UnpackedCheckpoint:
    """The weights behind stored tensors, in the order of the tensors.

    config: the model's configuration, for what shapes don't tell (the bits of compressed-tensors, MLX's group size).
    known: the shapes of the model's parameters by name. What it names is no companion, and what the stored tensors
    don't tell is taken from it where it is possible.
    """
    stored = {tensor.path: tensor for tensor in tensors}
    settings, known = PackingSettings(config or {}), known or {}
    # The tensors of each module, by their names in it.
    modules: dict[str, dict[str, StoredTensor]] = defaultdict(dict)
    for path, tensor in stored.items():
        module = _module_of(path, stored)
        modules[module][path[len(module) + 1 :] if module else path] = tensor
    found: dict[str, _PackedMatrix] = {}
    for module, parts in modules.items():
        found.update(_packed_matrices(module, parts, settings, known))
    used = {*found, *(companion for matrix in found.values() for companion in matrix.weights.companions)}
    rest = [[each for each in parts.values() if each.path not in used] for parts in modules.values()]
    held = {*stored, *(matrix.weights.name for matrix in found.values())}
    unknown = set(_unknown_packing(rest, known, held, has_settings=settings.found))
    is_quantized = settings.found or bool(found)
    weights: list[WeightTensor] = []
    scales: list[WeightTensor] = []
    for path, tensor in stored.items():
        if path in found:
            weights.append(found[path].weights)
        elif path not in used:
            is_scale = is_quantized and path not in known and path not in unknown and _is_scale_of_values(tensor)
            plain = WeightTensor(path, tensor.shape, tensor.dtype, tensor.stored_bytes)
            (scales if is_scale else weights).append(plain)
    return UnpackedCheckpoint(
        tuple(weights),
        Counter(matrix.scheme for matrix in found.values() if not matrix.is_unknown),
        tuple(matrix.weights.name for matrix in found.values() if matrix.is_flat),
        tuple(path for path in stored if path in unknown or (path in found and found[path].is_unknown)),
        tuple(matrix.weights.name for matrix in found.values() if matrix.is_disputed),
        tuple(scales),
    )


# --- Which tensors belong together

_SCALE_WORDS = frozenset(("scale", "scales", "scaling", "qscale", "zero", "zeros"))
#: What is scaled besides weights, in the names of scales: `k_scale`, `v_cache_scale`, `input_zero_point`.
_VALUE_WORDS = frozenset(("q", "k", "v", "kv", "query", "key", "value", "cache", "p", "prob", "probs", "softmax")) | {
    *("attn", "input", "output", "in", "out", "act", "activation", "proj", "point", "inv", "factor")
}
#: The most steps that a companion's name has after that of its matrix; gate_up_proj_weight_scale_2 has three.
_MAX_ENDING = 6


def _module_of(path: str, stored: Mapping[str, StoredTensor]) -> str:
    """The module of a tensor. Its name may extend that of another tensor (`weight.absmax`), stored or not."""
    module = path.rpartition(".")[0]
    for owner in (module, module.rpartition(".")[0]):
        around, _, leaf = owner.rpartition(".")
        if leaf == "weight" or (owner and owner in stored):
            return around
    return module


class _PackedMatrix(NamedTuple):
    """A packed matrix. is_flat: only the number of its weights is known.  is_unknown: not even that."""

    scheme: str
    weights: WeightTensor
    is_flat: bool = False
    is_unknown: bool = False
    is_disputed: bool = False


def _packed_matrices(
    module: str, parts: Mapping[str, StoredTensor], settings: PackingSettings, known: Mapping[str, Shape]
) -> Iterator[tuple[str, _PackedMatrix]]:
    """The packed matrices of a module, by the paths of their main tensors."""
    mains = _main_tensors(parts)
    if not mains:
        return
    stems = {layout.stem(main): main for main, layout in mains.items()}
    companions: dict[str, dict[str, StoredTensor]] = {main: {} for main in mains}
    for leaf, each in parts.items():
        owner = None if leaf in mains or each.path in known else _owner(leaf, stems)
        if owner is not None:
            companions[owner][leaf] = each
    module_settings = settings.at(module)
    for main, layout in mains.items():
        stem = layout.stem(main)
        endings = {leaf.removeprefix(stem): each for leaf, each in companions[main].items()}
        group = PackedTensors(parts[main], endings, module_settings)
        name = f"{module}.{stem}{layout.weights}" if module else f"{stem}{layout.weights}"
        yield parts[main].path, _unpack_matrix(name, layout, group, tuple(companions[main].values()), known)


def _main_tensors(parts: Mapping[str, StoredTensor]) -> dict[str, Layout]:
    """The packed tensors of a module, with their layouts; shorter names first, as those of companions extend them."""
    if len(parts) < 2:
        return {}
    scales = sorted(filter(names_scale, parts))
    fitting = sorted(
        (rank, len(leaf), leaf)
        for leaf, tensor in parts.items()
        for rank in layouts_of(tensor.dtype)
        if LAYOUTS[rank].fits(leaf, parts, scales)
    )
    mains: dict[str, Layout] = {}
    stems: dict[str, str] = {}
    for rank, _, leaf in fitting:
        stem = LAYOUTS[rank].stem(leaf)
        if leaf not in mains and stem not in stems and _owner(leaf, stems) is None:
            mains[leaf], stems[stem] = LAYOUTS[rank], leaf
    return mains


def _owner(leaf: str, stems: Mapping[str, str]) -> str | None:
    """The packed tensor that another tensor of the module belongs to: the one whose name it extends.

    stems: the packed tensors by what their names begin with. Where that is the module's only matrix, everything belongs
    to it; scales for inputs belong to any. Biases belong to none.
    """
    if not stems or leaf.endswith("bias"):
        return None
    ends = [place for place, sign in enumerate(leaf) if sign in "_."][-_MAX_ENDING:]
    extended = next((stems[leaf[:end]] for end in reversed(ends) if leaf[:end] in stems), None)
    only = extended or stems.get("weight") or stems.get("")
    return only or (next(iter(stems.values())) if names_scale(leaf) else None)


def _is_scale_of_values(tensor: StoredTensor) -> bool:
    """Whether a tensor scales a cache, or the inputs or outputs of a module (`k_scale`, `v_cache_scale`)."""
    words = set(tensor.path.rpartition(".")[2].split("_"))
    is_vector = max(tensor.shape, default=1) == prod(tensor.shape)
    return is_vector and not _SCALE_WORDS.isdisjoint(words) and set() < words - _SCALE_WORDS <= _VALUE_WORDS


def _unpack_matrix(
    name: str, layout: Layout, group: PackedTensors, companions: Sequence[StoredTensor], known: Mapping[str, Shape]
) -> _PackedMatrix:
    main, bits, shape = group.main, group.settings.bits, layout.unpack(group)
    is_flat = shape is not None and len(shape) == 2 and shape[1] == 1 and shape[0] > 1
    of_model = known.get(name)
    if of_model is not None:
        if shape is None and is_possible(of_model, main, bits):
            shape = of_model
        elif shape is not None and is_flat and prod(of_model) == prod(shape):
            shape, is_flat = of_model, False
    # Where the number of weights is unknown, the stored elements are counted.
    counted = main.shape if shape is None else shape
    stored_bytes = sum(each.stored_bytes for each in (main, *companions))
    weights = WeightTensor(name, counted, main.dtype, stored_bytes, tuple(each.path for each in companions))
    # One weight an element: the element may be wider than the number in it.
    is_disputed = bits is not None and prod(counted) != prod(main.shape) and not is_possible(counted, main, bits)
    return _PackedMatrix(layout.format(group, shape), weights, is_flat, shape is None, is_disputed)


# --- What is packed in an unknown way


def _unknown_packing(
    modules: Iterable[Sequence[StoredTensor]], known: Mapping[str, Shape], held: Set[str], *, has_settings: bool
) -> Iterator[str]:
    """The paths of tensors that are packed in an unknown way, with what belongs to them, without biases.

    modules: the tensors of each module that belong to no packed matrix.  held: the names of all stored weights.
    has_settings: whether the configuration says that the model is quantized.
    """
    missing: dict[str, int] = defaultdict(int)
    for name, shape in known.items():
        missing[name.rpartition(".")[0]] += 0 if name in held else prod(shape)
    for tensors in modules:
        strange = [
            each for each in tensors if not is_buffer(each.path, each.shape) and known.get(each.path) != each.shape
        ]
        in_place_of = missing.get(strange[0].path.rpartition(".")[0], 0) if strange else 0
        if (
            _are_packed(strange, has_settings=has_settings)
            # The model's tensors under new names would be numbers, and as many.
            or (in_place_of and any("F" not in each.dtype for each in strange))
            or (in_place_of and has_settings and sum(prod(each.shape) for each in strange) != in_place_of)
            # A parameter of another shape, and something beside it that the model doesn't have.
            or (has_settings and len({each.path in known for each in strange}) == 2)
        ):
            yield from (each.path for each in strange if not each.path.endswith("bias"))


def _are_packed(tensors: Sequence[StoredTensor], *, has_settings: bool) -> bool:
    """Whether some tensors of a module hold packed weights, and others what belongs to them."""
    has_scale = any(names_scale(each.path.rpartition(".")[2]) for each in tensors)
    # Indices are I64, too, but beside a table, or without settings not as a matrix.
    has_table = any(len(each.shape) > 1 and "F" in each.dtype for each in tensors)
    packed = [
        each
        for each in tensors
        if prod(each.shape) > 1
        and (
            each.dtype in INTEGERS
            or (each.dtype in FLOATS_8 and has_scale)
            or (each.dtype == "I64" and not has_table and (has_settings or len(each.shape) > 1))
        )
    ]
    # A vector of integers by itself may be a list of tokens.
    return bool(packed) and (has_settings or len(packed) < len(tensors) or any(len(each.shape) > 1 for each in packed))


# --- The settings of a configuration

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


class PackingSettings:
    """The quantization settings of a model's configuration. found: whether it has any."""

    def __init__(self, config: Fields) -> None:
        parts = [part for part in (config, config.get("text_config")) if isinstance(part, Mapping)]
        entries = (part.get(name) for part in parts for name in _ENTRIES)
        entry = next((each for each in entries if isinstance(each, Mapping)), None)
        self.found = entry is not None
        # Quark: the common settings are an entry of their own.
        common = (entry or {}).get("global_quant_config")
        self._common = {**(common if isinstance(common, Mapping) else {}), **(entry or {})}
        self._expert_dtype = _text(self._common, "expert_dtype") or _text(config, "expert_dtype")
        self._named: dict[str, Fields] = {}
        self._classes: list[tuple[str, Fields]] = []
        self._patterns: list[tuple[_Pattern, Fields]] = []
        exceptions = list(_exceptions(self._common))
        self._common_bits, self._common_size = _bits(self._common), _find_number(self._common, _GROUP_SIZES)
        self._seconds = _MATCHING_SECONDS
        # Groups are all there is: where they agree, they hold for modules that none of them names, too.
        self._fallback = {} if self._common_bits else _agreed([fields for _, fields in exceptions])
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
        # A name may be the path, or its last steps (`self_attn.q_proj`).
        steps = module.split(".") if self._named else []
        names = (".".join(steps[place:]) for place in range(len(steps)))
        named = next((self._named[name] for name in names if name in self._named), None)
        found = named or self._find_matching(module) or self._find_class(module) or self._fallback
        size = _find_number(found, _GROUP_SIZES) or self._common_size or 0
        return ModuleSettings(
            self.method,
            (_bits(found) if found else None) or self._common_bits,
            size if size > 0 else None,
            # MLX: an exception without a mode has the default one, not the common one.
            _text(found or self._common, "mode"),
            self._expert_dtype,
        )

    def _find_matching(self, module: str) -> Fields | None:
        started = monotonic()
        matching = (fields for pattern, fields in self._patterns if self._seconds > 0 and pattern.matches(module))
        found = next(matching, None)
        self._seconds -= monotonic() - started
        return found

    def _find_class(self, module: str) -> Fields:
        """The settings for the module's class, which a header doesn't tell, but embeddings are called so."""
        is_table = "embed" in module.rpartition(".")[2]
        fitting = [fields for name, fields in self._classes if ("Embedding" in name) == is_table]
        return _agreed(fitting or [fields for _, fields in self._classes])


def _agreed(settings: Sequence[Fields]) -> Fields:
    """The settings of several exceptions, where all give the same bits; else none."""
    return settings[0] if len({_bits(fields) for fields in settings}) == 1 else {}


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
