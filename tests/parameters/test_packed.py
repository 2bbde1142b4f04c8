"""Packed matrices by rule: settings for single modules, companions in any spelling, and packings that nobody knows."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

import attncli
from attncli.parameters.quantization import PackingSettings, UnpackedCheckpoint, unpack
from attncli.results.reconciliation import Reconciliation
from tests.cli.conftest import attn
from tests.weight_files import with_header

SIZES = {"I64": 8, "I32": 4, "U32": 4, "F32": 4, "I16": 2, "F16": 2, "BF16": 2, "U8": 1, "I8": 1, "F8_E4M3": 1}
SIZES["F8_E8M0"] = 1


class Entry(NamedTuple):
    path: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def stored_bytes(self) -> int:
        return prod(self.shape) * SIZES[self.dtype]


Stored = dict[str, tuple[str, tuple[int, ...]]]


def unpacked(tensors: Stored, config: dict[str, Any] | None = None, **known: tuple[int, ...]) -> UnpackedCheckpoint:
    entries = [Entry(name, dtype, shape) for name, (dtype, shape) in tensors.items()]
    found = unpack(entries, config, known)
    assert found.stored_bytes == sum(entry.stored_bytes for entry in entries)
    return found


def total(tensors: Stored, config: dict[str, Any] | None = None) -> int:
    """The weights behind tensors of which every one is understood."""
    found = unpacked(tensors, config)
    assert found.unknown == found.disputed == ()
    return sum(weights.parameters for weights in found.weights)


def quantized(**fields: Any) -> dict[str, Any]:
    return {"quantization_config": fields}


# Settings for single modules

MLX = {"group_size": 32, "bits": 4, "mode": "mxfp4", "a.q_proj": {"group_size": 64, "bits": 8}, "a.v_proj": False}


def test_mlx_has_an_entry_for_each_module_that_differs() -> None:
    tensors: Stored = {
        "a.q_proj.weight": ("U32", (128, 128)),
        "a.q_proj.scales": ("BF16", (128, 8)),
        "a.q_proj.biases": ("BF16", (128, 8)),
        "a.k_proj.weight": ("U32", (64, 64)),
        "a.k_proj.scales": ("U8", (64, 16)),
    }
    found = unpacked(tensors, {"quantization": MLX})
    assert found.shapes == {"a.q_proj.weight": (128, 512), "a.k_proj.weight": (64, 512)}
    assert (found.unknown, found.disputed, found.schemes) == ((), (), {"MLX": 2})


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
@pytest.mark.parametrize("size", [32, 64, 128])
def test_mlx_of_any_bits(bits: int, size: int) -> None:
    tensors: Stored = {
        "q.weight": ("U32", (96, 512 * bits // 32)),
        "q.scales": ("F16", (96, 512 // size)),
        "q.biases": ("F16", (96, 512 // size)),
    }
    assert total(tensors, {"quantization": {"group_size": size, "bits": bits}}) == 96 * 512
    # The tensors contradict other settings, so that nothing is known.
    assert unpacked(tensors, {"quantization": {"group_size": size, "bits": bits % 8 + 1}}).unknown == ("q.weight",)


@pytest.mark.parametrize(("mode", "size", "bits"), [("mxfp4", 32, 4), ("mxfp8", 32, 8), ("nvfp4", 16, 4)])
def test_mlx_of_any_mode(mode: str, size: int, bits: int) -> None:
    tensors: Stored = {"q.weight": ("U32", (96, 512 * bits // 32)), "q.scales": ("U8", (96, 512 // size))}
    assert total(tensors, {"quantization": {"group_size": size, "bits": bits, "mode": mode}}) == 96 * 512
    # Bytes as scales tell the mode by themselves.
    assert total(tensors) == 96 * 512


def group(bits: int, *targets: str, size: int | None = 128) -> dict[str, Any]:
    strategy = "channel" if size is None else "group"
    return {"targets": list(targets), "weights": {"num_bits": bits, "group_size": size, "strategy": strategy}}


def words(name: str, bits: int, size: int = 128) -> Stored:
    """A matrix from 256 inputs to 512 outputs in compressed-tensors' words."""
    return {
        f"{name}.weight_packed": ("I32", (512, -(-256 * bits // 32))),
        f"{name}.weight_scale": ("BF16", (512, 256 // size)),
        f"{name}.weight_shape": ("I64", (2,)),
    }


@pytest.mark.parametrize("targets", [("re:.*attn.*", "re:.*mlp.*"), ("m.0.attn.q", "Linear"), ("Linear", "re:.*up$")])
def test_groups_of_compressed_tensors(targets: tuple[str, str]) -> None:
    config = quantized(config_groups={"a": group(2, targets[0]), "b": group(4, targets[1])}, ignore=["lm_head"])
    assert total({**words("m.0.attn.q", 2), **words("m.0.mlp.up", 4)}, config) == 2 * 256 * 512
    # A group for rows without groups.
    config = quantized(config_groups={"a": group(2, targets[0], size=None), "b": group(4, targets[1], size=None)})
    assert total({**words("m.0.attn.q", 2, 256), **words("m.0.mlp.up", 4, 256)}, config) == 2 * 256 * 512


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8])
def test_words_of_any_bits(bits: int) -> None:
    whole = {**words("q", bits), "q.weight_packed": ("I32", (512, -(-256 // (32 // bits))))}
    for tensors in (words("q", bits), whole):
        assert total(tensors, quantized(config_groups={"a": group(bits, "Linear")})) == 256 * 512


@pytest.mark.parametrize(
    ("config", "bits"),
    [
        (quantized(bits=4, group_size=128, dynamic={r"+:.*\.(q|k)": {"bits": 8}}), 8),
        (quantized(bits=4, group_size=128, extra_config={"m.q": {"bits": 8, "group_size": 32}}), 8),
        (quantized(bits=4, group_size=128, extra_config={".*attn.*": {"bits": 8}}), 4),
        (quantized(num_bits=4, module_quant_configs={"q$": {"num_bits": 2}}), 2),
        (quantized(quant_algo="MIXED_PRECISION", quantized_layers={"m.q": {"quant_algo": "W4A16_AWQ"}}), 4),
        (quantized(global_quant_config={"weight": {"dtype": "int4"}}, layer_quant_config={"*.k": {}}), 4),
        (quantized(global_quant_config={"weight": {"dtype": "int4"}, "input_tensors": {"dtype": "fp8"}}), 4),
        (quantized(layer_quant_config={"*q": {"weight": {"dtype": "int3"}}}, weight={"dtype": "fp8_e4m3"}), 3),
        ({"text_config": quantized(w_bit=4)}, 4),
        (quantized(bits=16), None),
        (quantized(bits=True), None),
        (quantized(config_groups=5), None),
    ],
)
def test_exceptions_in_the_tables_of_other_libraries(config: dict[str, Any], bits: int | None) -> None:
    assert PackingSettings(config).at("m.q").bits == bits


HOSTILE = [
    "(a+)+$",
    "(a|a)*$",
    "a?" * 40 + "a" * 40,
    ".*" * 6 + "!",
    ".*" * 400 + "!",
    "(" * 300,
    "x{99999999999}",
    "(a|a)" * 40,
    "a" * 5000,
]


@pytest.mark.parametrize("pattern", HOSTILE)
def test_no_pattern_takes_for_ever(pattern: str) -> None:
    settings = PackingSettings(quantized(config_groups={"a": group(2, f"re:{pattern}"), "b": group(4, "re:.*b")}))
    start = time.process_time()
    assert settings.at("a" * 40).bits is None
    assert time.process_time() - start < 1


def test_where_settings_and_shapes_disagree_it_is_said() -> None:
    tensors: Stored = {"q.qweight": ("I32", (64, 128)), "q.scales": ("F16", (4, 128)), "q.qzeros": ("I32", (4, 16))}
    found = unpacked(tensors, quantized(quant_method="gptq", bits=8))
    assert (found.shapes, found.disputed) == ({"q.weight": (128, 512)}, ("q.weight",))


# Companions

FP8: Stored = {"a.q.weight": ("F8_E4M3", (64, 32))}


@pytest.mark.parametrize(
    "names",
    [
        "a.q.weight_scale a.q.input_scale a.q.output_scale a.q.k_scale a.q.v_scale",
        "a.q.weight_scale a.k_scale a.v_scale a.q_scale a.prob_scale",
        "a.q.weight_scale a.attn.k_scale a.attn.v_scale a.attn.k_zero_point",
        "a.q.weight_scale a.k_cache_scale a.v_cache_scale a.q.input_activation_scale a.q.output_activation_scale",
        "a.q.qscale_weight a.q.qscale_act",
        "a.q.weight_scale_inv a.q.activation_scale",
        "a.q.scale_weight a.q.scale_input",
        "a.q.scale a.q.anything_else",
        "a.q.weight_scale a.q.weight_offset a.q.input_offset a.q.pre_quant_scale a.q.smooth_factor",
    ],
)
def test_scales_are_no_parameters_whatever_they_are_called(names: str) -> None:
    assert total({**FP8, **dict.fromkeys(names.split(), ("F32", ()))}) == 64 * 32


def test_scales_of_a_cache_alone() -> None:
    plain: Stored = {"a.q.weight": ("BF16", (64, 32)), "a.k_scale": ("F32", (1,)), "a.v_scale": ("F32", (2, 1, 1))}
    assert total(plain, quantized(config_groups={}, kv_cache_scheme={"num_bits": 8})) == 64 * 32
    # Nothing is quantized there: whatever it is, it is learned.
    assert total(plain) == 64 * 32 + 3


def test_biases_and_what_the_model_names_are_parameters() -> None:
    tensors: Stored = {
        **FP8,
        "a.q.weight_scale": ("F32", ()),
        "a.q.bias": ("BF16", (64,)),
        "a.q.e_score_correction_bias": ("F32", (64,)),
        "a.q.per_expert_scale": ("F32", (8,)),
        "logit_scale": ("F32", ()),
        "a.layer_scale": ("F32", (32,)),
    }
    assert total(tensors) == 64 * 32 + 64 + 64 + 1 + 32
    found = unpacked(tensors, None, **{"a.q.per_expert_scale": (8,)})
    assert found.shapes["a.q.per_expert_scale"] == (8,)


def test_packed_experts_beside_plain_ones() -> None:
    tensors: Stored = {
        "experts.gate_up_proj": ("U8", (4, 512, 64)),
        "experts.gate_up_proj_weight_scale": ("F8_E4M3", (4, 512, 8)),
        "experts.gate_up_proj_weight_scale_2": ("F32", (1,)),
        "experts.gate_up_proj_input_scale": ("F32", (1,)),
        "experts.gate_up_proj_bias": ("BF16", (4, 512)),
        "experts.down_proj": ("BF16", (4, 128, 256)),
        "experts.input_scale": ("F32", (1,)),
    }
    found = unpacked(tensors)
    assert found.shapes == {
        "experts.gate_up_proj": (4, 512, 128),
        "experts.gate_up_proj_bias": (4, 512),
        "experts.down_proj": (4, 128, 256),
    }
    assert found.schemes == {"NVFP4": 1}


# Layouts


@pytest.mark.parametrize(
    ("tensors", "config", "right"),
    [
        # bitsandbytes' four bits in elements of any type.
        ({"q.weight": ("BF16", (16384, 1)), "q.weight.absmax": ("U8", (1024,))}, {}, 65_536),
        ({"q.weight": ("F32", (8192, 1)), "q.weight.absmax": ("F32", (1024,))}, {}, 65_536),
        ({"e.gate_up_proj": ("U8", (32768, 1)), "e.gate_up_proj.absmax": ("F32", (1024,))}, {}, 65_536),
        # GPTQ without zero points, by its entries for the inputs or by the settings.
        (
            {"q.qweight": ("I32", (64, 128)), "q.scales": ("F16", (4, 128)), "q.g_idx": ("I32", (512,))},
            quantized(bits=4),
            65_536,
        ),
        ({"q.qweight": ("I32", (64, 128)), "q.scales": ("F16", (4, 128)), "q.g_idx": ("I32", (512,))}, {}, 65_536),
        ({"q.qweight": ("I32", (48, 128)), "q.scales": ("F16", (4, 128))}, quantized(bits=3), 65_536),
        # Four bits in signed bytes, with a scale for 32 weights.
        (
            {"experts.0.w1.weight": ("I8", (128, 512)), "experts.0.w1.scale": ("F8_E8M0", (128, 32))},
            {"expert_dtype": "fp4", **quantized(quant_method="fp8")},
            131_072,
        ),
        ({"w1.weight": ("I8", (128, 512)), "w1.scale": ("F32", (128, 32))}, {"expert_dtype": "fp4"}, 131_072),
        ({"w1.weight": ("I8", (128, 512)), "w1.weight_scale": ("F32", (128, 1))}, {}, 65_536),
        ({"w1.weight": ("F8_E4M3", (128, 512)), "w1.scale": ("F8_E8M0", (1, 4))}, {"expert_dtype": "fp4"}, 65_536),
        # NVFP4 whose scales are padded to blocks of 128 rows and 4 columns.
        ({"q.weight": ("U8", (96, 128)), "q.weight_scale": ("F8_E4M3", (128, 16))}, {}, 96 * 256),
        # MXFP4 and MXFP8 of compressed-tensors and Quark.
        ({"q.weight_packed": ("U8", (96, 128)), "q.weight_scale": ("U8", (96, 8))}, {}, 96 * 256),
        ({"q.weight": ("U8", (96, 128)), "q.weight_scale": ("U8", (96, 8))}, {}, 96 * 256),
        ({"q.weight": ("F8_E4M3", (96, 256)), "q.weight_scale": ("U8", (96, 8))}, {}, 96 * 256),
        # ModelOpt's AWQ packs along the outputs.
        (
            {
                "q.weight": ("U8", (48, 256)),
                "q.weight_scale": ("BF16", (96, 2)),
                "q.pre_quant_scale": ("BF16", (256,)),
            },
            quantized(quant_algo="W4A16_AWQ", group_size=128),
            96 * 256,
        ),
        # FP-Quant, AQLM (two books of vectors of eight inputs), AWQ's other kernel.
        ({"q.qweight": ("U8", (96, 128)), "q.scales": ("U8", (96, 8)), "q.dqweight": ("BF16", (0,))}, {}, 96 * 256),
        (
            {"q.codes": ("I8", (96, 32, 2)), "q.codebooks": ("F16", (2, 256, 1, 8)), "q.scales": ("F16", (96,))},
            {},
            24_576,
        ),
        (
            {"q.qweight": ("I32", (96, 32)), "q.scales": ("F16", (96, 2)), "q.qzeros": ("I32", (96, 1))},
            quantized(bits=4, group_size=128),
            96 * 256,
        ),
    ],
)
def test_layouts(tensors: Stored, config: dict[str, Any], right: int) -> None:
    assert total(tensors, config) == right


DTYPES = {torch.float8_e4m3fn: "F8_E4M3", torch.int8: "I8", torch.uint8: "U8", torch.int16: "I16", torch.uint32: "U32"}
DTYPES |= {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float8_e8m0fnu: "F8_E8M0"}


#: The module of transformers' integrations, its class, how it is built, and the settings beside it.
MODULES: list[tuple[str, str, tuple[Any, ...], dict[str, Any], dict[str, Any]]] = [
    ("finegrained_fp8", "FP8Linear", ((128, 128), "static"), {}, {}),
    ("finegrained_fp8", "FP8Linear", ((128, 128),), {"scale_fmt": "ue8m0"}, {}),
    ("finegrained_fp8", "FP8Linear", (), {}, {}),
    ("finegrained_fp8", "FP8Embedding", (), {}, {}),
    ("compressed_tensors", "CompressedTensorsFP8Linear", (), {}, {}),
    ("fbgemm_fp8", "FbgemmFp8Linear", (False,), {}, {}),
    ("eetq", "EetqLinear", (), {}, {}),
    *(("higgs", "HiggsLinear", (bits,), {"bias": False}, {}) for bits in (2, 3, 4)),
    *(("gemma_quant", "QuantizedLinear", (), {"num_bits": bits}, quantized(num_bits=bits)) for bits in (8, 4)),
    ("gemma_quant", "QuantizedLinear", (), {"num_bits": 2},
     quantized(num_bits=4, module_quant_configs={"layer": {"num_bits": 2}})),
    ("gemma_quant", "QuantizedEmbedding", (torch.float32,), {"num_bits": 4}, quantized(num_bits=4)),
    *(("metal_quantization", "MetalLinear", (), {"bits": bits, "group_size": 64}, quantized(bits=bits, group_size=64))
      for bits in (4, 8)),
    ("bitnet", "BitLinear", (False,), {}, quantized(quant_method="bitnet")),
]  # fmt: skip


@pytest.mark.parametrize(("module", "name", "given", "options", "config"), MODULES)
def test_modules_of_transformers(
    module: str, name: str, given: tuple[Any, ...], options: dict[str, Any], config: dict[str, Any]
) -> None:
    build = getattr(importlib.import_module(f"transformers.integrations.{module}"), name)
    with torch.device("meta"):
        layer: nn.Module = build(512, 96, *given, **options)
    tensors: Stored = {
        f"a.layer.{name}": (DTYPES[each.dtype], tuple(each.shape)) for name, each in layer.state_dict().items()
    }
    assert total(tensors, config) == 512 * 96


# Packings that nobody knows

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 96,
}
MATRICES = {"q_proj": (64, 64), "k_proj": (32, 64), "v_proj": (32, 64), "o_proj": (64, 64)}
MATRICES = {f"self_attn.{name}": shape for name, shape in MATRICES.items()}
MATRICES |= {"mlp.gate_proj": (128, 64), "mlp.up_proj": (128, 64), "mlp.down_proj": (64, 128)}
TOTAL = 2 * 96 * 64 + sum(map(prod, MATRICES.values())) + 3 * 64

#: How a matrix (out, in) is stored, by VPTQ, SpQR, QuIP#, Marlin, and two of our own.
PACKINGS: dict[str, Callable[[int, int], Stored]] = {
    "VPTQ": lambda o, i: {"indices": ("I32", (1, o // 8, i // 4)), "centroids.weight": ("BF16", (1, 2048))},
    "SpQR": lambda o, i: {"dense_weights": ("I64", (o // 16, i // 8)), "row_offsets": ("I32", (o + 1,))},
    "QuIP#": lambda o, i: {"Qidxs": ("I64", (o, i // 16)), "SU": ("F16", (i,)), "SV": ("F16", (o,))},
    "Marlin": lambda o, i: {"B": ("I32", (i // 16, o * 2)), "s": ("F16", (1, o)), "workspace": ("I32", (16,))},
    "codes": lambda o, i: {"blob": ("U8", (o * i // 3,)), "lut": ("F16", (16,))},
    "words": lambda o, i: {"weight": ("I16", (o, i // 5)), "weight_table": ("F16", (8,))},
}


def packed_llama(folder: Path, packing: Callable[[int, int], Stored], **config: Any) -> str:
    tensors: Stored = dict.fromkeys(("model.embed_tokens.weight", "lm_head.weight"), ("BF16", (96, 64)))
    norms = ("model.norm", "model.layers.0.input_layernorm", "model.layers.0.post_attention_layernorm")
    tensors |= {f"{name}.weight": ("BF16", (64,)) for name in norms}
    for name, shape in MATRICES.items():
        tensors |= {f"model.layers.0.{name}.{leaf}": each for leaf, each in packing(*shape).items()}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**LLAMA, **config}))
    entries, end = {}, 0
    for name, (dtype, shape) in tensors.items():
        begin, end = end, end + prod(shape) * SIZES[dtype]
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    (folder / "model.safetensors").write_bytes(with_header(entries, bytes(end)))
    return str(folder)


@pytest.mark.parametrize("name", PACKINGS)
def test_an_unknown_packing_can_not_be_compared(tmp_path: Path, name: str) -> None:
    model = packed_llama(tmp_path / "llama", PACKINGS[name])
    (found,) = attncli.params(model, check=TOTAL).models
    assert (found.counted.total, found.reconciliation) == (TOTAL, None)
    first = next(iter(PACKINGS[name](64, 64)))
    packed = f"the packed format of model.layers.0.self_attn.q_proj.{first} and "
    assert found.notes[0].startswith(f"its weights can't be compared with its configuration: {packed}")
    alone = attncli.params(f"{model}/model.safetensors", check=TOTAL)
    assert [" can't be checked: " in failure for failure in alone.failures or ()] == [True]


def test_what_is_said_of_an_unknown_packing(tmp_path: Path) -> None:
    model = packed_llama(tmp_path / "llama", PACKINGS["Marlin"], quantization_config={"quant_method": "marlin"})
    packed = "the packed format of model.layers.0.self_attn.q_proj.B and 20 more (marlin) is unknown"
    outcome = attn("params", model, "--check", str(TOTAL))
    assert (outcome.code, outcome.err) == (
        0,
        f"warning: the weights of {model} can't be compared with its configuration: {packed}\n",
    )
    assert f"has {TOTAL:,} parameters" in attn("params", model, "--check", "1").err
    outcome = attn("params", f"{model}/model.safetensors", "--check", str(TOTAL))
    warning, failure, *_ = outcome.err.splitlines()
    assert outcome.code == 4
    assert warning == (f"warning: the parameters of {model}/model.safetensors can't be counted: {packed}")
    assert failure.startswith(f"failed: {model}/model.safetensors can't be checked: {packed}, ")


#: By torchao, quanto and ExLlama, whose shapes tell the matrix.
TOLD: dict[str, Callable[[int, int], Stored]] = {
    "torchao": lambda o, i: {"_weight_qdata": ("I8", (o, i)), "_weight_scale": ("F32", (o,))},
    "torchao, 4 bits": lambda o, i: {
        "_weight_qdata": ("U8", (o, i // 2)),
        "_weight_scale": ("BF16", (i // 32, o)),
        "_weight_zero_point": ("BF16", (i // 32, o)),
    },
    "torchao, floats": lambda o, i: {"_weight_qdata": ("F8_E4M3", (o, i)), "_weight_scale": ("F32", (o, 1))},
    "quanto": lambda o, i: {
        "weight._data": ("I8", (o, i)),
        "weight._scale": ("BF16", (o, 1)),
        "input_scale": ("BF16", ()),
        "output_scale": ("BF16", ()),
    },
    "EXL2": lambda o, i: {
        "q_weight": ("I32", (i * 4 // 32, o)),
        "q_scale": ("I32", (2, o // 8)),
        "q_scale_max": ("F16", (2,)),
        "q_groups": ("I16", (4,)),
        "q_invperm": ("I16", (i,)),
    },
    "EXL3": lambda o, i: {
        "trellis": ("I16", (i // 16, o // 16, 64)),
        "suh": ("F16", (i,)),
        "svh": ("F16", (o,)),
    },
}

KNOWN: dict[str, tuple[Callable[[int, int], Stored], dict[str, Any]]] = {
    "FP8": (
        lambda o, i: {"weight": ("F8_E4M3", (o, i)), "weight_scale_inv": ("F32", (1, 1)), "k_scale": ("F32", (1,))},
        {"quant_method": "fp8"},
    ),
    "bitsandbytes": (
        lambda o, i: {
            "weight": ("BF16", (o * i // 4, 1)),
            "weight.absmax": ("U8", (o * i // 64,)),
            "weight.nested_absmax": ("F32", (1,)),
            "weight.quant_state.bitsandbytes__nf4": ("U8", (90,)),
        },
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
    ),
    "GPTQ": (
        lambda o, i: {"qweight": ("I32", (i // 8, o)), "scales": ("F16", (1, o)), "g_idx": ("I32", (i,))},
        {"quant_method": "gptq", "bits": 4, "group_size": -1},
    ),
    "compressed-tensors": (
        lambda o, i: {
            "weight_packed": ("I32", (o, i * 4 // 32)),
            "weight_scale": ("BF16", (o, i // 32)),
            "weight_shape": ("I64", (2,)),
        },
        {"quant_method": "compressed-tensors", "config_groups": {"a": group(4, "Linear", size=32)}},
    ),
    "NVFP4": (
        lambda o, i: {
            "weight": ("U8", (o, i // 2)),
            "weight_scale": ("F8_E4M3", (o, i // 16)),
            "weight_scale_2": ("F32", ()),
            "input_scale": ("F32", ()),
        },
        {"quant_method": "modelopt", "quant_algo": "NVFP4"},
    ),
    **{name: (packing, {"quant_method": name.partition(",")[0].lower()}) for name, packing in TOLD.items()},
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_packing_is_compared(tmp_path: Path, name: str) -> None:
    packing, settings = KNOWN[name]
    model = packed_llama(tmp_path / "llama", packing, quantization_config=settings)
    found = attncli.params(model, check=TOTAL)
    assert (found.failures, found.warnings) == ((), ())
    assert found.models[0].reconciliation == Reconciliation(TOTAL, TOTAL, TOTAL, ())
    assert attncli.params(f"{model}/model.safetensors", check=TOTAL).failures == ()
    # A model of half the width is another one.
    other = packed_llama(tmp_path / "other", packing, quantization_config=settings, hidden_size=32, head_dim=16)
    assert attncli.params(other).warnings == (f"the weights of {other} don't match its configuration",)


def test_a_packing_that_only_the_model_gives_a_shape(tmp_path: Path) -> None:
    def packing(outputs: int, inputs: int) -> Stored:
        return {"weight": ("U8", (outputs, inputs // 2)), "weight_scale": ("F32", (outputs, 1))}

    model = packed_llama(tmp_path / "llama", packing)
    found = attncli.params(model, check=TOTAL)
    assert found.models[0].reconciliation is not None and found.models[0].reconciliation.agrees
    assert attncli.params(f"{model}/model.safetensors", check=TOTAL).failures


def test_plain_integers_are_no_packing() -> None:
    # Indices beside a table, a mask, and integers of an unquantized model that nothing belongs to.
    tensors: Stored = {
        "a.relative_position_index": ("I64", (49, 49)),
        "a.relative_position_bias_table": ("F32", (169, 4)),
        "h.0.attn.bias": ("U8", (1, 1, 8, 8)),
        "h.0.attn.scale": ("F32", (1,)),
        "b.ids": ("I32", (8,)),
    }
    assert unpacked(tensors).unknown == ()
