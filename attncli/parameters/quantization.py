"""Quantized checkpoints: the weights behind packed tensors, scales and zero points.

A quantized matrix is stored as several tensors (packed integers, scales, zero points, tables). Each line of `SCHEMES`
describes one format: the names and types of its tensors, and how the shape of the weights follows from theirs. Shapes
decide between layouts; the configuration is read only where they can't.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from math import prod
from typing import Any, NamedTuple, Protocol

Shape = tuple[int, ...]


class StoredTensor(Protocol):
    """A tensor of a file: its name in the module (`path`), dtype, stored shape and size in bytes."""

    @property
    def path(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> Shape: ...
    @property
    def stored_bytes(self) -> int: ...


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

    schemes: how many tensors are packed by each scheme.  uncertain: names of packed tensors of unknown shape.
    unknown_scheme: the quantization method of the configuration, where no tensor fits a known scheme.
    """

    weights: tuple[WeightTensor, ...]
    schemes: Mapping[str, int]
    uncertain: tuple[str, ...] = ()
    unknown_scheme: str | None = None

    @property
    def shapes(self) -> dict[str, Shape]:
        return {weights.name: weights.shape for weights in self.weights}

    @property
    def stored_bytes(self) -> int:
        return sum(weights.stored_bytes for weights in self.weights)


class PackedTensors(NamedTuple):
    """The tensors of one packed matrix by the endings of their names, and the quantization settings."""

    parts: Mapping[str, StoredTensor]
    settings: Mapping[str, Any]

    def shape(self, ending: str) -> Shape:
        return self.parts[ending].shape

    def number(self, *names: str) -> int | None:
        return next((self.settings[name] for name in names if type(self.settings.get(name)) is int), None)


class Scheme(NamedTuple):
    """A quantization format.

    main: the ending of the packed tensor's name, and dtypes: its possible types.
    required: endings of the tensors that must be there too.  optional: endings of those that may, a `*` at the end for
    any continuation.  weights_ending: replaces `main` in the name of the weights.
    shape: computes the shape of the weights; None where the stored tensors don't determine it.
    """

    name: str
    main: str
    dtypes: frozenset[str]
    required: tuple[str, ...]
    optional: tuple[str, ...]
    weights_ending: str
    shape: Callable[[PackedTensors], Shape | None]


def unpack(
    tensors: Iterable[StoredTensor], config: Mapping[str, Any] | None = None, known: Mapping[str, Shape] | None = None
) -> UnpackedCheckpoint:
    """The weights behind stored tensors, in the order of the tensors.

    config: the model's configuration, for what shapes don't tell (the bits of compressed-tensors, MLX's group size).
    known: shapes by name, such as a module's, for tensors that are stored flat (bitsandbytes' four bits).
    """
    stored = {tensor.path: tensor for tensor in tensors}
    settings = _quantization_settings(config or {})
    found, used = _find_packed(stored, settings)
    weights, uncertain = [], []
    for path, tensor in stored.items():
        if path in found:
            unpacked, is_certain = _with_known_shape(found[path], known or {})
            weights.append(unpacked)
            uncertain += [] if is_certain else [unpacked.name]
        elif path not in used:
            weights.append(WeightTensor(path, tensor.shape, tensor.dtype, tensor.stored_bytes))
    unknown_scheme = None if found else settings.get("quant_method")
    schemes = Counter(matrix.scheme for matrix in found.values())
    return UnpackedCheckpoint(tuple(weights), schemes, tuple(uncertain), unknown_scheme)


class _PackedMatrix(NamedTuple):
    scheme: str
    weights: WeightTensor
    is_certain: bool


