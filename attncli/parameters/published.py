"""The bytes of weights in the format that they are published in, by what their configuration says of it.

The headers of the files say it exactly (`--source header`); here only the configuration is known. Each builder of
`_BUILDERS` gives the bits of a weight, and what is stored beside a matrix: scales, zero points, indices.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from math import ceil, prod
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli.components import COMPONENTS, PLACES, ROUTED
from attncli.parameters.inventory import Tensor
from attncli.results.cache import in_bytes
from attncli.results.costs import WEIGHT_BITS, Published, PublishedComponent

if TYPE_CHECKING:
    from attncli.parameters.classify import LocatedShare

Fields = Mapping[str, Any]

_PACKED = frozenset(name for name, each in COMPONENTS.items() if each.packed)
#: Fields with the modules that aren't packed.
_KEPT_FIELDS = ("modules_to_not_convert", "ignore", "llm_int8_skip_modules", "exclude_modules")
#: Bits of a scale.
_BYTE, _HALF, _FLOAT = 8, 16, 32


class _Format(NamedTuple):
    """A format that weights are published packed in.

    name: as people call it.  bits: of a weight.  beside: the bits that are stored beside a matrix.
    components: of the matrices that are packed.
    """

    name: str
    bits: int | Fraction
    beside: Callable[[Tensor], int | Fraction]
    components: frozenset[str] = _PACKED


def published_format(
    located: Iterable[LocatedShare], quantization: Fields | None, dtype: str | None
) -> Published | None:
    """The bytes of the weights in their dtype, or packed as `quantization_config` says; None where that is unknown.

    located: every tensor once.  dtype: of the weights that aren't packed.
    """
    if dtype is None or dtype not in WEIGHT_BITS:
        return None
    layout = _format(quantization) if quantization else None
    if quantization and layout is None:
        return None
    kinds: dict[Tensor, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    added: set[Tensor] = set()
    for share in (entry.share for entry in located):
        kinds[share.tensor][share.component] += share.parameters
        added |= {share.tensor} if share.is_bias else set()
    # The bits of each component, and its parameters.
    bits: dict[str, Fraction] = defaultdict(Fraction)
    parameters: dict[str, int] = defaultdict(int)
    for tensor, components in kinds.items():
        stored: int | Fraction = tensor.parameters * WEIGHT_BITS[dtype]
        if layout is not None and tensor not in added and _packs(tensor, components, layout, quantization or {}):
            stored = tensor.parameters * layout.bits + layout.beside(tensor)
        for component, count in components.items():
            bits[component] += Fraction(stored * count, tensor.parameters or 1)
            parameters[component] += count
    total, whole = sum(parameters.values()), sum(bits.values(), Fraction(0))
    if not total:
        return None
    return Published(
        layout.name if layout else dtype, in_bytes(whole, 1), float(whole / total), _components(bits, parameters)
    )


def stored_components(sizes: Mapping[str, int], located: Iterable[LocatedShare]) -> tuple[PublishedComponent, ...]:
    """The stored bytes by component; a matrix that holds several is shared out by their parameters.

    sizes: the bytes of each tensor by name, with its scales.  located: the tensors of the same file.
    """
    bits: dict[str, Fraction] = defaultdict(Fraction)
    parameters: dict[str, int] = defaultdict(int)
    for share, _ in located:
        if share.parameters and share.tensor.name in sizes:
            parameters[share.component] += share.parameters
            bits[share.component] += Fraction(8 * sizes[share.tensor.name] * share.parameters, share.tensor.parameters)
    return _components(bits, parameters)


def _components(bits: Mapping[str, Fraction], parameters: Mapping[str, int]) -> tuple[PublishedComponent, ...]:
    return tuple(
        PublishedComponent(name, parameters[name], in_bytes(bits[name], 1), float(bits[name] / parameters[name]))
        for name in sorted(parameters, key=PLACES.__getitem__)
        if parameters[name]
    )


def _packs(tensor: Tensor, components: Iterable[str], layout: _Format, quantization: Fields) -> bool:
    """Whether a format packs a matrix of these components."""
    if len(tensor.shape) < 2 or not set(components) <= layout.components:
        return False
    return not any(_names(str(name), tensor.module) for name in _kept_modules(quantization))


def _format(quantization: Fields) -> _Format | None:
    method = str(quantization.get("quant_method") or ("mlx" if "group_size" in quantization else "")).lower()
    return _BUILDERS[method](quantization) if method in _BUILDERS else None


def _kept_modules(quantization: Fields) -> tuple[object, ...]:
    names = map(quantization.get, _KEPT_FIELDS)
    return tuple(name for found in names if isinstance(found, list | tuple) for name in found)


# --- What stands beside a matrix


def _groups(size: int, *each: int | Fraction) -> Callable[[Tensor], int | Fraction]:
    """Numbers of so many bits each for every group of `size` inputs; one group a row where that is not positive."""

    def beside(tensor: Tensor) -> int | Fraction:
        rows, columns = prod(tensor.shape[:-1]), tensor.shape[-1]
        return rows * (ceil(columns / size) if size > 0 else 1) * sum(each)

    return beside


def _blocks(size: int, *each: int | Fraction) -> Callable[[Tensor], int | Fraction]:
    """Numbers for every `size` weights of the flat tensor."""
    return lambda tensor: ceil(tensor.parameters / size) * sum(each)


def _tiles(block: object) -> Callable[[Tensor], int]:
    """A scale of 32 bits for each block of a matrix, or for the whole of it."""

    def beside(tensor: Tensor) -> int:
        rows, columns = tensor.shape[-2:]
        high, wide = block if isinstance(block, list | tuple) and len(block) == 2 else (rows, columns)
        return prod(tensor.shape[:-2]) * ceil(rows / high) * ceil(columns / wide) * _FLOAT

    return beside


def _number(fields: Fields, *names: str, default: int | None = None) -> int | None:
    return next((value for name in names if type(value := fields.get(name)) is int), default)


# --- The formats, as libraries write their settings


def _mxfp4(fields: Fields) -> _Format:
    """A scale of a byte for every 32 weights (OCP Microscaling Formats, 2023); of gpt-oss only experts are packed."""
    return _Format("MXFP4", 4, _blocks(32, _BYTE), ROUTED)


def _fp8(fields: Fields) -> _Format:
    return _Format("FP8", 8, _tiles(fields.get("weight_block_size")))


def _gptq(fields: Fields) -> _Format | None:
    """Scales in float16 and packed zero points for each group, and the group of each input in 32 bits."""
    bits, size = _number(fields, "bits"), _number(fields, "group_size", default=-1) or -1
    if bits is None:
        return None
    groups = _groups(size, _HALF, bits)
    return _Format("GPTQ", bits, lambda tensor: groups(tensor) + _FLOAT * prod(tensor.shape[:-2]) * tensor.shape[-1])


def _awq(fields: Fields) -> _Format | None:
    bits, size = _number(fields, "bits", "w_bit"), _number(fields, "group_size", "q_group_size", default=128) or 128
    return None if bits is None else _Format("AWQ", bits, _groups(size, _HALF, bits))


def _bitsandbytes(fields: Fields) -> _Format:
    """4 bits: a scale for every 64 weights, itself packed in 8 bits under double quantization (Dettmers 2023)."""
    if not fields.get("load_in_4bit"):
        return _Format("bitsandbytes 8-bit", 8, _groups(0, _FLOAT))
    double = fields.get("bnb_4bit_use_double_quant")
    scale = (_BYTE, Fraction(_FLOAT, 256)) if double else (_FLOAT,)
    return _Format("bitsandbytes 4-bit", 4, _blocks(64, *scale))


def _compressed_tensors(fields: Fields) -> _Format | None:
    """By the settings of the first group of modules, which nearly every file has alone."""
    groups = fields.get("config_groups")
    listed = groups.values() if isinstance(groups, Mapping) else ()
    found = (group.get("weights") for group in listed if isinstance(group, Mapping))
    weights = next((each for each in found if isinstance(each, Mapping)), None)
    bits = None if weights is None else _number(weights, "num_bits")
    if weights is None or bits is None:
        return None
    name, size = str(fields.get("format") or "compressed-tensors"), _number(weights, "group_size") or 0
    if name == "nvfp4-pack-quantized":
        return _nvfp4(fields)
    if weights.get("strategy") in ("tensor", "block"):
        return _Format("compressed-tensors", bits, _tiles(weights.get("block_structure")))
    zero = 0 if weights.get("symmetric", True) else bits
    return _Format("compressed-tensors", bits, _groups(size, _HALF, zero))


def _nvfp4(fields: Fields) -> _Format:
    """A scale of a byte for every 16 weights, and two of 32 bits for a matrix (weights and inputs)."""
    scales = _groups(16, _BYTE)
    return _Format("NVFP4", 4, lambda tensor: scales(tensor) + 2 * _FLOAT * prod(tensor.shape[:-2]))


def _modelopt(fields: Fields) -> _Format | None:
    algorithm = str(fields.get("quant_algo")).upper()
    return _nvfp4(fields) if algorithm == "NVFP4" else _Format("FP8", 8, _tiles(None)) if algorithm == "FP8" else None


def _mlx(fields: Fields) -> _Format | None:
    """A scale and a bias in half precision for each group; tables are packed too."""
    bits, size = _number(fields, "bits"), _number(fields, "group_size", default=64) or 64
    tables = frozenset(("embedding.token", "unembedding"))
    return None if bits is None else _Format("MLX", bits, _groups(size, _HALF, _HALF), _PACKED | tables)


def _hqq(fields: Fields) -> _Format | None:
    """A scale and a zero point in half precision for each group."""
    inner = fields.get("quant_config")
    given = inner.get("weight_quant_params") if isinstance(inner, Mapping) else fields
    weights: Fields = given if isinstance(given, Mapping) else {}
    bits = _number(weights, "nbits", "bits")
    if bits is None:
        return None
    return _Format("HQQ", bits, _blocks(_number(weights, "group_size", default=64) or 64, _HALF, _HALF))


def _quanto(fields: Fields) -> _Format | None:
    """Scales in half precision: for each row of 8-bit weights, for each 128 weights of fewer bits with a shift."""
    bits = {"int8": 8, "float8": 8, "int4": 4, "int2": 2}.get(str(fields.get("weights")))
    if bits is None:
        return None
    return _Format("quanto", bits, _groups(0, _HALF) if bits == 8 else _blocks(128, _HALF, _HALF))


def _exl(fields: Fields) -> _Format | None:
    """A mean of bits over the matrices, scales included; the unembedding's own bits are counted alike."""
    bits = fields.get("bits")
    if isinstance(bits, bool) or not isinstance(bits, int | float):
        return None
    name = "EXL3" if fields.get("quant_method") == "exl3" else "EXL2"
    return _Format(name, Fraction(bits).limit_denominator(1000), lambda tensor: 0, _PACKED | {"unembedding"})


