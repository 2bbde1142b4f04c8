"""A result that was saved as JSON shows itself as the command did that saved it: text, page and figure, to the byte."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.golden.attn import run_attn, shown_again
from tests.golden.commands import COMMANDS
from tests.golden.ring import absent, inside

HEADS = (
    "overview/bert", "overview/sinks", "overview/threshold", "layer/several", "head/cross", "head/words", "head/lines",
    "head/bins", "head/slices", "head/hide-special", "head/norm-weighted", "head/pair", "head/half-precision",
    "position/query-causal", "position/query-line", "position/query-cross", "position/unseen", "metric/virtual-sink",
    "difference/texts-metric", "difference/models-query", "many/lines", "many/probe-metric", "written/generate-t5",
    "written/pair", "picture/vit-key", "picture/caption", "picture/vit-metric", "families/hybrid", "sound/whisper-key",
    "check/fails",
)  # fmt: skip
DRAWN = (
    "heads/overview/encoder-decoder", "heads/layer/one", "heads/head/rollout", "heads/position/query-word",
    "heads/position/query-key-top", "heads/metric/first", "heads/difference/texts-head", "heads/difference/models",
    "heads/picture/vit-query", "compare/measure/abtt", "compare/measure/states-all",
)  # fmt: skip
COMPARE = ("words/pieces", "words/versus", "measure/states", "measure/dimensions")
PARAMS = (
    "one/deepseek", "one/whisper", "one/clip", "by/layer", "by/module", "by/tensor", "what-if/set", "what-if/fit-two",
    "what-if/context-beyond", "what-if/training-lora", "several/three", "headers/quantized", "headers/adapter",
    "forms/presets", "check/fails",
)  # fmt: skip
TOKENIZE = (
    "picture/pair", "picture/unigram", "picture/bytes", "picture/input-ids", "compared/two", "stats/one",
    "why/word-piece", "why/bpe", "why/unigram", "lint/odd", "lint/unknown", "vocab/search", "vocab/two",
    "chat/prompt",
)  # fmt: skip
#: Names of commands, and the forms that are compared.
SAMPLE = {
    **{f"heads/{name}": "text html" for name in HEADS},
    **{f"heads/steps/{name}": "text" for name in ("rotary", "sink", "cross", "softcap")},
    **dict.fromkeys(DRAWN, "text html svg"),
    **{f"compare/{name}": "text html" for name in COMPARE},
    **{f"params/{name}": "text html" for name in PARAMS},
    **{f"tokenize/{name}": "text html" for name in TOKENIZE},
}
#: Options of commands whose results have no patterns.
_WITHOUT_PATTERNS = {"--lines", "--probe", "--steps"}
#: Options with a value that choose another form.
_FORM_OPTIONS = {"--width", "--color", "--format", "-o"}


@pytest.mark.parametrize("name", SAMPLE)
def test_a_saved_result_shows_what_the_command_showed(name: str, samples: Path) -> None:
    command = COMMANDS[name]
    if reason := absent(command._replace(draws="svg" in SAMPLE[name])):
        pytest.skip(reason)
    endings = {form: form.replace("text", "txt") for form in SAMPLE[name].split()}
    with inside(samples):
        files = ["out.json", *(f"out.{ending}" for ending in endings.values())]
        words = [*_without_form(shlex.split(command.line)[1:]), "--width", "80"]
        if words[0] == "heads" and _WITHOUT_PATTERNS.isdisjoint(words):
            words.append("--patterns")
        try:
            outcome = run_attn(
                [*words, *(word for file in files for word in ("-o", file))], variables=command.variables
            )
            assert outcome.code in (0, 4), outcome.err
            for form, ending in endings.items():
                assert shown_again(Path("out.json"), form) == Path(f"out.{ending}").read_text("utf-8")
        finally:
            for file in files:
                Path(file).unlink(missing_ok=True)


def _without_form(words: list[str]) -> list[str]:
    """The words of a command without those that choose a form."""
    left_out = {"--json", "--ascii"}
    after = {index + 1 for index, word in enumerate(words) if word in _FORM_OPTIONS}
    return [word for index, word in enumerate(words) if index not in after and word not in (*_FORM_OPTIONS, *left_out)]
