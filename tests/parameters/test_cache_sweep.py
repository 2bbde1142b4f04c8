"""Every model type that writes text: we count the numbers that transformers' own cache objects hold."""

from __future__ import annotations

import pytest

from tests.parameters.cache_sweep import AGREES, DIFFERS, model_types, outcome

pytestmark = pytest.mark.sweep

#: Why a cache of transformers holds other numbers than ours, which is what an engine needs.
DIFFERENCES = {
    "bert-generation": "transformers caches only if it is told to be a decoder",
    "blt": "its cache is that of one of several stacks, whose tokens are bytes and patches",
    "cpmant": "32 tokens of a prompt of its own are cached too",
    "gpt_neo": "layers with a window keep all tokens and mask them",
    "mllama": "layers that read a picture cache nothing without one",
    "openai-gpt": "written without a cache",
    "recurrent_gemma": "states are kept in the module, and no cache is returned",
    "trocr": "without a picture there is no other sequence to keep",
    "xlnet": "its memories are kept only where their length is set",
}


def test_caches_equal_those_of_transformers() -> None:
    found = [outcome(model_type) for model_type in model_types()]
    wrong = [each for each in found if each.kind == DIFFERS and each.model_type not in DIFFERENCES]
    assert wrong == []
    assert sum(each.kind == AGREES for each in found) >= 170
