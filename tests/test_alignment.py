"""Words of pairs of texts, aligned by cross-attention (`--lines --columns source,target`)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import attncli
from attncli.api.heads import run_heads
from attncli.api.heads_input import HeadsInput
from attncli.api.loading import ModelLoader
from attncli.api.requests import HeadsOptions
from attncli.errors import UsageError
from attncli.results.alignment import AlignedPair
from attncli.results.heads import HeadsResult
from tests import tiny
from tests.cli.conftest import attn
from tests.test_targets import reference_model, save

#: Words of several bytes, each of which is a token, and one that occurs twice.
PAIRS = ("the mole dug\ta mole digs", "", "the cat sat on the mat\tle chat noir")
COLUMNS = ("--lines", "--columns", "source,target")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tiny.Folders:
    return tiny.Folders(tmp_path_factory.mktemp("aligned"), save)


def pairs(folder: Path, lines: str = "\n".join(PAIRS)) -> str:
    """A file of pairs."""
    path = folder / "pairs.tsv"
    path.write_text(lines, encoding="utf-8")
    return str(path)


def word_rows(text: str, folder: str, first: int) -> list[list[int]]:
    """The positions of each word's tokens, which follow one another from `first` on: as many spaces stand before it."""
    rows: list[list[int]] = [[] for _ in text.split()]
    for token in attncli.tokenize(text, model=folder, no_special=True).texts[0].tokens:
        if token.text.strip():  # a space by itself is in no word
            rows[text[: token.end].count(" ")].append(first + token.index)
    return rows


def eager_cross(folder: str, encoder: list[int], decoder: list[int]) -> np.ndarray:
    """transformers' own cross-attention, (layers, heads, queries, keys)."""
    with torch.no_grad():
        output = reference_model(folder)(
            input_ids=torch.tensor([encoder]), decoder_input_ids=torch.tensor([decoder]), output_attentions=True
        )
    return torch.stack(output.cross_attentions)[:, 0].numpy()


def expected_links(
    weights: np.ndarray, keys: list[list[int]], queries: list[list[int]]
) -> list[tuple[int, int, float]]:
    """For each target word the source word with the largest weight: sums over keys, means over queries."""
    links = []
    for target, rows in enumerate(queries):
        shares = [float(weights[rows][:, columns].sum(axis=1).mean()) for columns in keys]
        links.append((int(np.argmax(shares)), target, max(shares)))
    return links


def found(result: HeadsResult, record: int) -> list[tuple[int, int, float]]:
    assert result.alignment is not None
    return [(link.source.index, link.target.index, link.weight) for link in result.alignment if link.record == record]


@pytest.mark.parametrize(("family", "start"), [("bart", [2, 0]), ("t5", [0]), ("marian", [7])])
@pytest.mark.parametrize("head", [None, "cross.1.2", "0.1,1.3"])
def test_links_are_those_of_transformers_own_cross_attention(
    family: str, start: list[int], head: str | None, saved: tiny.Folders
) -> None:
    """Each target word at the positions where it is the decoder's input, special tokens left out on both sides."""
    folder = saved[family]
    result = attncli.heads(PAIRS, model=folder, columns="source,target", head=head)
    chosen = {None: [(0, h) for h in range(4)], "cross.1.2": [(1, 2)], "0.1,1.3": [(0, 1), (1, 3)]}[head]
    assert list(result.alignment_heads) == [f"cross.{layer}.{number}" for layer, number in chosen]
    for record in (1, 3):
        source, target = PAIRS[record - 1].split("\t")
        encoder = [token.id for token in attncli.tokenize(source, model=folder).texts[0].tokens]
        decoder = start + [
            token.id for token in attncli.tokenize(target, model=folder, no_special=True).texts[0].tokens
        ]
        weights = np.mean([eager_cross(folder, encoder, decoder)[at] for at in chosen], axis=0)
        expected = expected_links(weights, word_rows(source, folder, 1), word_rows(target, folder, len(start)))
        assert [link[:2] for link in found(result, record)] == [link[:2] for link in expected]
        np.testing.assert_allclose([x[2] for x in found(result, record)], [x[2] for x in expected], atol=1e-5)


