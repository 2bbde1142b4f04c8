"""Effects over several texts, each with its own tokens; and the two texts of patching."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

import attncli
from attncli.attention.averages import confidence_interval
from attncli.attention.effects.patch_texts import check_same_length
from attncli.errors import UsageError
from attncli.results.heads import HeadsResult
from attncli.results.tokens import Token
from tests.attention.effects.indirect_objects import direct_effects_of, lines
from tests.attention.effects.predicting import build
from tests.cli.conftest import attn
from tests.tiny import GPT, config_of

LINES = ["abcdefgabcde\t=f\t=a", "xyzwvxyzw\t=v\t=q", "qrstuqrst\t=u\t=q"]
COLUMNS = "text,answer,contrast"


def effects(result: HeadsResult, kind: str) -> dict[str, float | None]:
    return {head.name: head.values[kind] for stack in result.stacks for head in stack.effects}


def test_means_of_what_each_text_gives_with_intervals() -> None:
    result = attncli.heads(LINES, model="builtin:induction", effect="zero", columns=COLUMNS)
    alone = []
    for line in LINES:
        text, answer, contrast = line.split("\t")
        one = attncli.heads(text, model="builtin:induction", effect="zero", answer=answer, contrast=contrast)
        alone.append(effects(one, "zero"))
    (stack,) = result.stacks
    for head in stack.effects:
        values = [each[head.name] or 0 for each in alone]
        mean = sum(values) / 3
        assert head.values["zero"] == pytest.approx(mean, abs=1e-4)
        interval = confidence_interval(mean, sum((value - mean) ** 2 for value in values), 3)
        assert head.intervals["zero"] == pytest.approx(interval, abs=1e-3)
    assert result.texts == 3 and result.effects is not None and result.effects.outcome.answer is None
    assert (effects(result, "zero")["0.0"] or 0) > 3


def test_the_mean_is_over_all_texts() -> None:
    twice, once = (
        attncli.heads(lines, model="builtin:induction", effect="mean", columns=COLUMNS)
        for lines in ([LINES[0], LINES[1]], [LINES[0], LINES[0]])
    )
    alone = attncli.heads("abcdefgabcde", model="builtin:induction", effect="mean", answer="=f", contrast="=a")
    assert effects(once, "mean") == pytest.approx(effects(alone, "mean"), abs=1e-4)
    assert effects(twice, "mean") != pytest.approx(effects(once, "mean"), abs=1e-2)


def test_a_file_with_a_source_for_each_text(tmp_path: Path) -> None:
    path = tmp_path / "texts.tsv"
    path.write_text("abcdefgabcde\tabcdXfgabcde\nxyzwvxyzw\txyzQvxyzw\n")
    done = attn(
        "heads", "-m", "builtin:induction", "-f", str(path), "--lines", "--columns", "text,patch_from",
        "--effect", "patch", "--check", "0.0 patch > 0.8", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("answer", "--columns: there is no column of the text"),
        ("text,colour", "--columns: there is no column 'colour'"),
        ("text,text", "--columns: text is named twice"),
    ],
)
def test_columns_that_say_nothing(columns: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        attncli.heads(LINES, model="builtin:induction", effect="zero", columns=columns)


def test_a_line_of_other_fields_is_named() -> None:
    with pytest.raises(UsageError, match="text 2 has 1 field, and --columns names 3"):
        attncli.heads([LINES[0], "abc"], model="builtin:induction", effect="zero", columns=COLUMNS)
    with pytest.raises(UsageError) as caught:
        attncli.heads(["abc\tnope"], model="builtin:induction", effect="zero", columns="text,answer")
    assert caught.value.message.startswith("text 1: --answer: 'nope' is")


def test_what_is_given_twice() -> None:
    with pytest.raises(UsageError, match="--answer is a column of the file, too"):
        attncli.heads(LINES, model="builtin:induction", effect="zero", columns=COLUMNS, answer="=a")
    with pytest.raises(UsageError, match="--bins works on one text"):
        attncli.heads(LINES, model="builtin:induction", effect="zero", columns=COLUMNS, bins=4)
    with pytest.raises(UsageError, match="--columns works only with effects of heads"):
        attncli.heads(LINES, model="builtin:induction", columns=COLUMNS)


def test_induction_hangs_on_the_previous_token_head() -> None:
    """What the head that looks at the previous token wrote at the first copy decides what is continued."""
    result = attncli.heads(
        "abcdefgabcde", model="builtin:induction", effect="patch", patch_from="abcdXfgabcde", answer="=f"
    )
    found = effects(result, "patch")
    assert (found["0.0"] or 0) > 0.8 and result.effects is not None
    assert all(abs(value or 0) < 0.3 for name, value in found.items() if name.startswith("0.") and name != "0.0")
    assert result.effects.source is not None and result.effects.source.value < result.effects.outcome.value


def named(*texts: str) -> list[Token]:
    return [Token(index, index + len(text), text, text) for index, text in enumerate(texts)]


def test_texts_of_different_lengths_show_where_they_part() -> None:
    one, other = named("The", " cat", " sat", " on"), named("The", " cat", " was", " sitting", " on")
    with pytest.raises(UsageError) as caught:
        check_same_length(one, [token._replace(id=99) if token.text == " was" else token for token in other])
    assert caught.value.message == (
        "the text has 4 tokens and --patch-from 5: The| cat|» sat«| on against The| cat|» was«| sitting| on"
    )
    assert caught.value.hint == "they first differ at token 2; change words until both have the same number of tokens"


def test_a_threshold_moves_the_labels_of_means_too() -> None:
    def labels(*threshold: str) -> dict[str, tuple[str, ...]]:
        result = attncli.heads(LINES, model="builtin:induction", effect="zero", columns=COLUMNS, threshold=threshold)
        return {head.name: head.labels for head in result.stacks[0].metrics}

    assert labels()["0.0"] == ("previous",)
    assert labels("previous=2")["0.0"] == ()


def test_indirect_objects_are_measured_as_on_the_published_model(tmp_path: Path) -> None:
    """What the test of GPT-2's name movers does, on random weights."""
    texts = lines()
    assert len(texts) == len(set(texts)) == 96
    words = sorted({word for text in texts for word in re.findall(r"\w+|[^\w\s]", text)})
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(["<unk>", *words])}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    build(config_of("GPT2", **GPT)()).save_pretrained(tmp_path)
    found = direct_effects_of(str(tmp_path), texts[:5])
    alone = [direct_effects_of(str(tmp_path), [text]) for text in texts[:5]]
    assert found.difference == pytest.approx(sum(each.difference for each in alone) / 5, abs=1e-4)
    assert found.heads["2.1"] == pytest.approx(sum(each.heads["2.1"] for each in alone) / 5, abs=1e-4)
    assert found.intervals["2.1"][0] < found.heads["2.1"] < found.intervals["2.1"][1]
