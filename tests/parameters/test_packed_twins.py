"""Public models packed as they are published: their headers give the total of the plain model."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import prod
from typing import Any, NamedTuple

import pytest

from attncli.api.preset_shapes import shipped_shapes
from attncli.models.builtin.presets import read_preset
from attncli.parameters.inventory import inventory_from_json
from attncli.parameters.quantization import unpack

BYTES = {"I64": 8, "I32": 4, "U32": 4, "F32": 4, "F16": 2, "BF16": 2, "U8": 1, "I8": 1, "F8_E4M3": 1}
#: How many weights of a row share a scale.
GROUP = 64

Shape = tuple[int, ...]
Stored = dict[str, tuple[str, Shape]]


class Entry(NamedTuple):
    path: str
    dtype: str
    shape: Shape

    @property
    def stored_bytes(self) -> int:
        return prod(self.shape) * BYTES[self.dtype]


#: What HQQ writes beside a packed matrix: settings as tensors of one number or a text, and the shape.
HQQ_META: Stored = {
    **dict.fromkeys(("nbits", "group_size", "axis"), ("I32", ())),
    **dict.fromkeys(("view_as_float", "offload_meta", "encoded_state_dict", "stores_quant_config"), ("U8", ())),
    "shape": ("I64", (2,)),
    "packing": ("U8", (7,)),
    "unpack_view_dtype": ("U8", (11,)),
    "compute_dtype": ("U8", (13,)),
}


def hqq(bits: int, axis: int) -> dict[str, Any]:
    weights = {"nbits": bits, "group_size": GROUP, "axis": axis, "channel_wise": True}
    return {"quantization_config": {"quant_method": "hqq", "quant_config": {"weight_quant_params": weights}}}


#: What a library writes for a matrix (out, in), and the settings in config.json.
FORMATS: dict[str, tuple[Callable[[int, int], Stored], dict[str, Any]]] = {
    # AutoGPTQ and GPTQModel: eight weights down a column.
    "GPTQ": (
        lambda o, i: {
            "qweight": ("I32", (i // 8, o)),
            "qzeros": ("I32", (i // GROUP, o // 8)),
            "scales": ("F16", (i // GROUP, o)),
            "g_idx": ("I32", (i,)),
        },
        {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": GROUP}},
    ),
    # AutoAWQ: eight weights along a row.
    "AWQ": (
        lambda o, i: {
            "qweight": ("I32", (i, o // 8)),
            "qzeros": ("I32", (i // GROUP, o // 8)),
            "scales": ("F16", (i // GROUP, o)),
        },
        {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": GROUP, "version": "gemm"}},
    ),
    "bitsandbytes, 4 bits": (
        lambda o, i: {
            "weight": ("U8", (o * i // 2, 1)),
            "weight.absmax": ("U8", (o * i // 64,)),
            "weight.nested_absmax": ("F32", (-(-o * i // (64 * 256)),)),
            "weight.nested_quant_map": ("F32", (256,)),
            "weight.quant_map": ("F32", (16,)),
            "weight.quant_state.bitsandbytes__nf4": ("U8", (90,)),
        },
        {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
    ),
    "bitsandbytes, 8 bits": (
        lambda o, i: {"weight": ("I8", (o, i)), "SCB": ("F32", (o,)), "weight_format": ("U8", ())},
        {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}},
    ),
    # DeepSeek-V3 and Qwen3: a scale for each block of 128 by 128.
    "FP8 in blocks": (
        lambda o, i: {"weight": ("F8_E4M3", (o, i)), "weight_scale_inv": ("F32", (-(-o // 128), -(-i // 128)))},
        {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}},
    ),
    "compressed-tensors, W4A16": (
        lambda o, i: {
            "weight_packed": ("I32", (o, i // 8)),
            "weight_scale": ("BF16", (o, i // GROUP)),
            "weight_shape": ("I64", (2,)),
        },
        {
            "quantization_config": {
                "quant_method": "compressed-tensors",
                "config_groups": {
                    "group_0": {
                        "targets": ["Linear"],
                        "weights": {"num_bits": 4, "group_size": GROUP, "strategy": "group"},
                    }
                },
            }
        },
    ),
    "compressed-tensors, W8A8": (
        lambda o, i: {"weight": ("I8", (o, i)), "weight_scale": ("BF16", (o, 1))},
        {"quantization_config": {"quant_method": "compressed-tensors"}},
    ),
    "MXFP4 of compressed-tensors": (
        lambda o, i: {"weight_packed": ("U8", (o, i // 2)), "weight_scale": ("U8", (o, i // 32))},
        {"quantization_config": {"quant_method": "compressed-tensors"}},
    ),
    "NVFP4 of ModelOpt": (
        lambda o, i: {
            "weight": ("U8", (o, i // 2)),
            "weight_scale": ("F8_E4M3", (o, i // 16)),
            "weight_scale_2": ("F32", ()),
            "input_scale": ("F32", ()),
        },
        {"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}},
    ),
    # The groups of a matrix are the rows, and eight bits hold two weights of a column.
    "HQQ, 4 bits": (
        lambda o, i: {
            "W_q": ("U8", (o * i // GROUP // 2, GROUP)),
            "scale": ("F16", (o * i // GROUP, 1)),
            "zero": ("F16", (o * i // GROUP, 1)),
            **HQQ_META,
        },
        hqq(4, 1),
    ),
    # Or they are the columns.
    "HQQ, 2 bits": (
        lambda o, i: {
            "W_q": ("U8", (GROUP // 4, o * i // GROUP)),
            "scale": ("F16", (1, o * i // GROUP)),
            "zero": ("F16", (1, o * i // GROUP)),
            **HQQ_META,
        },
        hqq(2, 0),
    ),
    # Ten weights a word, so that words of each column stay partly empty.
    "HQQ, 3 bits": (
        lambda o, i: {
            "W_q": ("I32", (-(-o * i // GROUP // 10), GROUP)),
            "scale": ("F16", (o * i // GROUP, 1)),
            "zero": ("F16", (o * i // GROUP, 1)),
            **HQQ_META,
        },
        hqq(3, 1),
    ),
    "HQQ, 3 bits in columns": (
        lambda o, i: {
            "W_q": ("I32", (-(-GROUP // 10), o * i // GROUP)),
            "scale": ("F16", (1, o * i // GROUP)),
            "zero": ("F16", (1, o * i // GROUP)),
            **HQQ_META,
        },
        hqq(3, 0),
    ),
    "quanto, 4 bits": (
        lambda o, i: {
            "weight._data._data": ("U8", (o * i // 128 // 2, 128)),
            "weight._scale": ("F32", (o * i // 128, 1)),
            "weight._shift": ("F32", (o * i // 128, 1)),
            "input_scale": ("F32", ()),
            "output_scale": ("F32", ()),
        },
        {"quantization_config": {"quant_method": "quanto", "weights": "int4"}},
    ),
    "quanto, 2 bits": (
        lambda o, i: {
            "weight._data._data": ("U8", (o * i // 128 // 4, 128)),
            "weight._scale": ("F32", (o * i // 128, 1)),
            "weight._shift": ("F32", (o * i // 128, 1)),
        },
        {"quantization_config": {"quant_method": "quanto", "weights": "int2"}},
    ),
    "MLX, 4 bits": (
        lambda o, i: {
            "weight": ("U32", (o, i // 8)),
            "scales": ("BF16", (o, i // GROUP)),
            "biases": ("BF16", (o, i // GROUP)),
        },
        {"quantization": {"group_size": GROUP, "bits": 4}},
    ),
}

#: Their exact totals are tested in test_public_models.py.
MODELS = {"smollm2-135m": 134_515_008, "qwen3-0.6b": 596_049_920, "llama3.2-1b": 1_235_814_400}


@cache
def plain(name: str) -> dict[str, Shape]:
    shapes = shipped_shapes(read_preset(name))
    assert shapes is not None
    return {tensor.name: tensor.shape for tensor in inventory_from_json(shapes["inventory"]).tensors}


def packed(tensors: dict[str, Shape], packing: Callable[[int, int], Stored]) -> Stored:
    """The matrices of the layers packed; the rest, as is usual, in bfloat16."""
    stored: Stored = {}
    for name, shape in tensors.items():
        if ".layers." in name and len(shape) == 2:
            module = name.removesuffix(".weight")
            stored |= {f"{module}.{leaf}": entry for leaf, entry in packing(*shape).items()}
        else:
            stored[name] = ("BF16", shape)
    return stored


def counted(stored: Stored, config: dict[str, Any]) -> int:
    """The weights behind a header of which every tensor is understood."""
    found = unpack([Entry(name, dtype, shape) for name, (dtype, shape) in stored.items()], config)
    assert found.unknown == found.disputed == ()
    return sum(weights.parameters for weights in found.weights)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("form", FORMATS)
def test_a_packed_header_has_the_total_of_its_plain_twin(form: str, name: str) -> None:
    packing, config = FORMATS[form]
    stored = packed(plain(name), packing)
    assert sum(prod(shape) for _, shape in stored.values()) != MODELS[name], "nothing is packed"
    assert counted(stored, config) == MODELS[name]


def test_gpt_oss_as_it_is_published() -> None:
    # The experts alone are packed: bytes of two weights in blocks of 32, and a scale for each block.
    stored: Stored = {}
    for name, shape in plain("gpt-oss-20b").items():
        if name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            experts, inputs, outputs = shape
            stored[f"{name}_blocks"] = ("U8", (experts, outputs, inputs // 32, 16))
            stored[f"{name}_scales"] = ("U8", (experts, outputs, inputs // 32))
        else:
            stored[name] = ("BF16", shape)
    elements = sum(prod(shape) for _, shape in stored.values())
    in_bytes = sum(prod(shape) for name, (_, shape) in stored.items() if name.endswith("_blocks"))
    scales = sum(prod(shape) for name, (_, shape) in stored.items() if name.endswith("_scales"))
    # The hub prints 21.5B: it counts two weights a byte, and the scales too.
    assert elements + in_bytes == 20_914_757_184 + scales == 21_511_953_984
    assert counted(stored, {"quantization_config": {"quant_method": "mxfp4"}}) == 20_914_757_184