def test_metrics_are_means_over_the_pairs(saved: tiny.Folders) -> None:
    folder = saved["t5"]
    whole = attncli.heads(PAIRS, model=folder, columns="source,target")
    single = [attncli.heads(pair.split("\t")[0], model=folder, target=pair.split("\t")[1]) for pair in PAIRS if pair]
    assert whole.texts == 2
    for place, stack in enumerate(whole.stacks):
        for head, *others in zip(stack.metrics, *(each.stacks[place].metrics for each in single), strict=True):
            mean = np.mean([other.values["confidence"] for other in others])
            assert head.values["confidence"] == pytest.approx(mean, abs=1e-6)


def test_a_line_of_json_for_each_pair(saved: tiny.Folders, tmp_path: Path) -> None:
    """Streamed lines hold what the whole result holds."""
    command = ("heads", "-m", saved["bart"], "-f", pairs(tmp_path), *COLUMNS)
    lines = [json.loads(line) for line in attn(*command, "--format", "jsonl").out.splitlines()]
    whole = json.loads(attn(*command, "--json").out)
    assert [line["record"] for line in lines] == [1, 3]
    assert [link for line in lines for link in line["alignment"]] == whole["alignment"]
    assert lines[0]["heads"] == whole["alignment_heads"] == [f"cross.0.{head}" for head in range(4)]
    assert lines[0]["alignment"][1]["target"] == {"index": 1, "text": "mole"}


def test_pairs_that_are_handed_on_are_not_kept(saved: tiny.Folders) -> None:
    handed: list[AlignedPair] = []
    given = HeadsInput(list(PAIRS), columns="source,target", each_pair=handed.append)
    result = run_heads(given, HeadsOptions(), ModelLoader(saved["t5"]))
    assert (result.alignment, result.texts) == ((), 2)
    whole = attncli.heads(PAIRS, model=saved["t5"], columns="source,target")
    assert tuple(handed) == tuple(whole.aligned_pairs())
    assert HeadsResult.from_dict(json.loads(json.dumps(whole.to_dict()))).alignment == whole.alignment


def test_text_and_table(saved: tiny.Folders, tmp_path: Path) -> None:
    command = ("heads", "-m", saved["bart"], "-f", pairs(tmp_path), *COLUMNS, "-H", "cross.1.0")
    whole = json.loads(attn(*command, "--json").out)
    first = [link for link in whole["alignment"] if link["record"] == 1]
    text = attn(*command).text
    assert "2 pairs of texts, aligned by cross.1.0" in text
    assert " ".join(f"{link['source']['index']}-{link['target']['index']}" for link in first) in text
    assert "  ".join(f"{link['source']['text']}–{link['target']['text']}" for link in first) in text
    rows = attn(*command, "--format", "csv").text.splitlines()
    assert rows[0] == "record,source_index,source_word,target_index,target_word,weight"
    assert len(rows) == 1 + len(whole["alignment"])


@pytest.mark.parametrize(
    ("lines", "options", "message", "hint"),
    [
        ("the cat", (), "pairs.tsv has 1 field, and --columns names 2", "a line reads source<tab>target"),
        ("a\tb\tc", (), "pairs.tsv has 3 fields, and --columns names 2", "a line reads source<tab>target"),
        ("a\tb\na\t ", (), "pairs.tsv: the target is empty", "a line reads source<tab>target"),
        ("a\tb", ("-H", "decoder.0.1"), "words are aligned by cross-attention, and no head of it is chosen", "choose"),
        ("a\tb", ("--effect", "zero"), "--effect zero and --columns source,target can't be combined", "leave one"),
        ("a\tb", ("--query", "0"), "--query works on one text", "leave --query out"),
    ],
)  # fmt: skip
def test_what_is_refused(
    lines: str, options: tuple[str, ...], message: str, hint: str, saved: tiny.Folders, tmp_path: Path
) -> None:
    run = attn("heads", "-m", saved["bart"], "-f", pairs(tmp_path, lines), *COLUMNS, *options)
    assert run.code == 2
    error, advice = run.err.splitlines()
    assert message in error
    assert advice.startswith("hint: ") and hint in advice


def test_columns_and_models_without_a_pair(saved: tiny.Folders) -> None:
    with pytest.raises(UsageError, match="there is no column of the target"):
        attncli.heads(["a\tb"], model=saved["bart"], columns="source")
    with pytest.raises(UsageError, match="answer doesn't go with source"):
        attncli.heads(["a\tb"], model=saved["bart"], columns="source,answer")
    with pytest.raises(UsageError, match="is not an encoder–decoder"):
        attncli.heads(["a\tb", "c\td"], model="builtin:induction", columns="source,target")
