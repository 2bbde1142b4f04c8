"""The Python interface: four functions with types and docstrings, and results that display themselves."""

from __future__ import annotations

import inspect
import pydoc
import re
import traceback
import typing
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import MagicMock

import pytest

import attncli
from attncli import errors
from attncli.errors import CheckError
from attncli.results import base, compare, costs, heads, params, patterns, tokenize
from tests.cli.conftest import attn, flat

VERBS = ("compare", "heads", "params", "tokenize")
ERRORS = ("AttnError", "FailedError", "ModelError", "UsageError")
DEFAULT = "sentence-transformers/all-MiniLM-L6-v2"
INDUCTION = "builtin:induction"
MOLES = ["A mole dug", "One mole of gas", "The mole on my skin", "A mole of salt"]

#: What `help()` is asked about.
DESCRIBED = (
    compare.CompareResult, compare.State, compare.Occurrence,
    heads.HeadsResult, heads.Stack, heads.HeadMetrics, patterns.Pattern,
    params.ParamsResult, params.ModelParameters, params.ParameterCount, params.PerHead, costs.Costs,
    tokenize.TokenizeResult, tokenize.TokenizedText, tokenize.TokenStats, tokenize.Token, base.MadeBy,
)  # fmt: skip

#: A call, and the same as a command.
CALLS: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "tokens": (lambda: attncli.tokenize(["a\x1bb", "café"]), ["tokenize", "a\x1bb", "café"]),
    "steps of a tokenizer": (lambda: attncli.tokenize("moles", why=True), ["tokenize", "moles", "--why"]),
    "a vocabulary": (lambda: attncli.tokenize("mole", vocab=True), ["tokenize", "mole", "--vocab"]),
    "heads": (lambda: attncli.heads("abcabc", model=INDUCTION), ["heads", "abcabc", "-m", INDUCTION]),
    "a walk": (
        lambda: attncli.heads("abcabc", model=INDUCTION, head="1.2", steps=True),
        ["heads", "abcabc", "-m", INDUCTION, "-H", "1.2", "--steps"],
    ),
    "a position": (
        lambda: attncli.heads("abcabc", model=INDUCTION, query=-1),
        ["heads", "abcabc", "-m", INDUCTION, "--query", "-1"],
    ),
    "a difference": (
        lambda: attncli.heads("abcabc", against="abcdef", model=INDUCTION),
        ["heads", "abcabc", "--against", "abcdef", "-m", INDUCTION],
    ),
    "parameters": (lambda: attncli.params("preset:gpt2"), ["params", "preset:gpt2"]),
    "modules": (
        lambda: attncli.params("preset:gpt2", by="module", depth=2),
        ["params", "preset:gpt2", "--by", "module", "--depth", "2"],
    ),
    "moles": (
        lambda: attncli.compare("mole", MOLES, reference=[]),
        ["compare", "mole", *MOLES, "--reference", "none"],
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_result_is_a_line_for_python_and_the_command_s_text_in_print(name: str) -> None:
    call, command = CALLS[name]
    result = call()
    for value in walk_values(result):
        shown = repr(value)
        assert len(shown) < 800 and shown.isprintable(), f"{type(value).__name__}: {len(shown)} characters"
    assert repr(result).startswith(type(result).__name__) and len(repr(result)) < 500
    outcome = attn(*command)
    assert outcome.code == 0, outcome.err
    assert f"{result}\n" == outcome.text


def walk_values(value: Any) -> Iterator[Any]:
    """A result and every value of ours in it."""
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
        for each in value:
            yield from walk_values(each)
    elif type(value).__module__.startswith("attncli.results"):
        yield value
        for name in getattr(value, "_fields", None) or value.__dataclass_fields__:
            yield from walk_values(getattr(value, name))


def test_what_a_line_says_of_results() -> None:
    tokens = attncli.tokenize("Take a biopsy")
    assert repr(tokens.texts[0]) == f"<TokenizedText 'Take a biopsy' by '{DEFAULT}': 6 tokens>"
    assert repr(tokens.texts[0]) in repr(tokens)
    heads = attncli.heads("abcabc", model=INDUCTION, head="1.2")
    assert "stacks=(<Stack decoder: 2 layers of 4 heads, 6 tokens>,)" in repr(heads)
    assert repr(heads.stacks[0].patterns) == "(Pattern(layer=1, head=2, weights=<float32 (6, 6)>),)"
    count = attncli.params("preset:gpt2").models[0]
    assert repr(count) == "<ModelParameters 'preset:gpt2': 124,439,808 parameters>"
    compared = attncli.compare("mole", MOLES, reference=[])
    assert "occurrences=<4 Occurrence>" in repr(compared) and "similarity=<float64 (4, 4)>" in repr(compared.states[-1])


def test_the_names_of_the_package() -> None:
    assert attncli.__all__ == dir(attncli) == sorted([*ERRORS, "__version__", "read", *VERBS])
    with pytest.raises(AttributeError, match="has no attribute 'head'"):
        attncli.head  # noqa: B018


def test_an_error_shows_what_mends_it() -> None:
    with pytest.raises(attncli.UsageError) as caught:
        attncli.tokenize("")
    assert isinstance(caught.value, attncli.AttnError)
    assert {*map(attncli.__getattr__, ERRORS)} == {errors.AttnError, *errors.AttnError.__subclasses__()} - {CheckError}
    shown = "".join(traceback.format_exception(caught.value))
    assert shown.endswith("UsageError: the text is empty\nhint: give a text, or token ids with --input-ids\n")


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"top": "5"}, "--top can't be '5': it has to be a whole number of at least 1", "for instance --top 10"),
        ({"bins": 0}, "--bins can't be 0: it has to be a whole number of at least 1", "for instance --bins 64"),
        ({"head": 1.8}, "-H: '1.8' is not a head", 'give a head as a string: "1.8"'),
        ({"head": [0.1]}, "-H: '0.1' is not a head", 'give a head as a string: "0.1"'),
        (
            {"layer": 1.0},
            "-l: '1.0' is not a layer",
            "-l accepts layers from 0 and ranges of them: 3, 0-2,5 or -1 for the last one",
        ),
        ({"seed": "a"}, "--seed can't be 'a': it has to be a whole number of at least 0", "for instance --seed 1"),
    ],
)
def test_a_keyword_of_the_wrong_kind_is_refused(options: dict[str, Any], message: str, hint: str) -> None:
    for text in ("a b", None):
        with pytest.raises(attncli.UsageError) as caught:
            attncli.heads(text, probe=text is None, model=INDUCTION, **options)
        assert (caught.value.message, caught.value.hint) == (message, hint)