_BUILDERS: Mapping[str, Callable[[Fields], _Format | None]] = {
    "mxfp4": _mxfp4, "fp8": _fp8, "fbgemm_fp8": lambda fields: _Format("FP8", 8, _groups(0, _FLOAT)), "gptq": _gptq,
    "awq": _awq, "bitsandbytes": _bitsandbytes, "compressed-tensors": _compressed_tensors, "modelopt": _modelopt,
    "mlx": _mlx, "hqq": _hqq, "quanto": _quanto, "exl2": _exl, "exl3": _exl,
}  # fmt: skip


# --- Modules that stay as they are


def _names(pattern: str, path: str) -> bool:
    """Whether an entry of a list of kept modules names a module or one around it.

    Names with a number are paths (`model.layers.3.mlp`); `lm_head` and `model.layers.*.mlp` are parts of paths.
    """
    if any(map(str.isdigit, pattern.split("."))):
        return f"{path}.".startswith(f"{pattern}.")
    steps = [step for step in pattern.split(".") if step != "*"]
    inner = [step for step in path.split(".") if not step.isdigit()]
    return any(inner[place : place + len(steps)] == steps for place in range(len(inner) - len(steps) + 1))


# --- The dtype of the cache


def cache_scheme(quantization: Fields | None) -> tuple[str | None, bool]:
    """The dtype of keys and values that a configuration prescribes, and whether it prescribes one.

    compressed-tensors writes `kv_cache_scheme` {num_bits, type}, ModelOpt `kv_cache_quant_algo`. The dtype is None
    where the scheme isn't known here.
    """
    fields = quantization or {}
    scheme, algorithm = fields.get("kv_cache_scheme"), fields.get("kv_cache_quant_algo")
    if isinstance(scheme, Mapping):
        kind, bits = str(scheme.get("type", scheme.get("dtype"))), scheme.get("num_bits")
        return {("float", 8): "fp8", ("int", 8): "int8"}.get((kind, bits)), True  # type: ignore[arg-type]
    if isinstance(algorithm, str) and algorithm:
        return {"FP8": "fp8", "INT8": "int8"}.get(algorithm.upper()), True
    return None, False
