"""Runs of `attn` inside the test's own process, in surroundings that the test makes up."""

from __future__ import annotations

import io
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from attncli.cli.environment import Environment
from attncli.cli.main import run
from tests.cli.samples import heads_result, params_result, tokenize_result
from tests.cli.told import FakeTokenizing
from tests.render.compare_samples import compare_result


class Bytes(io.BytesIO):
    """A stream that may say it is a terminal."""

    def __init__(self, content: bytes = b"", *, terminal: bool = False) -> None:
        super().__init__(content)
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


class Words(io.StringIO):
    """The same for text."""

    def __init__(self, *, terminal: bool = False) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def surroundings(
    *,
    stdin: str | bytes | None = None,
    terminal: bool = False,
    variables: Mapping[str, str] | None = None,
    encoding: str = "utf-8",
    columns: int | None = None,
    windows: bool = False,
    lines: int | None = None,
) -> Environment:
    """stdin None is somebody at a keyboard; `terminal` is what stdout and stderr are."""
    content = stdin.encode() if isinstance(stdin, str) else stdin or b""
    return Environment(
        stdin=Bytes(content, terminal=stdin is None),
        stdout=Bytes(terminal=terminal),
        stderr=Words(terminal=terminal),
        variables=variables or {},
        encoding=encoding,
        columns=columns,
        windows=windows,
        lines=lines,
    )


@dataclass(frozen=True)
class Outcome:
    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def error(self) -> tuple[str, str]:
        """The two lines of an error, less what they begin with; nothing else may have been written."""
        assert self.out == b""
        first, second = self.err.splitlines()
        assert first.startswith("error: ")
        assert second.startswith("hint: ")
        return first.removeprefix("error: "), second.removeprefix("hint: ")


def attn(*arguments: str, **given: Any) -> Outcome:
    """One call of `attn`; the keywords are those of `surroundings`."""
    environment = surroundings(**given)
    code = run(arguments, environment)
    return Outcome(int(code), environment.stdout.getvalue(), environment.stderr.getvalue())  # type: ignore[union-attr]


def flat(*requests: Any) -> dict[str, Any]:
    """The fields of requests, those of requests in them too, by name."""
    fields: dict[str, Any] = {}
    for request in requests:
        for name, value in request._asdict().items():
            fields |= flat(value) if hasattr(value, "_asdict") else {name: value}
    return fields


class Recorder:
    """Stands for the work of a verb: keeps the fields of its requests, and returns or raises its `result`."""

    def __init__(self, result: Any) -> None:
        self.result = result
        self.calls: list[dict[str, Any]] = []
        self.before: Callable[..., None] = lambda **_: None

    def __call__(self, *given: Any) -> Any:
        call = flat(*(each for each in given if hasattr(each, "_asdict")))
        others = [each for each in given if not hasattr(each, "_asdict")]
        self.calls.append({"progress": others[0], **call} if others and "progress" not in call else call)
        self.before(**self.calls[-1])
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result

    @property
    def call(self) -> dict[str, Any]:
        (call,) = self.calls
        return call


def names(folder: Path) -> list[str]:
    """What is in a folder, hidden files too."""
    return sorted(entry.name for entry in folder.iterdir())


class TokenizeRecorder(Recorder):
    """Keeps how the tokenizers were opened, and in `inputs` the text, pair and ids of everything that was cut."""

    tokenizing: FakeTokenizing

    @property
    def inputs(self) -> list[tuple[str, str | None, Any]]:
        return self.tokenizing.inputs

    def __call__(self, *given: Any) -> Any:
        self.tokenizing = FakeTokenizing(super().__call__(*given))
        return nullcontext(self.tokenizing)


@pytest.fixture(scope="session", autouse=True)
def heard_signals() -> Iterator[None]:
    """What tests start ignores no signal: with `&` or nohup, pytest itself is told to ignore some."""
    known = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    ignored = [number for number in known if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture
def tokenize(monkeypatch: pytest.MonkeyPatch) -> TokenizeRecorder:
    recorder = TokenizeRecorder(tokenize_result())
    monkeypatch.setattr("attncli.api.tokenizing.open_text_tokenizer", recorder)
    return recorder


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder(compare_result())
    monkeypatch.setattr("attncli.api.compare.run_compare", recorder)
    return recorder


@pytest.fixture
def heads(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder(heads_result())
    monkeypatch.setattr("attncli.api.heads.run_heads", recorder)
    return recorder


@pytest.fixture
def params(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder(params_result())
    monkeypatch.setattr("attncli.api.params.run_params", recorder)
    return recorder
