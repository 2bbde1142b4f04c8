"""What the command line or a configuration refuses: before torch is imported, and in terms of what was typed."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import pytest

from attncli.api.loading import ModelLoader
from attncli.cli.command import Option
from attncli.verbs import VERBS
from tests.cli.conftest import attn
from tests.test_startup import HEAVY, refused

TEXT = "The cat sat on it"
SENTENCES = ("bank", "a bank", "the bank")
#: The option with which a user comes to this error, beside a usual input, and its message and hint.
REFUSED = [
    (("heads", TEXT, "-l", "99"), "there is no layer 99 in the model", "-l accepts layers 0-5"),
    (("heads", TEXT, "-l", "0,-7"), "there is no layer -7 in the model", "-l accepts layers 0-5"),
    (("heads", TEXT, "-l", "5-2"), "-l 5-2: the first layer comes after the last one", "-l accepts layers from 0"),
    (("heads", TEXT, "-l", "x"), "-l: 'x' is not a layer", "-l accepts layers from 0"),
    (("heads", TEXT, "-H", "99.1"), "there is no layer 99 in the model", "-H accepts layers 0-5"),
    (("heads", TEXT, "-H", "2.99"), "there is no head 99 in layer 2", "-H accepts heads 0-11"),
    (("heads", TEXT, "-H", "13"), "there is no head 13 in a layer", "-H accepts heads 0-11"),
    (("heads", TEXT, "-H", "x"), "-H: 'x' is not a head", "-H accepts layer.head"),
    (("heads", TEXT, "--device", "cude"), "there is no device 'cude'", "did you mean cuda?"),
    (("heads", TEXT, "--device", "gpu"), "there is no device 'gpu'", "did you mean cuda?"),
    (("heads", TEXT, "--dtype", "int8"), "--dtype can't be 'int8'", "for instance --dtype auto"),
    (("heads", TEXT, "--metric", "entrpy"), "--metric: there is no metric 'entrpy'", "did you mean entropy?"),
    (("heads", TEXT, "--check", "1.2 entrpy > 3"), "--check: there is no metric 'entrpy'", "did you mean entropy?"),
    (("heads", TEXT, "--threshold", "entropy=1"), "--threshold: 'entropy' has no label", "the labels are"),
    (("heads", TEXT, "-o", "x.gif"), "-o x.gif: the ending .gif is not a known format", "the name can end in .txt"),
    (("heads", "-m", "builtin:induction", "--probe", "-H", "1.7"), "there is no head 7 in layer 1", "-H accepts heads"),
    (("compare", *SENTENCES, "--state", "99"), "there is no state 99 in the model", "--state accepts states 0-6"),
    (("compare", *SENTENCES, "--state", "5-2"), "--state 5-2: the first state comes", "--state accepts numbers"),
    (("compare", *SENTENCES, "--device", "cuda0"), "there is no device 'cuda0'", "did you mean cuda?"),
    (("compare", *SENTENCES, "-o", "x"), "-o x: the name has no ending", "the name can end in .txt"),
    (("params", "--set", "num_hiden_layers=4"), "--set num_hiden_layers: the config", "did you mean --set num_"),
    (("params", "--set", "num_hidden_layers=x"), "--set num_hidden_layers can't be 'x'", "its value now is 6"),
    (("params", "--set", "num_hidden_layers"), "--set num_hidden_layers: there is no KEY=VALUE", "write for instance"),
    (("params", "--set", "model_type=gpt2"), "--set model_type=gpt2: the model type", "name a model or a preset"),
    (("params", "preset:gpt2", "--set", "n_lyer=3"), "--set n_lyer: the configuration of pre", "did you mean --set n_"),
    (("tokenize", TEXT, "-o", "x.png"), "-o x.png: the ending .png is not a known format", "the name can end in .txt"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message", "hint"), REFUSED, ids=lambda it: " ".join(it) if isinstance(it, tuple) else ""
)
def test_what_the_command_line_or_the_configuration_refuses_imports_no_torch(
    arguments: tuple[str, ...], message: str, hint: str
) -> None:
    lines, packages = refused(*arguments)
    assert lines[0].startswith(f"error: {message}"), lines
    assert lines[1].startswith(f"hint: {hint}"), lines
    assert len(lines) == 2
    assert packages & (HEAVY - {"numpy"}) == set()


# --- Options that can't be combined


class ReachedModelError(Exception):
    """The command line was accepted: the model would be opened now."""


#: A value for each option that takes one; flags are given as they are.
VALUES = {
    "--image": "cat.png", "--video": "cat.gif", "--audio": "cat.wav", "--seed": "1", "--target": "die Katze",
    "--target-ids": "0 5", "--tokens": "a b", "--tokenizer": "gpt2",
    "--generate": "3", "--pair": "it slept", "--against": "The dog sat on it", "--layer": "1", "--head": "1.2",
    "--stack": "encoder", "--metric": "entropy", "--threshold": "induction=0.3", "--check": "1.2 entropy > 0.1",
    "--query": "cat", "--key": "The", "--bins": "4", "--by": "word", "--top": "3", "--input-ids": "5 6 7",
    "--errors": "replace", "--versus": "shore", "--occurrence": "1", "--state": "1", "--pool": "first",
    "--adjust": "baseline", "--dimensions": "2", "--source": "config", "--depth": "1", "--set": "num_hidden_layers=2",
    "--context": "128", "--batch": "2", "--fit": "1GiB", "--lora": "8", "--template": "default", "--model": "gpt2",
    "--reference": "none", "--columns": "text,answer", "--needle": "64", "--effect": "zero", "--answer": "id:5",
    "--contrast": "id:6", "--patch-from": "The dog sat on it", "--kv-dtype": "q8_0", "--kv-allocation": "full",
    "--optimizer": "sgd", "--recompute": "full",
}  # fmt: skip
#: Options of every verb that only say how a result looks or where a model comes from; and those without a value above.
ELSEWHERE = {"Output", "Help"}
LEFT_OUT = {"--file", "--revision", "--refresh", "--trust-remote-code", "--allow-pickle", "--device", "--dtype"}
OWN_CHECKS = {"tokenize": "same", "params": "124M"}
INPUTS = {"heads": (TEXT,), "compare": SENTENCES, "params": ("preset:gpt2",), "tokenize": (TEXT,)}


def options(verb: str) -> list[tuple[str, ...]]:
    """Each option of a verb, with a value that is right by itself; two models too."""
    command = VERBS[verb].load("command")
    given: list[tuple[str, ...]] = []
    for option in (each for each in command.params if isinstance(each, Option) and each.group not in ELSEWHERE):
        name = max(option.opts, key=len)
        if name in LEFT_OUT:
            continue
        if option.is_flag:
            given.append((name,))
        else:
            value = OWN_CHECKS.get(verb, VALUES[name]) if name == "--check" else VALUES[name]
            given.append((name, value))
    return [*given, ("-m", "gpt2", "-m", "bert")]


def typed_flags(arguments: tuple[str, ...], verb: str) -> set[str]:
    """The flags among the arguments, in every way to write them."""
    command = VERBS[verb].load("command")
    ways = {flag: set(option.opts) for option in command.params if isinstance(option, Option) for flag in option.opts}
    return {way for argument in arguments if argument in ways for way in ways[argument]}


def pairs() -> Iterator[tuple[str, tuple[str, ...]]]:
    for verb in VERBS:
        for first, second in itertools.combinations(options(verb), 2):
            yield verb, (*first, *second)
        yield from ((verb, each) for each in options(verb))


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever would open a model ends there."""

    def reached(*_: object, **__: object) -> None:
        raise ReachedModelError

    monkeypatch.setattr(ModelLoader, "files", reached)
    monkeypatch.setattr("attncli.api.tokenizing.open_tokenizers", reached)
    monkeypatch.setattr("attncli.api.params._read_shapes", reached)


#: Flags as a message names them.
_FLAG = re.compile(r"(?<![\w-])--?[a-zA-Z][\w-]*")


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize("verb", list(VERBS))
def test_a_refusal_names_only_options_that_were_typed(verb: str) -> None:
    refusals: list[str] = []
    for which, arguments in pairs():
        if which != verb:
            continue
        outcome = attn(verb, *INPUTS[verb], *arguments)
        if "ReachedModelError" in outcome.err:
            continue
        if outcome.code == 0:
            assert "--list-presets" in arguments
            continue
        message = next(line for line in outcome.err.splitlines() if line.startswith("error: "))
        hint = next(line for line in outcome.err.splitlines() if line.startswith("hint: "))
        named = set(_FLAG.findall(message))
        # What a hint says is to be left out was typed too.
        left_out = {flag for part in re.findall(r"leave ([^;]*?) out", hint) for flag in _FLAG.findall(part)}
        assert named | left_out <= typed_flags(arguments, verb), (arguments, outcome.err)
        assert named or "TEXT" in message or "SENTENCE" in message or outcome.code != 2, (arguments, outcome.err)
        refusals.append(f"{' '.join(arguments)}: {message}")
    assert refusals
