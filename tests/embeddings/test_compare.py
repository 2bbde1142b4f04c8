"""`attncli.compare` on tiny models: the right tokens, the right numbers, and what must never change them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from tokenizers import Tokenizer

import attncli
from attncli.embeddings.reference_sample import sample_spans, shipped_sentences
from attncli.errors import UsageError
from attncli.results.compare import CompareResult
from tests import tiny
from tests.embeddings import models

#: At the start, in the middle, at the end; with punctuation, emoji and other scripts around.
SENTENCES = [
    "mole dug a tunnel under the lawn",
    "the mole, and the skin",
    "One more gram of carbon dioxide, mole",
    "👍mole👍 und (mole)",
    "日本mole語 über die Straße",
    " the  mole\n",
]

#: A sample small enough for a test.
SAMPLE = list(shipped_sentences()[:40])


def compare(path: Path, sentences: list[str] = SENTENCES, **options: object) -> CompareResult:
    return attncli.compare("mole", sentences, model=path, **{"state": "all", "reference": [], **options})


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "llama3", "t5"])
def test_pieces_spell_the_word_and_nothing_beside_it(saved: tiny.Folders, name: str) -> None:
    result = compare(saved[name], state=0)
    assert [each.matched for each in result.occurrences] == ["mole"] * 6
    tokenizer = Tokenizer.from_file(str(saved[name] / "tokenizer.json"))
    for each in result.occurrences:
        encoding = tokenizer.encode(each.text)
        assert [encoding.tokens[place] for place in each.positions] == list(each.pieces)
        spelled = "".join(each.pieces).replace("##", "").replace("Ġ", "").replace("▁", "").lower()
        # Emoji without a space around them are one word with it to BERT's kind, which has no piece for that.
        assert spelled == ("[unk]" if name == "bert" and "👍" in each.text else "mole")


@pytest.mark.parametrize(
    ("name", "stack"),
    [("bert", None), ("gpt2", None), ("llama", None), ("t5", None), ("t5", "decoder"), ("fnet", None)],
)
def test_every_matrix_is_what_transformers_alone_gives(saved: tiny.Folders, name: str, stack: str | None) -> None:
    result = compare(saved[name], stack=stack)
    each = [models.plain_vectors(saved[name], one.text, one.positions, stack) for one in result.occurrences]
    assert len(result.states) == len(each[0]) == result.state_count
    for state in result.states:
        expected = [[models.cosine(a[state.state], b[state.state]) for a in each] for b in each]
        np.testing.assert_allclose(state.similarity, expected, atol=1e-5)


@pytest.mark.parametrize("pool", ["first", "last"])
def test_pooling_takes_the_piece_that_it_says(saved: tiny.Folders, pool: str) -> None:
    words = ["the zebra of it", "a zebra"]
    result = attncli.compare("zebra", words, model=saved["gpt2"], pool=pool, reference=[])
    assert all(len(one.pieces) > 1 for one in result.occurrences)
    place = 0 if pool == "first" else -1
    a, b = (models.plain_vectors(saved["gpt2"], one.text, [one.positions[place]])[-1] for one in result.occurrences)
    assert result.states[-1].similarity[0, 1] == pytest.approx(models.cosine(a, b), abs=1e-6)


@pytest.mark.parametrize("name", ["bert", "gpt2", "fnet", "convbert"])
def test_alone_in_pairs_or_together_makes_no_difference(saved: tiny.Folders, name: str) -> None:
    whole = compare(saved[name])
    pair = compare(saved[name], [SENTENCES[0], SENTENCES[2]])
    for state, other in zip(whole.states, pair.states, strict=True):
        assert state.similarity[0, 2] == pytest.approx(other.similarity[0, 1], abs=1e-5)


@pytest.mark.parametrize("name", ["bert", "convbert"])
def test_no_batch_of_the_reference_sample_changes_a_number(saved: tiny.Folders, name: str) -> None:
    """ConvBERT convolves padding, too. The sentences are short, and the sample has a long one."""
    sample = ["mole dug", "a mole and more of the moles of a mole and more", "one mole of skin", "the mole"]
    result = compare(saved[name], ["the mole", "a mole"], reference=sample)
    tokenizer, vectors = Tokenizer.from_file(str(saved[name] / "tokenizer.json")), []
    for number, (sentence, spans) in enumerate(zip(sample, sample_spans(sample), strict=True)):
        offsets = tokenizer.encode(sentence).offsets
        for start, stop in spans:
            places = [place for place, (a, b) in enumerate(offsets) if a < stop and b > start and a < b]
            vectors.append((number, models.plain_vectors(saved[name], sentence, places)[-1]))
    pairs = [(a, b) for i, (one, a) in enumerate(vectors) for other, b in vectors[i + 1 :] if one != other]
    expected = np.mean([models.cosine(a, b) for a, b in pairs])
    assert result.states[-1].reference.baseline == pytest.approx(expected, abs=1e-5)


def test_the_order_of_sentences_makes_no_difference(saved: tiny.Folders) -> None:
    given = [f"{text.strip()}\t{label}" for text, label in zip(SENTENCES, "aabbcc", strict=True)]
    options = {"reference": SAMPLE, "dimensions": 3}
    one, other = compare(saved["bert"], given, **options), compare(saved["bert"], given[::-1], **options)
    for a, b in zip(one.states, other.states, strict=True):
        np.testing.assert_allclose(a.similarity, b.similarity[::-1, ::-1], atol=1e-6)
        assert a.senses[2:5] == pytest.approx(b.senses[2:5]) and a.senses.permutation == b.senses.permutation
        assert a.senses.neighbours[:3] == b.senses.neighbours[:3]
        assert a.separation == pytest.approx(b.separation)
        assert [each.dimension for each in a.dimensions] == [each.dimension for each in b.dimensions]
    plain, back = compare(saved["bert"]), compare(saved["bert"], SENTENCES[::-1])
    for a, b in zip(plain.states, back.states, strict=True):
        assert a.groups.silhouette == pytest.approx(b.groups.silhouette) and a.groups.p == b.groups.p


def test_identical_sentences_are_exactly_alike(saved: tiny.Folders) -> None:
    result = compare(saved["bert"], ["the mole dug", "one mole", "the mole dug"])
    assert all(state.similarity[0, 2] == 1.0 for state in result.states)


def test_without_positions_a_word_starts_from_one_vector(saved: tiny.Folders) -> None:
    result = compare(saved["llama"], ["the mole dug more", "one mole", "skin and mole"])
    assert (result.states[0].similarity == 1.0).all()
    assert result.states[1].similarity[0, 1] < 1 and result.causal and result.stack == "decoder"


@pytest.mark.parametrize(
    ("name", "head"),
    [("bert", "BertForMaskedLM"), ("gpt2", "GPT2LMHeadModel"), ("t5", "T5ForConditionalGeneration")],
)
def test_the_last_state_of_a_model_with_a_head_is_no_logits(saved: tiny.Folders, name: str, head: str) -> None:
    whole = getattr(transformers, head).from_pretrained(saved[name])
    given, stack = ["the mole dug", "one mole"], "decoder" if whole.config.is_encoder_decoder else None
    tokenizer = Tokenizer.from_file(str(saved[name] / "tokenizer.json"))
    result = attncli.compare("mole", given, model=whole, tokenizer=tokenizer, reference=[], stack=stack)
    expected = attncli.compare("mole", given, model=saved[name], reference=[], stack=stack)
    assert result.states[-1].similarity == pytest.approx(expected.states[-1].similarity, abs=1e-6)


def test_how_a_model_reads_is_found_out(saved: tiny.Folders) -> None:
    kinds = {name: compare(saved[name], ["the mole dug", "one mole"]) for name in ("bert", "gpt2", "t5", "fnet")}
    assert {name: result.causal for name, result in kinds.items()} == {
        "bert": False, "gpt2": True, "t5": False, "fnet": False,
    }  # fmt: skip
    assert any("they were run one by one" in note for note in kinds["fnet"].notes)


def test_the_first_token_of_a_causal_model_is_warned_of(saved: tiny.Folders) -> None:
    assert any("sentence 1: the word is the first token" in text for text in compare(saved["gpt2"]).warnings)
    # A special token before it takes that place.
    assert not any("first token" in text for text in compare(saved["llama3"]).warnings)


def test_adjusted_values_follow_from_the_json(saved: tiny.Folders) -> None:
    for adjust in ("baseline", "standardize", "abtt"):
        result = json.loads(json.dumps(compare(saved["bert"], adjust=adjust, reference=SAMPLE).to_dict()))
        for state in result["states"]:
            raw, adjusted = np.array(state["similarity"]), np.array(state["adjusted"])
            if adjust == "baseline":
                np.testing.assert_allclose(adjusted, raw - state["baseline"], atol=1e-12)
                continue
            x, used = np.array(state["vectors"]), state["adjusted_with"]
            moved = x - np.array(used["mean"])
            if adjust == "standardize":
                moved = moved / np.array(used["deviation"])
            else:
                moved = moved - (moved @ np.array(used["components"]).T) @ np.array(used["components"])
            expected = [[models.cosine(a, b) for a in moved] for b in moved]
            np.testing.assert_allclose(adjusted, expected, atol=1e-5)


def test_the_sample_is_run_once_and_kept(saved: tiny.Folders, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    two = ["the mole dug", "one mole"]
    first = compare(saved["bert"], two, reference=SAMPLE, pool="last", progress=lambda what, *_: told.append(what))
    assert "reading the reference sample" in told and list(cache.rglob("*.npz"))
    told.clear()
    again = compare(saved["bert"], two, reference=SAMPLE, pool="last", progress=lambda what, *_: told.append(what))
    assert "reading the reference sample" not in told
    assert again.to_dict() == first.to_dict()
    for entry in cache.rglob("*.npz"):
        entry.write_bytes(b"broken" + entry.read_bytes())
    assert compare(saved["bert"], two, reference=SAMPLE, pool="last").to_dict() == first.to_dict()
    monkeypatch.setenv("ATTN_CACHE", "")
    assert compare(saved["bert"], two, reference=SAMPLE, pool="last").to_dict() == first.to_dict()


def test_the_sample_of_the_package_is_a_few_hundred_different_short_sentences(saved: tiny.Folders) -> None:
    shipped = shipped_sentences()
    assert len(set(shipped)) == len(shipped) == 300
    assert all(4 <= len(sentence.split()) <= 12 and sentence[-1] == "." for sentence in shipped)
    sample = compare(saved["bert"], ["the mole dug", "one mole"], state=0, reference=None).sample
    assert (sample.sentences, sample.words, sample.pairs) == (300, 1200, 10_000)


def test_the_sample_of_a_causal_model_leaves_out_first_positions(saved: tiny.Folders) -> None:
    given = ["mole dug a tunnel", "skin and carbon", "tunnel under the lawn", "grams of carbon"]
    counted = {name: compare(saved[name], reference=given).sample.words for name in ("gpt2", "llama3")}
    assert counted["llama3"] > counted["gpt2"]


def test_only_as_deep_as_asked(saved: tiny.Folders) -> None:
    whole, cut = compare(saved["bert"]), compare(saved["bert"], state="1-2")
    assert [state.state for state in cut.states] == [0, 1, 2] and cut.state_count == 4
    assert [state.chosen for state in cut.states] == [False, True, True]
    for a, b in zip(whole.states, cut.states, strict=False):
        np.testing.assert_array_equal(a.similarity, b.similarity)


def test_a_shared_layer_has_a_state_for_each_run(tmp_path: Path) -> None:
    config = transformers.AlbertConfig(**{**tiny.COMMON, "vocab_size": 400}, embedding_size=16)
    tiny.save(tmp_path, config)
    models.made.word_piece().save(str(tmp_path / "tokenizer.json"))
    assert [state.state for state in compare(tmp_path, state="0-2").states] == [0, 1, 2]
    assert compare(tmp_path).state_count == 4


# Which word, which sentences


def test_several_words_and_labels(saved: tiny.Folders) -> None:
    given = [("the mole dug a tunnel", "animal"), ("the tunnel", None), ("one mole", "unit"), ("a mole", "animal")]
    result = compare(saved["bert"], given, versus="tunnel")
    assert [(each.sentence, each.word, each.label) for each in result.occurrences] == [
        (1, "mole", "animal"), (1, "tunnel", "animal"), (2, "tunnel", None), (3, "mole", "unit"), (4, "mole", "animal"),
    ]  # fmt: skip
    last = result.states[-1]
    own, other = [0, 3, 4], [1, 2]
    figures = {each.word: each for each in last.words}
    assert figures["mole"].across["tunnel"] == pytest.approx(last.similarity[np.ix_(own, other)].mean())
    assert last.within == pytest.approx(last.similarity[0, 4])
    assert last.across == pytest.approx(last.similarity[3, [0, 4]].mean())
    assert last.senses.within == pytest.approx(last.within) and last.senses.across == pytest.approx(last.across)
    assert result.best == max(result.states, key=lambda state: state.separation).state


def test_occurrences_are_chosen_by_number_by_brackets_or_all(saved: tiny.Folders) -> None:
    two = ["the mole, the mole", "mole"]

    def starts(sentences: list[str] = two, **options: object) -> list[int]:
        return [each.start for each in compare(saved["bert"], sentences, state=0, **options).occurrences]

    assert starts() == [4, 0] and starts(occurrence="all") == [4, 14, 0]
    assert starts(["the mole, the [mole]", "[mole] and mole"]) == [14, 0]
    assert starts(two[:1]) == [4, 14]
    with pytest.raises(UsageError, match="sentence 2 contains 'mole' 1 time, so there is no occurrence 2"):
        starts(occurrence=2)
    assert any("--occurrence or" in note for note in compare(saved["bert"], two, state=0).notes)


def test_what_is_left_out_is_said(saved: tiny.Folders) -> None:
    given = ["the mole", "molecules", "one mole", "x"]
    with pytest.raises(UsageError, match=r"sentence 2 doesn't contain 'mole' \(the same in 4\)"):
        compare(saved["bert"], given)
    result = compare(saved["bert"], given, skip=True)
    assert result.left_out == (2, 4) and "sentences 2 and 4 were skipped" in result.warnings[0]


def test_a_word_beyond_the_models_reach_is_an_error_by_number(saved: tiny.Folders) -> None:
    long = "the " * 70
    with pytest.raises(UsageError, match="sentence 2: the word lies beyond the model's limit of 64 tokens"):
        compare(saved["gpt2"], ["the mole", f"{long} mole"])
    result = compare(saved["gpt2"], ["the mole", f"the mole {long}"])
    assert "sentence 2 was truncated to the model's limit" in result.warnings


def test_warnings_of_forms_and_pieces(saved: tiny.Folders) -> None:
    result = compare(saved["gpt2"], ["the mole", "the Moles", "MOLE"], any_form=True)
    text = "\n".join(result.warnings)
    assert "sentences 2 and 3: 'Moles' and 'MOLE' were taken as the word" in text
    # Nothing is cut in several ways here: other forms are other words to a tokenizer.
    assert "is cut in" not in text
    twice = compare(saved["gpt2"], ["the mole", "mole"], any_form=True)
    assert "'mole' is split into tokens in 2 different ways" in "\n".join(twice.warnings)
    assert compare(saved["bert"], ["the mole", "one mole"]).warnings == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"state": "7"}, "no state 7"),
        ({"state": "2-1"}, "the first state comes after the last one"),
        ({"state": ""}, "--state is empty"),
        ({"stack": "decoder"}, "no stack 'decoder'"),
        ({"pool": "max"}, "--pool can't be 'max'"),
        ({"adjust": "mean"}, "--adjust can't be 'mean'"),
        ({"adjust": "abtt"}, "needs a reference sample"),
        ({"occurrence": 0}, "--occurrence can't be 0"),
        ({"dimensions": 0}, "--dimensions can't be 0: it has to be a whole number of at least 1"),
        ({"dimensions": "3"}, "--dimensions can't be '3'"),
        ({"seed": "x"}, "--seed can't be 'x': it has to be a whole number of at least 0"),
        ({"seed": -1}, "--seed can't be -1"),
        ({"state": 1.5}, "--state: '1.5' is not a state"),
        ({"reference": 5}, "the reference has to be a list of sentences"),
        ({"reference": [5, 6]}, "the reference has to be a list of sentences"),
        ({"versus": None}, "versus= has to be a word or a list of words"),
        ({"versus": [5]}, "versus= has to be a word or a list of words"),
        ({"reference": ["one"]}, "fewer than 2 sentences"),
        ({"reference": ["one", "two"]}, "only 2 words, which is too few"),
        ({"versus": "zebra"}, "no sentence contains 'zebra'"),
    ],
)
def test_what_cannot_be_is_refused(saved: tiny.Folders, options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compare(saved["bert"], ["the mole dug", "one mole"], **options)


@pytest.mark.parametrize(
    ("word", "sentences", "message"),
    [
        (None, ["the mole"], "None is not a word"),
        (["mole", "gas"], ["the mole"], "\\['mole', 'gas'] is not a word"),
        ("mole", None, "the sentences have to be a list of texts"),
        ("mole", 5, "the sentences have to be a list of texts"),
        ("mole", "the mole", "the sentences have to be a list of texts"),
        ("mole", b"the mole", "the sentences have to be a list of texts"),
        ("mole", [1, 2], "sentence 1 is not a text"),
        ("mole", ["the mole", None], "sentence 2 is not a text"),
        ("mole", [("the mole", 5)], "sentence 1 is not a text"),
    ],
)
def test_what_is_no_word_or_no_sentence_is_refused(word: Any, sentences: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        attncli.compare(word, sentences)


@pytest.mark.parametrize("beside", ["device", "dtype", "revision", "refresh", "trust_remote_code", "allow_pickle"])
def test_what_goes_with_a_name_is_refused_beside_a_model(saved: tiny.Folders, beside: str) -> None:
    value = {"device": "cpu", "dtype": "float32"}.get(beside, "junk")
    model = transformers.AutoModel.from_pretrained(saved["bert"])
    with pytest.raises(UsageError, match=f"{beside}= needs the name of a model, and this model is loaded already"):
        attncli.compare("mole", ["the mole"], model=model, tokenizer="any", **{beside: value})
    with pytest.raises(UsageError, match=f"{beside}= needs the name of a model"):
        attncli.heads(model=model, input_ids=[5, 6], **{beside: value})


def test_many_occurrences_need_no_matrix(saved: tiny.Folders) -> None:
    words = ["the", "skin", "tunnel", "lawn", "carbon", "more", "One", "dug"]
    given = [f"{words[i % 8]} {words[i // 8 % 8]} {words[i // 64 % 8]} mole {words[i // 512]}" for i in range(1100)]
    result = compare(saved["bert"], given, state=-1)
    last = result.states[-1]
    assert last.similarity is None and last.vectors.shape == (1100, 32) and (last.nearest >= 0).all()
    units = last.vectors / np.linalg.norm(last.vectors, axis=1, keepdims=True)
    matrix = units @ units.T
    assert last.self_similarity == pytest.approx((matrix.sum() - 1100) / (1100 * 1099), abs=1e-5)
    json.dumps(result.to_dict(), allow_nan=False)