def _quantization_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The quantization settings of a configuration, with the bits per weight where all groups have the same."""
    for part in (config, config.get("text_config")):
        for name in ("quantization_config", "quantization", "compression_config"):
            found = part.get(name) if isinstance(part, Mapping) else None
            if isinstance(found, Mapping):
                bits = {weights.get("num_bits") for weights in _group_weights(found)}
                return {**found, "num_bits": bits.pop()} if len(bits) == 1 else dict(found)
    return {}


def _group_weights(settings: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """compressed-tensors: the settings for the weights of each group of tensors."""
    groups = settings.get("config_groups")
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if isinstance(weights, Mapping):
            yield weights


def _find_packed(
    stored: Mapping[str, StoredTensor], settings: Mapping[str, Any]
) -> tuple[dict[str, _PackedMatrix], set[str]]:
    """Packed matrices by the path of their main tensor, and the paths of all their companions."""
    ordered = sorted(stored)
    found: dict[str, _PackedMatrix] = {}
    used: set[str] = set()
    for path, tensor in stored.items():
        for scheme in SCHEMES:
            if path in used or tensor.dtype not in scheme.dtypes or not _is_main(path, scheme.main):
                continue
            stem = path.removesuffix(scheme.main)
            companions = _companions(scheme, stem, ordered)
            if companions is not None and not any(other in used or other in found for other in companions):
                parts = {other.removeprefix(stem): stored[other] for other in (path, *companions)}
                found[path] = _unpack_matrix(scheme, stem, PackedTensors(parts, settings), companions)
                used.update(companions)
                break
    return found, used


def _is_main(path: str, main: str) -> bool:
    """Whether a path ends with `main`, and at a dot unless `main` begins with an underscore."""
    return path.endswith(main) and (main.startswith("_") or path == main or path[-len(main) - 1] == ".")


def _companions(scheme: Scheme, stem: str, ordered: Sequence[str]) -> tuple[str, ...] | None:
    """The names of a matrix's companions; None where a required one is missing."""
    # In sorted order, names with the same beginning are neighbours.
    places = range(bisect_left(ordered, stem), len(ordered))
    near = list(takewhile(lambda path: path.startswith(stem), (ordered[place] for place in places)))
    if not all(any(_fits(path, stem, ending) for path in near) for ending in scheme.required):
        return None
    main = f"{stem}{scheme.main}"
    endings = (*scheme.required, *scheme.optional)
    return tuple(path for path in near if path != main and any(_fits(path, stem, ending) for ending in endings))


def _fits(path: str, stem: str, pattern: str) -> bool:
    ending = path[len(stem) :]
    return ending.startswith(pattern[:-1]) if pattern.endswith("*") else ending == pattern


def _unpack_matrix(scheme: Scheme, stem: str, group: PackedTensors, companions: tuple[str, ...]) -> _PackedMatrix:
    main = group.parts[scheme.main]
    shape = _unpacked_shape(scheme, group)
    stored_bytes = sum(part.stored_bytes for part in group.parts.values())
    # Where the shape is unknown, the stored elements are counted.
    weights = WeightTensor(f"{stem}{scheme.weights_ending}", shape or main.shape, main.dtype, stored_bytes, companions)
    return _PackedMatrix(scheme.name, weights, shape is not None and not _is_flat(shape))


def _unpacked_shape(scheme: Scheme, group: PackedTensors) -> Shape | None:
    try:
        return scheme.shape(group)
    except (ValueError, IndexError, ArithmeticError):
        return None  # not the axes of this format: other tensors with the same names


def _with_known_shape(found: _PackedMatrix, known: Mapping[str, Shape]) -> tuple[WeightTensor, bool]:
    """The weights, with the known shape of that name where it is possible; and whether the shape is certain."""
    weights = found.weights
    shape = known.get(weights.name)
    if found.is_certain or shape is None or (_is_flat(weights.shape) and prod(shape) != weights.parameters):
        return weights, found.is_certain
    return weights._replace(shape=shape), True


def _is_flat(shape: Shape) -> bool:
    return len(shape) == 2 and shape[1] == 1 and shape[0] > 1


def _stored_shape(main: str) -> Callable[[PackedTensors], Shape]:
    """The shape of the weights of a format that stores one weight per element."""
    return lambda group: group.shape(main)


def _widened_shape(main: str, factor: int, axis: int = -1) -> Callable[[PackedTensors], Shape]:
    """The shape of the weights of a format that stores `factor` weights per element, along an axis."""

    def shape(group: PackedTensors) -> Shape:
        sizes = list(group.shape(main))
        sizes[axis] *= factor
        return tuple(sizes)

    return shape


