"""The model that ships with the package: its files, its known heads, and the script that trains it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

import attncli
from attncli.models.builtin import train_induction
from attncli.models.builtin.train_induction import Phase
from tests.cli.conftest import attn
from tests.hub_server import HubServer

FOLDER = Path(train_induction.__file__).parent / "induction"
FILES = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
TEXT = "the cat sat the cat sat"


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    return AutoModelForCausalLM.from_pretrained(FOLDER, local_files_only=True).eval()


# The files


def test_every_byte_has_its_token() -> None:
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == 256
    # A start of two bytes, then one that goes on: every byte that UTF-8 uses is in one of these characters.
    for text in [*map(chr, range(0x800)), "\ue000", "\uffff", "\U00010000", "\U0010ffff"]:
        assert (tokenizer.encode(text).ids, tokenizer.decode([*text.encode()])) == ([*text.encode()], text)
    assert sorted(tokenizer.get_vocab().values()) == list(range(256))


def test_transformers_opens_the_tokenizer_as_it_is() -> None:
    tokenizer = AutoTokenizer.from_pretrained(FOLDER, local_files_only=True)
    assert tokenizer(TEXT).input_ids == list(TEXT.encode())
    assert tokenizer.decode(tokenizer("  naïve \n").input_ids) == "  naïve \n"


# The known heads


def test_the_known_heads_on_a_longer_text(model: LlamaForCausalLM) -> None:
    generator = torch.Generator().manual_seed(104)
    ids = torch.randint(256, (200,), generator=generator).repeat(2).tolist()
    (stack,) = attncli.heads(input_ids=ids, model=model).stacks
    assert max(head.values["previous"] for head in stack.metrics if head.layer == 0) > 0.9
    assert max(head.values["induction"] for head in stack.metrics if head.layer == 1) > 0.75


# How it is named


def test_it_is_opened_without_a_request(hub: HubServer) -> None:
    ids = attn("tokenize", "the cat", "-m", "builtin:induction", "--ids")
    assert ids.text.split() == ["116", "104", "101", "32", "99", "97", "116"]
    outcome = attn("heads", TEXT, "-m", "builtin:induction", "--json")
    assert outcome.code == 0 and json.loads(outcome.text)["model"] == "builtin:induction"
    assert hub.requests == []


@pytest.mark.parametrize(
    ("name", "hint"),
    [("inductoin", "did you mean builtin:induction?"), ("zzz", "built-in models: builtin:induction")],
)
@pytest.mark.parametrize("verb", ["heads", "tokenize"])
def test_another_name_is_refused(verb: str, name: str, hint: str) -> None:
    outcome = attn(verb, "x", "-m", f"builtin:{name}")
    assert outcome.code == 3 and outcome.text == ""
    assert f"there is no built-in model {name}\nhint: {hint}" in outcome.err


# The script


@pytest.mark.parametrize("phase", train_induction.PHASES)
def test_what_it_learns_from_repeats_itself(phase: Phase) -> None:
    ids, labels = train_induction.periodic_bytes(phase, torch.Generator().manual_seed(7))
    assert ids.shape == labels.shape == (phase.rows, phase.length)
    for row, wanted in zip(ids.tolist(), labels.tolist(), strict=True):
        period = len(set(row))
        assert phase.shortest <= period <= min(phase.longest, phase.length // 2, 256)
        assert row == (row[:period] * 64)[: len(row)]
        assert wanted == [-100] * period + row[period:]


def test_a_few_steps_lower_the_loss_the_same_way_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # Few bytes, in short rows and periods: what there is to learn, learned in a second.
    monkeypatch.setattr(train_induction, "BYTES", 16)
    monkeypatch.setattr(train_induction, "WARM_UP", 10)
    losses = _losses(25, 15)
    assert sum(losses[-5:]) / 5 < losses[0] - 0.5
    assert _losses(5, 5) == _losses(5, 5)


def _losses(*steps: int) -> list[float]:
    losses: list[float] = []
    phases = [Phase(each, rows=8, length=32, shortest=2, longest=8) for each in steps]
    train_induction.train(phases, 3, lambda _, loss: losses.append(loss))
    return losses


def test_it_measures_heads_as_the_verb_does(model: LlamaForCausalLM) -> None:
    ids = train_induction.probe_bytes(5)[:1]
    ids[0, 3] = ids[0, 2]  # what follows an earlier copy is the token itself here, which doesn't count
    previous, induction = train_induction.head_scores(model, ids)
    (stack,) = attncli.heads(input_ids=ids[0].tolist(), model=model).stacks
    shown = [head.values["previous"] for head in stack.metrics[:4]]
    assert previous == pytest.approx(shown, abs=1e-5)
    assert induction == pytest.approx([head.values["induction"] for head in stack.metrics[4:]], abs=1e-5)


def test_it_writes_what_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train_induction, "PHASES", [Phase(2, rows=4, length=16, shortest=2, longest=8)])
    monkeypatch.setattr("sys.argv", ["train_induction", str(tmp_path / "made")])
    train_induction.main()
    assert "induction:       1.0 0." in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "made").iterdir()} == FILES
    assert _fields(tmp_path / "made" / "tokenizer.json") == _fields(FOLDER / "tokenizer.json")
    assert _fields(tmp_path / "made" / "config.json") == _fields(FOLDER / "config.json")


def _fields(path: Path) -> dict[str, object]:
    """A JSON file's fields, but for the version that wrote it."""
    fields = json.loads(path.read_text("utf-8"))
    fields.pop("transformers_version", None)
    return fields
