"""Presets: data with its source, that builds, and adds up to what is known of the models."""

from __future__ import annotations

import re

import pytest

from attncli.errors import UsageError
from attncli.models.builtin.preset_modules import preset_module
from attncli.models.builtin.presets import preset_names, read_preset

#: Totals of public models: the README's and the sources' own, to the last digit.
TOTALS = {
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "gpt3": 174_604_259_328,
    "transformer-base": 63_082_496,
    "transformer-big": 214_245_376,
    "bert-base": 109_482_240,
    "bert-large": 335_141_888,
    "t5-small": 60_506_624,
    "t5-base": 222_903_552,
    "llama-7b": 6_738_415_616,
    "llama3.1-8b": 8_030_261_248,
    "llama3.1-70b": 70_553_706_496,
    "llama3.1-405b": 405_853_388_800,
    "mistral-7b": 7_241_732_096,
    "mixtral-8x7b": 46_702_792_704,
    "deepseek-v3": 671_026_404_352,
    "gpt-oss-20b": 20_914_757_184,
    "vit-b-16": 86_567_656,
    "mamba-130m": 129_135_360,
}


def _total(name: str) -> int:
    return sum(parameter.numel() for parameter in preset_module(read_preset(name)).parameters())


def test_known_totals() -> None:
    assert {name: _total(name) for name in TOTALS} == TOTALS


def test_every_preset_says_where_it_is_from() -> None:
    for name in preset_names():
        preset = read_preset(name)
        assert re.search(r"https?://|\b(19|20)\d\d\b", preset.source), name
        assert preset.title


def test_an_alias_is_the_same_preset() -> None:
    assert read_preset("gpt3-175b") is read_preset("gpt3")


def test_names_are_unique() -> None:
    names = [name for preset in map(read_preset, preset_names()) for name in (preset.name, *preset.aliases)]
    assert len(set(names)) == len(names)


def test_numbers_that_dont_make_a_model() -> None:
    preset = read_preset("transformer-base")
    with pytest.raises(UsageError, match="Transformer base can't be built with these numbers"):
        preset_module(preset._replace(fields={**preset.fields, "num_heads": 7}))