def _gptq_shape(group: PackedTensors) -> Shape | None:
    """GPTQ and AWQ: int32 words. Scales and zero points, packed along the outputs, give the bits per weight.

    GPTQ packs the weights along the inputs, (in·bits/32, out), and AWQ along the outputs, (in, out·bits/32).
    """
    (rows, columns), outputs = group.shape("qweight")[-2:], group.shape("scales")[-1]
    bits, uneven = divmod(32 * group.shape("qzeros")[-1], outputs) if outputs else (0, 1)
    if uneven or not bits:
        bits = group.number("bits", "w_bit") or 0
    if not bits:
        return None
    return (outputs, rows * 32 // bits) if columns == outputs else (32 * columns // bits, rows)


def _compressed_tensors_shape(group: PackedTensors) -> Shape | None:
    """compressed-tensors: int32 words along the inputs; only the configuration gives the bits per weight."""
    *outer, words = group.shape("weight_packed")
    bits = group.number("num_bits")
    return None if bits is None else (*outer, words * 32 // bits)


def _mlx_shape(group: PackedTensors) -> Shape | None:
    """MLX: uint32 words along the inputs, and a scale for each `group_size` of the inputs."""
    *outer, words = group.shape("weight")
    size, bits = group.number("group_size"), group.number("bits")
    if size is not None:
        return (*outer, group.shape("scales")[-1] * size)
    return None if bits is None else (*outer, words * 32 // bits)


def _mxfp4_shape(group: PackedTensors) -> Shape | None:
    """MXFP4: blocks of 16 bytes for 32 weights, (experts, out, blocks, 16)."""
    sizes = group.shape("_blocks")
    return (*sizes[:-2], sizes[-2] * sizes[-1] * 2) if len(sizes) > 2 else None


def _four_bit_shape(group: PackedTensors) -> Shape:
    """BitNet: two bits a weight, packed along the outputs; else four bits along the inputs."""
    if prod(group.shape("weight_scale")) <= 1 and group.settings.get("quant_method") == "bitnet":
        return _widened_shape("weight", 4, axis=0)(group)
    return _widened_shape("weight", 2)(group)


def _scheme(name: str, main: str, dtypes: str, required: str, optional: str, weights: str, shape: Any) -> Scheme:
    return Scheme(
        name, main, frozenset(dtypes.split()), tuple(required.split()), tuple(optional.split()), weights, shape
    )


_FLOATS_8 = "F8_E4M3 F8_E5M2 F8_E4M3FNUZ F8_E5M2FNUZ"
_SCALES = "weight_scale* weight_zero_point* weight_global_scale input_scale* input_zero_point input_global_scale"

#: The formats, with the tensor names of the libraries that write them; the first match counts.
SCHEMES: tuple[Scheme, ...] = (
    _scheme("GPTQ or AWQ", "qweight", "I32", "scales qzeros", "g_idx perm", "weight", _gptq_shape),
    _scheme("compressed-tensors", "weight_packed", "I32", "weight_scale", f"weight_shape weight_g_idx {_SCALES}",
            "weight", _compressed_tensors_shape),
    _scheme("NVFP4", "weight_packed", "U8", "weight_scale", _SCALES, "weight", _widened_shape("weight_packed", 2)),
    # gpt-oss: (experts, out, blocks, 16) bytes of two weights each.
    _scheme("MXFP4", "_blocks", "U8", "_scales", "", "", _mxfp4_shape),
    # bitsandbytes stores four bits flat, (n/2, 1); the names of its tables extend that of the weight.
    _scheme("bitsandbytes 4-bit", "weight", "U8", "weight.absmax", "weight.*", "weight",
            _widened_shape("weight", 2, axis=0)),
    _scheme("bitsandbytes 8-bit", "weight", "I8", "SCB", "weight_format", "weight", _stored_shape("weight")),
    _scheme("MLX", "weight", "U32", "scales", "biases", "weight", _mlx_shape),
    _scheme("4-bit floats", "weight", "U8", "weight_scale", _SCALES, "weight", _four_bit_shape),
    _scheme("FP8", "weight", _FLOATS_8, "weight_scale*", _SCALES, "weight", _stored_shape("weight")),
    _scheme("FP8", "weight", _FLOATS_8, "scale", "input_scale", "weight", _stored_shape("weight")),
    _scheme("8-bit integers", "weight", "I8", "weight_scale*", _SCALES, "weight", _stored_shape("weight")),
    # All experts in one tensor: no dot between the names of matrix and scale.
    _scheme("FP8", "_proj", _FLOATS_8, "_proj_scale*", "", "_proj", _stored_shape("_proj")),
)  # fmt: skip
