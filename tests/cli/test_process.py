"""What only a whole process can show: signals, pipes that break, full disks, streams that are closed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import names
from tests.cli.test_messages import screen

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and shells of POSIX")

ROOT = Path(__file__).parents[2]

#: `attn tokenize` with a verb of the test's own, which begins by saying on stdout's file that it runs.
FAKE = """
import os, sys
from contextlib import contextmanager
import attncli.api.tokenizing as verb
from tests.cli.told import FakeTokenizing
def result():
{body}
@contextmanager
def open_text_tokenizer(*args, **options):
    os.write(1, b"running\\n")
    yield FakeTokenizing(result())
verb.open_text_tokenizer = open_text_tokenizer
from attncli.cli.main import main
main()
"""


def start(body: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    code = FAKE.format(body="\n".join(f"    {line}" for line in body.splitlines()))
    process = subprocess.Popen(
        [sys.executable, "-c", code, "tokenize", "hi", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        **options,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"running\n"
    return process


#: The module, and a program of somebody else's that calls the entry point: Python ends in two ways.
ENTRIES = ("-m attncli", "-c 'from attncli.cli import main as cli; cli.main()'")


def shell(command: str, *, entry: str = ENTRIES[0], **variables: str) -> subprocess.CompletedProcess[bytes]:
    """A shell's command line in which `attn` is this interpreter's."""
    script = f'attn() {{ "{sys.executable}" {entry} "$@"; }}; {command}'
    return subprocess.run(
        ["bash", "-c", script], capture_output=True, cwd=ROOT, timeout=60, env={**os.environ, **variables}, check=False
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_run_quietly(number: signal.Signals, code: int) -> None:
    process = start("import time\ntime.sleep(60)")
    process.send_signal(number)
    assert process.communicate(timeout=20) == (b"", b"")
    assert process.returncode == code


SLOW = """
import time
from contextlib import contextmanager
import attncli.api.tokenizing as verb
@contextmanager
def slowly(request, progress):
    progress("loading weights", 1, 2)
    time.sleep(60)
    yield
verb.open_text_tokenizer = slowly
from attncli.cli.main import main
main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_no_progress_on_the_terminal(number: signal.Signals, code: int) -> None:
    import pty

    end, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, "tokenize", "hi"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs, cwd=ROOT, env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    written = b""
    try:
        while b"50%" not in written:
            written += os.read(end, 4096)
        process.send_signal(number)
        with suppress(OSError):  # Linux: the other end is closed
            while more := os.read(end, 4096):
                written += more
        assert process.wait(timeout=20) == code
    finally:
        process.kill()
        os.close(end)
    shown = written.decode()
    assert screen(shown.replace("\r\n", "\n\r")) == []
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


SWALLOWED = """
import time
class Deaf:
    def __del__(self):
        time.sleep(0.5)
        os.write(1, b"deaf\\n")
Deaf()
time.sleep(60)
"""


def test_a_signal_that_python_swallows_in_a_destructor_comes_again() -> None:
    process = start(SWALLOWED)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, b"")


TURNED = """
import time
try:
    os.write(1, b"loading\\n")
    time.sleep(60)
except BaseException:
    raise ImportError("half loaded")
"""


def test_a_signal_that_a_library_turns_into_an_error_is_still_a_signal() -> None:
    process = start(TURNED)
    assert process.stdout is not None
    assert process.stdout.readline() == b"loading\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20) == (b"", b"")
    assert process.returncode == 143


def test_a_signal_while_files_are_written_leaves_none(tmp_path: Path) -> None:
    body = """
import time
from tests.cli.samples import tokenize_result
def slowly(descriptor):
    os.write(1, b"writing\\n")
    time.sleep(60)
os.fsync = slowly
return tokenize_result()
"""
    process = start(body, "-o", str(tmp_path / "x.json"))
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    assert len(names(tmp_path)) == 1
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20) == (b"", b"")
    assert process.returncode == 143
    assert names(tmp_path) == []


def test_an_ignored_signal_stays_ignored() -> None:
    process = start(
        "import time\ntime.sleep(0.5)\nraise KeyError", preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)
    )
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 1


LEAVING = """
import atexit, time
from tests.cli.samples import tokenize_result
def slowly():
    os.write(1, b"leaving\\n")
    time.sleep(0.3)
atexit.register(slowly)
return tokenize_result()
"""


def test_a_signal_after_the_work_changes_nothing() -> None:
    process = start(LEAVING, "--count")
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == [b"3\n", b"leaving\n"]
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20) == (b"", b"")
    assert process.returncode == 0


def test_debug_shows_what_libraries_print_to_the_last_letter() -> None:
    body = 'print("half a line", end="")\nfrom tests.cli.samples import tokenize_result\nreturn tokenize_result()'
    assert start(body, "--count", "--debug").communicate(timeout=20) == (b"3\n", b"half a line")


@pytest.mark.parametrize(
    ("command", "unbuffered", "entry"),
    [
        ("attn --help", "", ENTRIES[0]),
        ("attn --help", "1", ENTRIES[1]),
        ("attn tokenize 'Hello world' --json", "1", ENTRIES[0]),
        ("attn tokenize 'Hello world' --json", "", ENTRIES[1]),
    ],
)
def test_a_broken_pipe_is_quiet(command: str, unbuffered: str, entry: str) -> None:
    # `sleep` lets the reader go first; the status is that of attn.
    done = shell(f"{{ sleep 0.1; {command}; echo $? >&2; }} | true", entry=entry, PYTHONUNBUFFERED=unbuffered)
    assert done.stderr == b"141\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize(("unbuffered", "entry"), [("", ENTRIES[0]), ("1", ENTRIES[1])])
def test_a_full_disk_is_two_lines(unbuffered: str, entry: str) -> None:
    done = shell("attn tokenize 'Hello world' > /dev/full; echo $? >&2", entry=entry, PYTHONUNBUFFERED=unbuffered)
    assert done.stderr.decode() == (
        "error: the result can't be written to stdout: No space left on device\nhint: write the result to a "
        "file with -o FILE\n1\n"
    )


def test_a_closed_stdout_is_two_lines() -> None:
    done = shell("attn tokenize 'Hello world' >&-; echo $? >&2")
    assert done.stderr.decode() == (
        "error: stdout is closed, so the result can't be written\nhint: write the result to a file with -o FILE\n1\n"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("entry", ENTRIES)
def test_a_full_stderr_costs_only_the_messages(entry: str) -> None:
    done = shell("attn tokenize one two --count 2> /dev/full; echo $?", entry=entry)
    assert (done.stdout, done.stderr) == (b"3\n3\n0\n", b"")


def test_closed_streams_that_are_not_needed() -> None:
    done = shell("attn tokenize 'Hello world' --count <&- 2>&-; echo $?")
    assert (done.stdout, done.stderr) == (b"4\n0\n", b"")
    assert shell("attn tokenize <&-").stderr.startswith(b"error: there is no text\n")


def test_arguments_in_broken_utf8() -> None:
    done = shell("attn tokenize $'caf\\xe9'")
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: TEXT is not valid UTF-8: no character begins at byte 3\n")
    done = shell("attn tokenize hi -o $'/no/caf\\xe9.txt'")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 2


def test_a_locale_without_utf8_gets_ascii() -> None:
    done = shell("attn tokenize 'né ⋯'", PYTHONIOENCODING="latin-1")
    assert done.returncode == 0
    assert done.stdout.isascii()
