"""The size of a model in the format that it is published in, from the settings of its quantization."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil, prod
from typing import TYPE_CHECKING, Any

from attncli.parameters.inventory import Tensor
from attncli.results.costs import WEIGHT_BITS, Published, in_bytes

if TYPE_CHECKING:
    from attncli.parameters.classify import LocatedShare

#: Of MXFP4, 32 weights of 4 bits share a scale of 8 (OCP Microscaling Formats, 2023); only experts are packed.
_MXFP4_BLOCK, _MXFP4_BITS, _MXFP4_SCALE_BITS = 32, 4, 8
_MXFP4_COMPONENTS = ("moe.gate", "moe.up", "moe.down")
#: FP8 packs the matrices of the blocks, with a float32 scale for each block of a matrix, or for the whole of it.
_FP8_GROUPS = ("attention", "cross_attention", "mlp", "moe", "mixer")
_FP8_BITS, _FP8_SCALE_BITS = 8, 32
_FP8_UNPACKED = ("moe.router", "attention.position_bias", "attention.sinks", "mixer.convolution", "mixer.state")


def published_format(
    located: Iterable[LocatedShare], quantization: Mapping[str, Any] | None, dtype: str | None
) -> Published | None:
    """The bytes of the weights in their dtype, or packed as `quantization_config` says; None where that is unknown.

    located: every tensor once.  dtype: of the weights that aren't packed.
    """
    if dtype is None or dtype not in WEIGHT_BITS:
        return None
    shares = [entry.share for entry in located]
    total = sum(share.parameters for share in shares)
    if not total:
        return None
    if not quantization:
        return Published(dtype, in_bytes(total, WEIGHT_BITS[dtype]), float(WEIGHT_BITS[dtype]))
    method = quantization.get("quant_method")
    if method not in ("mxfp4", "fp8"):
        return None
    kinds: dict[Tensor, set[str]] = {}
    for share in shares:
        kinds.setdefault(share.tensor, set()).add("bias" if share.is_bias else share.component)
    kept = quantization.get("modules_to_not_convert") or ()
    packed = [tensor for tensor, found in kinds.items() if _is_packed(tensor, found, method, kept)]
    bits = sum(map(_mxfp4_bits, packed)) if method == "mxfp4" else sum(_fp8_bits(each, quantization) for each in packed)
    bits += (total - sum(tensor.parameters for tensor in packed)) * WEIGHT_BITS[dtype]
    return Published(method.upper(), ceil(bits / 8), bits / total)


def _is_packed(tensor: Tensor, components: set[str], method: str, kept: Sequence[object]) -> bool:
    if len(tensor.shape) < 2 or any(_names(str(name), tensor.module) for name in kept):
        return False
    if method == "mxfp4":
        return components <= set(_MXFP4_COMPONENTS)
    groups = {component.partition(".")[0] for component in components}
    return groups <= set(_FP8_GROUPS) and components.isdisjoint(_FP8_UNPACKED)


def _names(pattern: str, path: str) -> bool:
    """Whether an entry of `modules_to_not_convert` names a module or one around it.

    Names with a number are paths (`model.layers.3.mlp`); `lm_head` and `model.layers.*.mlp` are parts of paths.
    """
    if any(map(str.isdigit, pattern.split("."))):
        return f"{path}.".startswith(f"{pattern}.")
    steps = [step for step in pattern.split(".") if step != "*"]
    inner = [step for step in path.split(".") if not step.isdigit()]
    return any(inner[place : place + len(steps)] == steps for place in range(len(inner) - len(steps) + 1))


def _mxfp4_bits(tensor: Tensor) -> int:
    return tensor.parameters * _MXFP4_BITS + ceil(tensor.parameters / _MXFP4_BLOCK) * _MXFP4_SCALE_BITS


def _fp8_bits(tensor: Tensor, quantization: Mapping[str, Any]) -> int:
    rows, columns = tensor.shape[-2:]
    block = quantization.get("weight_block_size")
    high, wide = block if isinstance(block, list | tuple) and len(block) == 2 else (rows, columns)
    scales = prod(tensor.shape[:-2]) * ceil(rows / high) * ceil(columns / wide)
    return tensor.parameters * _FP8_BITS + scales * _FP8_SCALE_BITS
