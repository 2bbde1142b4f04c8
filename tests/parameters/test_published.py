"""Published formats: packed headers beside their plain twins, what a configuration tells, and llama.cpp's mixes."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import pytest

from attncli.parameters.count import InventoryShares, locate_shares
from attncli.parameters.gguf_mixes import mix_bytes
from attncli.parameters.inventory import Inventory, Settings, inventory_from_header
from attncli.parameters.published import cache_scheme, published_format, stored_components
from attncli.parameters.quantization import unpack
from tests.parameters.counting import inventory_of
from tests.parameters.test_packed import SIZES, Entry, Stored

#: A model whose widths are whole numbers of every format's groups.
SHAPE = {
    "num_hidden_layers": 2, "hidden_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 512, "vocab_size": 1024, "max_position_embeddings": 64,
}  # fmt: skip
PLAIN = {tensor.name: tensor.shape for tensor in inventory_of("Llama", **SHAPE).tensors}
TOTAL = sum(map(prod, PLAIN.values()))
Packer = Callable[[str, int, int], Stored]


def fp8(name: str, rows: int, columns: int) -> Stored:
    return {
        f"{name}.weight": ("F8_E4M3", (rows, columns)),
        f"{name}.weight_scale_inv": ("F32", (rows // 128, columns // 128)),
    }


def nvfp4(name: str, rows: int, columns: int) -> Stored:
    return {
        f"{name}.weight": ("U8", (rows, columns // 2)),
        f"{name}.weight_scale": ("F8_E4M3", (rows, columns // 16)),
        f"{name}.weight_scale_2": ("F32", ()),
        f"{name}.input_scale": ("F32", ()),
    }


def gptq(name: str, rows: int, columns: int) -> Stored:
    return {
        f"{name}.qweight": ("I32", (columns // 8, rows)),
        f"{name}.scales": ("F16", (columns // 128, rows)),
        f"{name}.qzeros": ("I32", (columns // 128, rows // 8)),
        f"{name}.g_idx": ("I32", (columns,)),
    }


def awq(name: str, rows: int, columns: int) -> Stored:
    return {
        f"{name}.qweight": ("I32", (columns, rows // 8)),
        f"{name}.scales": ("F16", (columns // 128, rows)),
        f"{name}.qzeros": ("I32", (columns // 128, rows // 8)),
    }


def bitsandbytes_4bit(name: str, rows: int, columns: int) -> Stored:
    return {
        f"{name}.weight": ("U8", (rows * columns // 2, 1)),
        f"{name}.weight.absmax": ("F32", (rows * columns // 64,)),
        f"{name}.weight.quant_map": ("F32", (16,)),
        f"{name}.weight.quant_state.bitsandbytes__nf4": ("U8", (80,)),
    }


def bitsandbytes_8bit(name: str, rows: int, columns: int) -> Stored:
    return {f"{name}.weight": ("I8", (rows, columns)), f"{name}.SCB": ("F32", (rows,))}


def compressed(name: str, rows: int, columns: int) -> Stored:
    return {
        f"{name}.weight_packed": ("I32", (rows, columns // 8)),
        f"{name}.weight_scale": ("BF16", (rows, columns // 128)),
        f"{name}.weight_shape": ("I64", (2,)),
    }


def mlx(name: str, rows: int, columns: int) -> Stored:
    return {
        f"{name}.weight": ("U32", (rows, columns // 8)),
        f"{name}.scales": ("F16", (rows, columns // 64)),
        f"{name}.biases": ("F16", (rows, columns // 64)),
    }


GROUPS = {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "group_size": 128, "strategy": "group"}}}
#: By format: what packs a matrix, the settings, and whether tables and the unembedding are packed too.
FORMATS: dict[str, tuple[Packer, dict[str, Any], bool]] = {
    "FP8": (fp8, {"quant_method": "fp8", "weight_block_size": [128, 128]}, False),
    "NVFP4": (nvfp4, {"quant_method": "modelopt", "quant_algo": "NVFP4"}, False),
    "GPTQ": (gptq, {"quant_method": "gptq", "bits": 4, "group_size": 128}, False),
    "AWQ": (awq, {"quant_method": "awq", "bits": 4, "group_size": 128}, False),
    "bitsandbytes 4-bit": (bitsandbytes_4bit, {"quant_method": "bitsandbytes", "load_in_4bit": True}, False),
    "bitsandbytes 8-bit": (bitsandbytes_8bit, {"quant_method": "bitsandbytes", "load_in_8bit": True}, False),
    "compressed-tensors": (
        compressed,
        {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": GROUPS},
        False,
    ),
    "MLX": (mlx, {"group_size": 64, "bits": 4}, True),
}


def packed_header(packer: Packer, *, tables: bool) -> Stored:
    """The header of the plain model with its matrices packed."""
    found: Stored = {}
    for name, shape in PLAIN.items():
        is_packed = len(shape) == 2 and (tables or "proj" in name)
        found |= packer(name.removesuffix(".weight"), *shape) if is_packed else {name: ("BF16", shape)}
    return found


def bytes_of(header: Stored) -> int:
    return sum(prod(shape) * (8 if dtype == "I64" else SIZES[dtype]) for dtype, shape in header.values())


@pytest.mark.parametrize("name", FORMATS)
def test_packed_headers_have_the_total_of_their_plain_twin(name: str) -> None:
    packer, settings, tables = FORMATS[name]
    header = packed_header(packer, tables=tables)
    key = "quantization" if name == "MLX" else "quantization_config"
    found = unpack([Entry(path, *each) for path, each in header.items()], {key: settings})
    assert (found.unknown, found.disputed) == ((), ())
    assert sum(each.parameters for each in found.weights) == TOTAL
    assert found.stored_bytes == bytes_of(header)


@pytest.mark.parametrize("name", FORMATS)
def test_a_configuration_tells_what_the_header_holds(name: str) -> None:
    packer, settings, tables = FORMATS[name]
    found = published_format(InventoryShares(inventory_of("Llama", **SHAPE)).unique, settings, "bfloat16")
    assert found is not None
    assert found.format == name
    # Maps of 16 numbers, shapes and descriptions are left out.
    assert found.bytes == pytest.approx(bytes_of(packed_header(packer, tables=tables)), rel=3e-3)
    assert sum(part.parameters for part in found.components) == TOTAL
    assert sum(part.bytes for part in found.components) == pytest.approx(found.bytes, abs=len(found.components))
    bits = {part.component: part.bits_per_weight for part in found.components}
    assert bits["norm"] == 16
    assert bits["mlp.down"] < 8.6


@pytest.mark.parametrize("name", FORMATS)
def test_bits_by_component_of_a_header(name: str) -> None:
    packer, settings, tables = FORMATS[name]
    header = packed_header(packer, tables=tables)
    found = unpack([Entry(path, *each) for path, each in header.items()], {"quantization_config": settings})
    sizes = {each.name: each.stored_bytes for each in found.weights}
    components = stored_components(sizes, locate_shares(inventory_from_header(found.shapes)))
    assert sum(part.bytes for part in components) == pytest.approx(sum(sizes.values()), abs=len(components))
    exact = published_format(InventoryShares(inventory_of("Llama", **SHAPE)).unique, settings, "bfloat16")
    assert exact is not None
    told = {part.component: part.bits_per_weight for part in exact.components}
    assert {part.component: part.bits_per_weight for part in components} == pytest.approx(told, rel=0.02)


@pytest.mark.parametrize(
    ("settings", "bits"),
    [
        ({"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 4, "group_size": 64}}}, 4.5),
        ({"quant_method": "quanto", "weights": "int8"}, 8.0625),
        ({"quant_method": "exl2", "bits": 4.25}, 4.25),
        ({"quant_method": "exl3", "bits": 3.0}, 3.0),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_use_double_quant": True}, 4.127),
        ({"quant_method": "fbgemm_fp8"}, 8.125),
    ],
)
def test_formats_that_only_settings_tell(settings: dict[str, Any], bits: float) -> None:
    found = published_format(InventoryShares(inventory_of("Llama", **SHAPE)).unique, settings, "bfloat16")
    assert found is not None
    told = {part.component: part.bits_per_weight for part in found.components}
    assert told["attention.query"] == pytest.approx(bits, rel=2e-3)


def test_a_method_that_is_not_known_tells_nothing() -> None:
    located = InventoryShares(inventory_of("Llama", **SHAPE)).unique
    for settings in ({"quant_method": "novel"}, {"quant_method": "gptq"}, {"quant_method": "modelopt"}):
        assert published_format(located, settings, "bfloat16") is None


@pytest.mark.parametrize(
    ("quantization", "expected"),
    [
        (None, (None, False)),
        ({"quant_method": "fp8"}, (None, False)),
        ({"kv_cache_scheme": None}, (None, False)),
        ({"kv_cache_scheme": {"num_bits": 8, "type": "float"}}, ("fp8", True)),
        ({"kv_cache_scheme": {"num_bits": 8, "type": "int"}}, ("int8", True)),
        ({"kv_cache_scheme": {"num_bits": 4, "type": "float"}}, (None, True)),
        ({"kv_cache_quant_algo": "FP8"}, ("fp8", True)),
        ({"kv_cache_quant_algo": "NVFP4"}, (None, True)),
    ],
)
def test_a_cache_that_is_prescribed(quantization: dict[str, Any] | None, expected: tuple[str | None, bool]) -> None:
    assert cache_scheme(quantization) == expected


# --- Mixes of llama.cpp


def mixes(inventory: Inventory) -> dict[str, int]:
    return mix_bytes(InventoryShares(inventory).unique, Settings(inventory.settings))


LLAMA_8B = {
    "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8,
    "intermediate_size": 14336, "vocab_size": 128256,
}  # fmt: skip
LLAMA_70B = {**LLAMA_8B, "num_hidden_layers": 80, "hidden_size": 8192, "num_attention_heads": 64,
             "intermediate_size": 28672}  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "name", "file"),
    [
        # Files of bartowski/Meta-Llama-3.1-{8B,70B}-Instruct-GGUF on the hub.
        (LLAMA_8B, "Q4_K_M", 4_920_739_232),
        (LLAMA_70B, "Q4_K_M", 42_520_395_584),
    ],
    ids=["8B", "70B"],
)
def test_mixes_are_as_large_as_published_files(shape: dict[str, Any], name: str, file: int) -> None:
    # A vocabulary of 128,256 tokens with its merges takes 7.8 MB.
    assert 7_800_000 < file - mixes(inventory_of("Llama", **shape))[name] < 7_900_000


def test_a_mix_by_hand() -> None:
    found = mixes(inventory_of("Llama", **SHAPE))
    # Blocks of 256 numbers: 144 bytes in Q4_K, 210 in Q6_K. With two layers, the second is in the last eighth.
    matrix = {"query": 256 * 256, "key": 128 * 256, "value": 128 * 256, "output": 256 * 256}
    q4, q6 = 144 / 256, 210 / 256
    layer = q4 * (matrix["query"] + matrix["key"] + matrix["output"] + 2 * 256 * 512)
    ends = [kind * (matrix["value"] + 256 * 512) for kind in (q4, q6)]
    assert found["Q4_K_M"] == 2 * layer + sum(ends) + q4 * 1024 * 256 + q6 * 1024 * 256 + 4 * 5 * 256
    assert found["Q8_0"] == (34 / 32) * (TOTAL - 5 * 256) + 4 * 5 * 256


def test_rows_that_are_no_whole_number_of_blocks_take_another_type() -> None:
    found = mixes(
        inventory_of("Llama", **{**SHAPE, "hidden_size": 288, "num_attention_heads": 4, "num_key_value_heads": 4})
    )
    # 288 numbers are nine blocks of 32: Q5_0 in the place of Q4_K; only the down-projection's rows of 512 stay.
    assert found["Q4_K_M"] > 22 / 32 * 1024 * 288
    assert found["Q6_K"] == pytest.approx(found["Q8_0"], rel=0.05)


def test_a_tied_table_is_the_unembedding() -> None:
    tied, apart = (mixes(inventory_of("Llama", **SHAPE, tie_word_embeddings=tied)) for tied in (True, False))
    assert apart["Q4_K_M"] - tied["Q4_K_M"] == 1024 * 256 * 144 // 256


def test_a_model_without_text_has_no_mix() -> None:
    vit = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 96}
    assert mixes(inventory_of("ViT", **vit)) == {}
