"""Words read after the whole sentence: in its second copy, and at the end of a template; and groups of sentences."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

import attncli
from attncli.embeddings.halvings import Halvings
from attncli.embeddings.measure import unit_vectors
from attncli.errors import UsageError
from attncli.results.compare import CompareResult
from tests import tiny
from tests.cli.conftest import attn
from tests.embeddings import models
from tests.embeddings.test_moles import MOLES

#: The same up to the word in two of them.
SENTENCES = ["the mole dug a tunnel", "the mole and the skin", "One mole"]
TEMPLATE = 'the "{sentence}" and {word} is'


def compare(path: Path, sentences: object = SENTENCES, **options: object) -> CompareResult:
    return attncli.compare("mole", sentences, model=path, **{"state": "all", "reference": [], **options})


def token_places(path: Path, text: str) -> list[tuple[int, int]]:
    return Tokenizer.from_file(str(path / "tokenizer.json")).encode(text).offsets


def test_equal_prefixes_are_told_and_echo_makes_them_differ(saved: tiny.Folders) -> None:
    plain, echo = compare(saved["gpt2"]), compare(saved["gpt2"], echo=True)
    assert plain.same_prefix == ((0, 1),) and echo.same_prefix == ()
    assert plain.states[-1].similarity[0, 1] == pytest.approx(1, abs=1e-6)
    assert echo.states[-1].similarity[0, 1] < 1 - 1e-4
    assert any("--echo" in note for note in plain.notes) and not any("causal" in note for note in echo.notes)


def test_the_same_sentence_twice_is_no_shared_prefix(saved: tiny.Folders) -> None:
    assert compare(saved["gpt2"], ["the mole dug", "the mole dug", "a mole"]).same_prefix == ()
    assert compare(saved["bert"]).same_prefix == ()


@pytest.mark.parametrize("name", ["gpt2", "bert", "llama", "t5"])
def test_echo_reads_the_word_in_the_second_copy(saved: tiny.Folders, name: str) -> None:
    result, vectors = compare(saved[name], echo=True), []
    for each in result.occurrences:
        text, start = f"{each.text} {each.text}", len(each.text) + 1 + each.start
        offsets = token_places(saved[name], text)
        covered = [place for place, (a, b) in enumerate(offsets) if a < start + 4 and b > start and a < b]
        vectors.append(models.plain_vectors(saved[name], text, covered)[-1])
        assert (each.matched, each.start) == ("mole", each.text.index("mole"))
    expected = [[models.cosine(a, b) for a in vectors] for b in vectors]
    np.testing.assert_allclose(result.states[-1].similarity, expected, atol=1e-5)


@pytest.mark.parametrize(("name", "specials"), [("gpt2", 0), ("bert", 1), ("llama", 0)])
def test_a_template_is_read_at_its_last_token(saved: tiny.Folders, name: str, specials: int) -> None:
    """Special tokens after the text aren't its own."""
    result, vectors = compare(saved[name], template=TEMPLATE), []
    for each in result.occurrences:
        text = f'the "{each.text}" and mole is'
        last = len(token_places(saved[name], text)) - 1 - specials
        assert each.positions == (last,)
        vectors.append(models.plain_vectors(saved[name], text, [last])[-1])
    expected = [[models.cosine(a, b) for a in vectors] for b in vectors]
    np.testing.assert_allclose(result.states[-1].similarity, expected, atol=1e-5)
    assert result.template == TEMPLATE and result.same_prefix == ()


def test_every_occurrence_of_a_sentence_has_its_own_template(saved: tiny.Folders) -> None:
    one = compare(saved["gpt2"], ["a mole or Mole"], template="{sentence}: {word}", any_form=True, occurrence="all")
    assert [each.matched for each in one.occurrences] == ["mole", "Mole"]
    assert one.states[-1].similarity[0, 1] < 1 - 1e-4
    assert compare(saved["gpt2"], template="{{{sentence}}} {word}").occurrences[0].matched == "mole"


