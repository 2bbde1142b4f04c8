"""Public models by their presets: the totals, active parameters and caches that others print, from shipped shapes.

A source may print fewer digits than it knows; it then rounds or cuts them off, and both count as agreement.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache

import pytest

import attncli
from attncli.api.preset_shapes import shipped_shapes
from attncli.models.builtin.presets import preset_names, read_preset
from attncli.parameters.count import count_parameters
from attncli.parameters.inventory import Inventory, inventory_from_json
from attncli.results.params import ParameterCount

UNITS = {"T": 10**12, "B": 10**9, "M": 10**6, "": 1}

#: The total to the last digit, as the hub counts the published file or as it follows by hand; and the bytes in bfloat16
#: by which the cache grows a token while no window is full: layers · (keys and values) · heads · width · 2 bytes.
#: What else is printed of them (rounded totals, active parameters) and by whom stands in the presets.
KNOWN: Mapping[str, tuple[int, int | None]] = {
    "bloom": (176_247_271_424, 70 * 2 * 14336 * 2),
    "llama2-70b": (68_976_648_192, 80 * 2 * 8 * 128 * 2),
    "llama3.1-8b": (8_030_261_248, 32 * 2 * 8 * 128 * 2),
    "llama3.1-70b": (70_553_706_496, 327_680),
    "llama3.2-1b": (1_235_814_400, 16 * 2 * 8 * 64 * 2),
    "llama4-scout": (108_641_793_536, 48 * 2 * 8 * 128 * 2),
    "qwen2.5-7b": (7_615_616_512, 28 * 2 * 4 * 128 * 2),
    "qwen3-0.6b": (596_049_920, 28 * 2 * 8 * 128 * 2),
    "qwen3-30b-a3b": (30_532_122_624, 48 * 2 * 4 * 128 * 2),
    "qwen3-235b-a22b": (235_093_634_560, 94 * 2 * 4 * 128 * 2),
    "qwen3-next-80b-a3b": (79_674_391_296, 12 * 2 * 2 * 256 * 2),
    # 262,144 tokens take 16,384 MiB, which llama.cpp logs for Qwen3.6 27B.
    "qwen3.5-27b": (27_356_728_560, 16_384 * 2**20 // 262_144),
    "qwen3.5-397b-a17b": (396_802_360_816, 15 * 2 * 2 * 256 * 2),
    "gemma2-2b": (2_614_341_888, 26 * 2 * 4 * 256 * 2),
    "gemma3-270m": (268_098_176, 18 * 2 * 1 * 256 * 2),
    "gemma3-27b": (27_432_406_640, 62 * 2 * 16 * 128 * 2),
    # Fifty layers with a window have 16 heads of 256, ten without have 4 of 512.
    "gemma4-31b": (30_697_345_280, 50 * 2 * 16 * 256 * 2 + 10 * 2 * 4 * 512 * 2),
    "phi-1.5": (1_418_270_720, 24 * 2 * 32 * 64 * 2),
    "phi-2": (2_779_683_840, 32 * 2 * 32 * 80 * 2),
    "phi3-mini": (3_821_079_552, 32 * 2 * 32 * 96 * 2),
    "phi4": (14_659_507_200, 40 * 2 * 10 * 128 * 2),
    "phi3.5-moe": (41_873_153_344, 32 * 2 * 8 * 128 * 2),
    "ministral-8b": (8_019_808_256, 36 * 2 * 8 * 128 * 2),
    "mistral-large": (122_610_069_504, 88 * 2 * 8 * 128 * 2),
    "mixtral-8x7b": (46_702_792_704, 32 * 2 * 8 * 128 * 2),
    "mixtral-8x22b": (140_620_634_112, 56 * 2 * 8 * 128 * 2),
    # Latents of 512 numbers and a rotary key of 64, of all heads together; 128 more to choose by in DeepSeek-V3.2.
    "deepseek-v2": (235_741_434_880, 60 * (512 + 64) * 2),
    "deepseek-v2-lite": (15_706_484_224, 27 * (512 + 64) * 2),
    "deepseek-v3": (671_026_404_352, 70_272),
    "deepseek-v3.2": (671_877_929_216, 85_888),
    "kimi-k2": (1_026_408_209_408, 61 * (512 + 64) * 2),
    "kimi-linear-48b-a3b": (49_133_074_464, 6 * (512 + 64) * 2),
    "glm4.5-air": (106_852_245_504, 46 * 2 * 8 * 128 * 2),
    "glm5": (743_911_199_232, 78 * (512 + 64 + 128) * 2),
    "minimax-m2": (228_689_748_992, 62 * 2 * 8 * 128 * 2),
    "minimax-text-01": (456_089_655_296, 10 * 2 * 8 * 128 * 2),
    "gpt-oss-20b": (20_914_757_184, 24 * 2 * 8 * 64 * 2),
    "gpt-oss-120b": (116_829_156_672, 36 * 2 * 8 * 64 * 2),
    "olmo3-32b": (32_233_522_176, 64 * 2 * 8 * 128 * 2),
    "olmoe-1b-7b": (6_919_161_856, 16 * 2 * 16 * 128 * 2),
    "smollm2-135m": (134_515_008, 23_040),
    "smollm3-3b": (3_075_098_624, 36 * 2 * 4 * 128 * 2),
    "granite3.1-8b": (8_170_848_256, 40 * 2 * 8 * 128 * 2),
    "granite4-h-tiny": (6_939_037_248, 4 * 2 * 4 * 128 * 2),
    "nemotron-nano-9b-v2": (8_888_227_328, 4 * 2 * 8 * 128 * 2),
    "nemotron3-nano-30b-a3b": (31_577_937_344, 6 * 2 * 2 * 128 * 2),
    "falcon-h1-0.5b": (521_411_104, 36 * 2 * 2 * 64 * 2),
    "jamba-mini": (51_570_323_328, 4 * 2 * 8 * 128 * 2),
    # 2,560 MiB for 2,048 tokens, as llama.cpp logs it.
    "command-r": (34_980_831_232, 2_560 * 2**20 // 2_048),
    "whisper-large-v3-turbo": (808_878_080, 4 * 2 * 1280 * 2),
    "t5-small": (60_506_624, 6 * 2 * 512 * 2),
    "clip-vit-b-32": (151_277_313, None),
    "siglip-base": (203_155_970, None),
    "dinov2-base": (86_580_480, None),
    "dinov3-vitl16": (303_129_600, None),
    "modernbert-base": (149_655_232, None),
}

#: Sources that print a total that their own shapes don't give, and don't say how it was counted.
NOMINAL = {
    "gpt3", "gpt3-13b", "mamba-130m", "phi-1.5", "t5-large", "transformer-base", "transformer-big", "vit-l-16",
}  # fmt: skip


def _with_next_token_layer(found: ParameterCount, hidden: int) -> int:
    """With the layer for multi-token prediction: one of the last kind, and a matrix that takes twice the width."""
    return found.total + found.layers[-1].parameters + 2 * hidden**2 + 3 * hidden


#: Published totals that count something else than the model that runs: what, and how to come from one to the other.
COUNTED_OTHERWISE: Mapping[str, Callable[[ParameterCount], int]] = {
    # The layer for multi-token prediction is in the files, with an embedding and an unembedding of its own.
    "deepseek-v3.2": lambda found: _with_next_token_layer(found, 7168) + 2 * 129_280 * 7168,
    # That layer counts, embedding and unembedding don't.
    "glm4.5": lambda found: _with_next_token_layer(found, 5120) - 2 * 151_552 * 5120,
}


@cache
def inventory_of(name: str) -> Inventory:
    shapes = shipped_shapes(read_preset(name))
    assert shapes is not None
    return inventory_from_json(shapes["inventory"])


@cache
def counted(name: str) -> ParameterCount:
    return count_parameters(inventory_of(name), model=name)


def agrees(printed: str, number: int) -> bool:
    """Whether `1.54B` is what this number rounds to, or is cut off to; noughts at the end of `230B` aren't digits.

    >>> agrees("230B", 228_689_748_992), agrees("8.1B", 8_170_848_256), agrees("8.0B", 8_170_848_256)
    (True, True, False)
    """
    digits, unit = re.fullmatch(r"([\d,.]+)([TBM]?)", printed).groups()  # type: ignore[union-attr]
    whole, _, fraction = digits.replace(",", "").partition(".")
    zeros = 0 if fraction or not unit else len(whole) - len(whole.rstrip("0"))
    step = UNITS[unit] * 10**zeros // 10 ** len(fraction)
    written = int(whole + fraction) * UNITS[unit] // 10 ** len(fraction)
    return written in (number // step * step, (2 * number + step) // (2 * step) * step)


def published(name: str) -> tuple[str, str | None]:
    """The total and the active parameters that the source of a preset prints."""
    total, _, active = read_preset(name).published.partition(", of which ")
    return total, active.removesuffix(" active") if active.endswith(" active") else None


@pytest.mark.parametrize("name", KNOWN)
def test_total_and_cache(name: str) -> None:
    total, cache_bytes = KNOWN[name]
    (found,) = attncli.params(f"preset:{name}").models
    assert found.counted.total == sum(part.parameters for part in found.counted.components) == total
    kept = found.costs.cache
    assert (None if kept is None else 2 * kept.per_token) == cache_bytes


def test_the_table_is_long_enough() -> None:
    assert len(KNOWN) >= 40
    assert len(preset_names()) >= 45


def test_every_preset_has_the_total_that_its_source_prints() -> None:
    disagreeing = {name for name in preset_names() if not agrees(published(name)[0], inventory_of(name).total)}
    assert disagreeing == NOMINAL | COUNTED_OTHERWISE.keys()


@pytest.mark.parametrize("name", COUNTED_OTHERWISE)
def test_a_total_that_is_counted_otherwise(name: str) -> None:
    assert agrees(published(name)[0], COUNTED_OTHERWISE[name](counted(name)))


@pytest.mark.parametrize("name", [name for name in preset_names() if published(name)[1] is not None])
def test_active_parameters_are_those_printed_in_one_of_the_conventions(name: str) -> None:
    # With the lookup of the embedding, without it, and without the unembedding too.
    found = counted(name)
    without = found.active.without_embedding_lookup
    printed = published(name)[1]
    assert printed is not None
    assert any(agrees(printed, number) for number in (found.active.total, without, without - found.of("unembedding")))


def test_every_preset_names_its_source() -> None:
    assert all(re.search("https://|et al. 20", read_preset(name).source) for name in preset_names())
