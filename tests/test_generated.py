"""What a model wrote, token by token, against plain passes of transformers (`--generate`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import attncli
from attncli.render.common.terminal import Terminal
from attncli.render.heads.text import heads_text
from attncli.render.html.heads import heads_data
from attncli.results.generated import GeneratedToken
from attncli.results.heads import HeadsResult
from tests import tiny
from tests.cli.conftest import attn
from tests.test_targets import TEXT, save

NEW = 4


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tiny.Folders:
    return tiny.Folders(tmp_path_factory.mktemp("generated"), save)


def tokens_of(result: HeadsResult) -> tuple[GeneratedToken, ...]:
    assert result.generated is not None
    return result.generated.tokens


def ordinary(result: HeadsResult, stack: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Which keys count, and each head's whole pattern, from a run that keeps them."""
    found = next(each for each in result.stacks if each.stack == stack)
    special = [key.special or (stack != "cross" and key.index == 0) for key in found.keys]
    prefix = f"{stack}." if len(result.stacks) > 1 else ""
    return ~np.array(special), {f"{prefix}{one.layer}.{one.head}": one.weights for one in found.patterns}


def assert_readings_agree(result: HeadsResult, stack: str) -> None:
    """The largest mean, and the largest weight, looked for naively: uniform attention is the same for all heads."""
    counted, patterns = ordinary(result, stack)
    for token in tokens_of(result):
        assert token.reading is not None and token.reading.key is not None and token.reading.head is not None
        query, allowed = token.reading.query, counted.copy()
        if stack != "cross":
            allowed[query] = False
        rows = {name: np.where(allowed, weights[query], -1) for name, weights in patterns.items()}
        mean = np.mean([*rows.values()], axis=0)
        assert token.reading.key.index == int(mean.argmax())
        assert token.reading.key.weight == pytest.approx(float(mean.max()), abs=1e-6)
        best = max(rows, key=lambda name: rows[name].max())
        head = token.reading.head
        assert (head.name, head.index) == (best, int(rows[best].argmax()))
        assert head.weight == pytest.approx(float(rows[best].max()), abs=1e-6)


def assert_probabilities_agree(tokens: tuple[GeneratedToken, ...], logits: torch.Tensor) -> None:
    for token, row in zip(tokens, logits.softmax(-1), strict=True):
        assert token.probability == pytest.approx(float(row[token.id]), abs=1e-5)
        others = [number for number in row.argsort(descending=True).tolist() if number != token.id]
        assert [other.id for other in token.alternatives] == others[:5]
        for other in token.alternatives:
            assert other.probability == pytest.approx(float(row[other.id]), abs=1e-5)


def test_a_decoder_writes_as_one_plain_pass_over_its_tokens_predicts() -> None:
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(tiny.gpt2()).eval()
    result = attncli.heads(input_ids=[5, 6, 7, 9, 6], model=model, generate=NEW, patterns=True)
    assert result.generated is not None
    with torch.no_grad():
        logits = model(torch.tensor([[5, 6, 7, 9, 6, *result.generated.ids]])).logits[0, 4:-1]
    assert_probabilities_agree(tokens_of(result), logits)
    assert [token.reading.query for token in tokens_of(result) if token.reading] == [4, 5, 6, 7]
    assert_readings_agree(result, "decoder")


@pytest.mark.parametrize("family", ["t5", "bart", "mbart"])
def test_an_encoder_decoder_is_read_at_its_encoder_s_text(saved: tiny.Folders, family: str) -> None:
    """MBart is made to write its language first: its probability is what the model itself gives it."""
    folder = str(saved[family])
    result = attncli.heads(TEXT, model=folder, generate=NEW, patterns=True)
    encoder, decoder, _ = result.stacks
    model: Any = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    with torch.no_grad():
        logits = model(
            input_ids=torch.tensor([[token.id for token in encoder.queries]]),
            decoder_input_ids=torch.tensor([[token.id for token in decoder.queries]]),
        ).logits[0, :-1]
    assert_probabilities_agree(tokens_of(result), logits)
    assert_readings_agree(result, "cross")
    assert all(token.reading is not None and token.reading.stack == "cross" for token in tokens_of(result))


def test_there_is_no_reading_where_the_stack_that_wrote_is_not_shown(saved: tiny.Folders) -> None:
    result = attncli.heads(TEXT, model=str(saved["bart"]), generate=2, stack="encoder")
    assert [token.reading for token in tokens_of(result)] == [None, None]
    decoder = attncli.heads(TEXT, model=str(saved["bart"]), generate=2, stack="decoder")
    assert all(token.reading is not None and token.reading.stack == "decoder" for token in tokens_of(decoder))


def test_a_text_that_was_repeated_is_continued_by_induction_heads() -> None:
    result = attncli.heads("abcdefgh12abcd", model="builtin:induction", generate=3)
    first = tokens_of(result)[0]
    assert result.generated is not None and result.generated.text == "efg"
    assert first.reading is not None and first.reading.head is not None
    assert (first.reading.head.text, first.reading.head.name[0]) == ("e", "1") and first.reading.head.weight > 0.9


def test_a_row_for_each_token_answers_first(tmp_path: Path) -> None:
    out = attn("heads", "abcdefgh12abcd", "-m", "builtin:induction", "--generate", "3", "--width", "80").out.decode()
    lines = out.splitlines()
    assert lines[1] == "the model wrote efg (3 tokens); it was least sure of f, 90 %"
    assert [line.split()[0] for line in lines[4:7]] == ["e", "f", "g"]
    assert "runner-up" in lines[3] and "looked at" in lines[3] and "--full for the map" in lines[-1]
    full = attn("heads", "abcdefgh12abcd", "-m", "builtin:induction", "--generate", "3", "--full").out.decode()
    assert "least sure of f" in full and "layer" in full.split("itself")[-1]
    file = tmp_path / "saved.json"
    attn("heads", "abcdefgh12abcd", "-m", "builtin:induction", "--generate", "3", "-o", str(file))
    assert attn("heads", "--result", str(file), "--width", "80").out.decode() == out
    found = json.loads(file.read_text())["generated"]
    assert list(found) == ["ids", "text", "tokens"]
    assert list(found["tokens"][0]) == ["id", "text", "probability", "alternatives", "reading"]


@pytest.mark.parametrize("width", [24, 40, 56, 76, 100])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    result = attncli.heads("abcdefgh12abcd", model="builtin:induction", generate=3)
    rows = heads_text(result, Terminal(width=width)).splitlines()
    assert max(map(len, rows)) <= width


def test_a_page_and_a_figure_have_a_row_for_each_token() -> None:
    result = attncli.heads("abcdefgh12abcd", model="builtin:induction", generate=3, patterns=True)
    page = heads_data(result)
    assert page["facts"][1] == "The model wrote efg (3 tokens); it was least sure of f, 90 %"
    (table,) = page["tables"]
    assert [row[0] for row in table["rows"]] == ["e", "f", "g"]
    token = tokens_of(result)[0]
    assert token.reading is not None and token.reading.head is not None
    assert table["rows"][0][table["head"]] == token.reading.head.name
    assert "tables" not in heads_data(attncli.heads("abcdefgh12abcd", model="builtin:induction", patterns=True))
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra figures)")
    from attncli.render.figures.heads import heads_figure

    drawn = heads_figure(result, "svg").decode()
    assert "The model wrote efg (3 tokens)" in drawn and ">runner-up<" in drawn