def test_echo_leaves_an_encoders_order_as_it_was() -> None:
    """An encoder has read the whole sentence anyhow: who is nearest to whom hardly changes, at any state."""
    plain, echo = (attncli.compare("mole", MOLES, state=5, reference=[], echo=echo) for echo in (False, True))
    above = np.triu_indices(len(MOLES), k=1)
    ranks = [np.argsort(np.argsort(result.states[5].similarity[above])) for result in (plain, echo)]
    assert np.corrcoef(*ranks)[0, 1] > 0.9


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"echo": True, "template": TEMPLATE}, "--echo and --template can't be combined", "whole sentence"),
        ({"template": "{sentence} {sense}"}, r"--template: \{sense\} is not a field", "{sentence} and {word}"),
        ({"template": "{sentence} {}{word}"}, r"--template: \{\} is not a field", "{sentence} and {word}"),
        ({"template": "{sentence} {word.x}"}, r"--template: \{word.x\} is not a field", "{sentence} and {word}"),
        ({"template": "{sentence!r} {word:>9}"}, r"--template: \{sentence!r\} is not a field", "{sentence} and"),
        ({"template": "{sentence} means"}, r"--template has no \{word\}", "for instance"),
        ({"template": "the {word} is"}, r"--template has no \{sentence\}", "for instance"),
        ({"template": "{sentence} {word"}, "--template: ", "{{ and }}"),
        ({"template": ""}, r"--template has no \{sentence\}", "for instance"),
        ({"template": 5}, "has to be a text, and not 5", "for instance"),
        ({"template": TEMPLATE, "pool": "last"}, "--pool last has no effect with --template", "last token"),
        ({"sentences": {"old": ["a mole"], "new": ["a cat"]}, "skip": True}, "once", "add"),
        ({"sentences": {"old": ["a mole", "mole"], "new": ["cat"]}, "skip": True}, "'mole' isn't in new", "each group"),
        ({"sentences": {"old": "a mole"}}, "a list of texts", "pass a list"),
        ({"sentences": ["a mole", "mole " * 40], "echo": True, "occurrence": 40}, "sentence 1 contains", "--skip"),
        ({"sentences": ["a mole", "cat " * 40 + "mole"], "echo": True}, "sentence 2: the word lies", "the sentence"),
        (
            {"sentences": ["a mole", "cat " * 99 + "mole"], "template": TEMPLATE},
            "sentence 2 in its template",
            "the sen",
        ),
    ],
)
def test_refusals(saved: tiny.Folders, options: dict[str, object], message: str, hint: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        compare(saved["gpt2"], **options)
    assert hint in (error.value.hint or "")


def test_the_reference_sample_is_read_in_the_same_way(saved: tiny.Folders) -> None:
    """The baseline is the mean cosine of words of different sentences, here by transformers alone."""
    sample = ["the skin and lawn dug", "One tunnel under the lawn", "a carbon and a gram of skin"]
    result = compare(saved["gpt2"], template="{sentence}: {word} is", reference=sample)
    vectors = []
    for number, sentence in enumerate(sample):
        for word in sentence.split():
            text = f"{sentence}: {word} is"
            last = len(token_places(saved["gpt2"], text)) - 1
            vectors.append((number, models.plain_vectors(saved["gpt2"], text, [last])[-1]))
    pairs = [(a, b) for i, (one, a) in enumerate(vectors) for other, b in vectors[i + 1 :] if one != other]
    expected = np.mean([models.cosine(a, b) for a, b in pairs])
    assert result.states[-1].reference.baseline == pytest.approx(expected, abs=1e-5)


# --- Groups and distances


def test_distances_of_labels_and_of_groups_by_hand(saved: tiny.Folders) -> None:
    labelled = [f"{text}\t{label}" for text, label in zip(SENTENCES, "aab", strict=True)]
    for result in (
        compare(saved["bert"], labelled),
        compare(saved["bert"], {"a": SENTENCES[:2], "b": iter(SENTENCES[2:])}),
        compare(saved["bert"], {"a": labelled[1:2] + labelled[:1], "b": [f"{SENTENCES[2]}\ta"]}),
    ):
        state = result.states[-1]
        (distance,) = state.distances
        assert (distance.first, distance.second, distance.pairs) == ("a", "b", 2)
        assert distance.distance == pytest.approx(1 - (state.similarity[0, 2] + state.similarity[1, 2]) / 2)
    assert [each.group for each in result.occurrences] == ["a", "a", "b"]
    assert [each.sentence for each in result.occurrences] == [1, 2, 3]


def test_groups_are_tested_as_labels_are(saved: tiny.Folders) -> None:
    texts = [f"{first} mole {last}" for first in ("the", "a", "One") for last in ("dug", "and skin", "of carbon")]
    labelled = compare(saved["bert"], [f"{text}\t{'xy'[n > 4]}" for n, text in enumerate(texts)])
    grouped = compare(saved["bert"], {"x": texts[:5], "y": texts[5:]})
    assert grouped.states[-1].change == labelled.states[-1].senses
    assert grouped.states[-1].senses is None and labelled.states[-1].change is None


def test_two_files_are_two_groups(saved: tiny.Folders, tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_text("the mole dug\na mole", encoding="utf-8")
    (tmp_path / "new.txt").write_text("One mole of gas\n", encoding="utf-8")
    both = ("-f", str(tmp_path / "old.txt"), "-f", str(tmp_path / "new.txt"))
    told = attn("compare", "mole", *both, "-m", str(saved["bert"]), "--reference", "none")
    assert "mole can't be tested for a difference" in told.text or "between old.txt and new.txt" in told.text
    assert "Average pairwise distance 0." in told.text and "2 old.txt" in told.text
    table = attn("compare", "mole", *both, "-m", str(saved["bert"]), "--reference", "none", "--format", "csv").text
    assert [row.split(",")[-2:] for row in table.splitlines()[-3:]] == [
        ["old.txt", "old.txt"],
        ["old.txt", "new.txt"],
        ["old.txt", "new.txt"],
    ]
    again = attn("compare", "mole", *both[:2], *both[:2], "-m", str(saved["bert"]))
    assert again.code == 2 and "the same file twice" in again.error[0]


def test_a_saved_comparison_of_files_is_read_again(saved: tiny.Folders, tmp_path: Path) -> None:
    texts = [f"{first} mole {last}" for first in ("the", "a") for last in ("dug", "and skin", "of carbon", "is")]
    labelled = [f"{text}\t{'xy'[n % 2]}" for n, text in enumerate(texts)]
    result = compare(saved["gpt2"], {"old": labelled[:4], "new": labelled[4:]}, state=-1)
    assert result.held_out is not None and result.states[-1].distances
    path = tmp_path / "saved.json"
    path.write_text(json.dumps(result.to_dict()), encoding="utf-8")
    assert attncli.read(path).to_dict() == result.to_dict()


# --- The best state on held-out halves


def test_held_out_separations_by_hand() -> None:
    """State 1 separates the labels, states 0 and 2 don't."""
    rng = np.random.default_rng(1)
    labels = ["a", "b", "a", "b", None, "a", "b", "b", "a"]
    rows = np.array([row for row, label in enumerate(labels) if label is not None])
    halvings = Halvings.draw(labels, rows, seed=3)
    assert halvings is not None
    means = {"a": np.array([4.0, 0, 0]), "b": np.array([0.0, 4, 0]), None: np.zeros(3)}
    vectors = [
        rng.normal(size=(9, 3)) + (state == 1) * np.array([means[label] for label in labels]) for state in range(3)
    ]
    units = [unit_vectors(each) for each in vectors]
    for state in range(3):
        halvings.add(state, np.array([0, 1, 2, 3]), units[state][:4])
        halvings.add(state, np.array([4, 5, 6, 7, 8]), units[state][4:])
    found = [halvings.separation(state) for state in range(3)]
    for halving, (first, second) in enumerate(halvings.halves.sum(axis=2).astype(bool)):
        assert not (first & second).any() and np.flatnonzero(first | second).tolist() == rows.tolist()
        for half, members in enumerate((first, second)):
            assert [labels[row] for row in np.flatnonzero(members)].count("a") == 2
            for state in range(3):
                expected = by_hand(units[state], labels, np.flatnonzero(members).tolist())
                assert found[state][halving, half] == pytest.approx(expected)
    held = halvings.held_out()
    best = [int(np.argmax([each[halving, 0] for each in found])) for halving in range(20)]
    assert held[1:] == (1, best.count(1), 20) and best.count(1) > 10
    assert held.separation == pytest.approx(np.mean([found[state][halving, 1] for halving, state in enumerate(best)]))


def by_hand(units: np.ndarray, labels: list[str | None], rows: list[int]) -> float:
    pairs = [(a, b) for place, a in enumerate(rows) for b in rows[place + 1 :]]
    within = [units[a] @ units[b] for a, b in pairs if labels[a] == labels[b]]
    across = [units[a] @ units[b] for a, b in pairs if labels[a] != labels[b]]
    return float(np.mean(within) - np.mean(across))


def test_under_four_of_a_label_nothing_is_held_out(saved: tiny.Folders) -> None:
    texts = [f"{first} mole {last}" for first in ("the", "a") for last in ("dug", "and skin", "of carbon", "is")]
    full = [f"{text}\t{'xy'[n % 2]}" for n, text in enumerate(texts)]
    assert compare(saved["bert"], full).held_out is not None
    assert compare(saved["bert"], full[1:]).held_out is None
    assert compare(saved["bert"], [f"{text}\tx" for text in texts]).held_out is None


def test_the_order_of_sentences_makes_no_difference_to_halves(saved: tiny.Folders) -> None:
    texts = [f"{first} mole {last}" for first in ("the", "a") for last in ("dug", "and skin", "of carbon", "is")]
    full = [f"{text}\t{'xy'[n % 2]}" for n, text in enumerate(texts)]
    one, other = compare(saved["bert"], full).held_out, compare(saved["bert"], full[::-1]).held_out
    assert one is not None and other is not None
    assert one.separation == pytest.approx(other.separation) and one[1:] == other[1:]