@pytest.mark.parametrize("verb", VERBS)
def test_a_signature_shows_no_addresses(verb: str) -> None:
    assert "0x" not in str(inspect.signature(getattr(attncli, verb)))


@pytest.mark.parametrize("kind", DESCRIBED)
def test_every_field_of_a_result_is_described(kind: Any) -> None:
    text, fields = inspect.getdoc(kind) or "", getattr(kind, "_fields", None) or kind.__dataclass_fields__
    assert [name for name in fields if not re.search(rf"\b{name}\b", text)] == []


@pytest.mark.parametrize("verb", VERBS)
def test_a_function_tells_its_types_and_what_it_does(verb: str) -> None:
    function = getattr(attncli, verb)
    signature = inspect.signature(function)
    assert signature.return_annotation == f"{verb.capitalize()}Result"
    assert all(parameter.annotation is not parameter.empty for parameter in signature.parameters.values())
    text = inspect.getdoc(function)
    assert text is not None and "Raises" in text and re.search(rf">>> .*attncli\.{verb}\(", text)
    # Every keyword is spoken of, but for those that all functions share.
    shared = {"revision", "refresh", "trust_remote_code", "allow_pickle", "progress", "sharing", "device", "dtype"}
    assert [name for name in signature.parameters if name not in shared and name not in text] == []


@pytest.mark.parametrize("verb", VERBS)
def test_types_can_be_read_when_the_program_runs(verb: str) -> None:
    function = getattr(attncli, verb)
    hints = typing.get_type_hints(function)
    assert hints.keys() == {*inspect.signature(function).parameters, "return"}
    assert "return" in typing.get_type_hints(hints["return"].to_dict)


@pytest.mark.parametrize("verb", VERBS)
def test_each_keyword_reaches_the_field_of_its_name(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are built by position."""

    def record(*given: Any) -> Any:
        found.update(flat(*(each for each in given if hasattr(each, "_asdict"))))
        return MagicMock()

    found: dict[str, Any] = {}
    work = "open_text_tokenizer" if verb == "tokenize" else f"run_{verb}"
    monkeypatch.setattr(f"attncli.api.{verb}.{work}", record)
    keywords = {name: (name,) for name in inspect.signature(getattr(attncli, verb)).parameters}
    getattr(attncli, verb)(**keywords)
    missing = [name for name, value in keywords.items() if found.get(name) != value]
    texts = ["text", "input_ids", "lines", "vocab"]
    assert missing == {"tokenize": [*texts, "progress"], "heads": ["sharing"], "params": ["progress"]}.get(verb, [])


def test_help_shows_the_functions_though_nothing_was_imported_yet() -> None:
    text = pydoc.render_doc(attncli, renderer=pydoc.plaintext)
    for verb in VERBS:
        assert f"    {verb}(" in text and f"-> '{verb.capitalize()}Result'" in text
