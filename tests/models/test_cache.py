"""The hub's cache folder: where it is, and what is in it."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from attncli.models.files.hub_cache import cached_models, hub_settings


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"HF_HOME": "/a/home"},
        {"HF_HOME": "~/home"},
        {"XDG_CACHE_HOME": "/a/cache"},
        {"XDG_CACHE_HOME": "/a/cache", "HF_HOME": "$ELSEWHERE/home", "ELSEWHERE": "/else"},
        {"HUGGINGFACE_HUB_CACHE": "/older", "HF_HOME": "/a/home"},
        {"HF_HUB_CACHE": "~/cache", "HUGGINGFACE_HUB_CACHE": "/older"},
        {"HF_HUB_OFFLINE": "1"},
        {"HF_HUB_OFFLINE": "yes"},
        {"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "1"},
        {"HF_HUB_OFFLINE": "", "TRANSFORMERS_OFFLINE": "on"},
        {"HF_ENDPOINT": "https://hub.example/"},
        {"HF_HUB_ETAG_TIMEOUT": "3"},
    ],
)
def test_the_variables_mean_what_they_mean_to_huggingface_hub(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    from huggingface_hub import constants

    for name in ("HF_HOME", "XDG_CACHE_HOME", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert constants.__file__ is not None
    theirs = runpy.run_path(constants.__file__)
    ours = hub_settings()
    assert ours.cache == Path(theirs["HF_HUB_CACHE"])
    assert ours.offline == theirs["HF_HUB_OFFLINE"]
    assert ours.address == theirs["ENDPOINT"]
    assert ours.timeout == theirs["HF_HUB_ETAG_TIMEOUT"]


def test_cached_models_by_name(empty_cache: Path) -> None:
    for folder in ("models--gpt2", "models--org--some-model", "datasets--org--data", "models--no-files"):
        (empty_cache / folder).mkdir(parents=True)
    for folder in ("models--gpt2", "models--org--some-model", "datasets--org--data"):
        (empty_cache / folder / "snapshots").mkdir()
    assert cached_models(hub_settings()) == ["gpt2", "org/some-model"]
