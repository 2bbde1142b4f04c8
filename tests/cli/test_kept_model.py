"""The last model is kept, in a second process: commands write the same, and both processes end together."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from attncli.cli.warm.place import is_possible
from tests import tiny
from tests.cli.conftest import attn
from tests.cli.warm_place import INDUCTION, Place, is_alive, kept_warm, wait

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not is_possible() or not Path("/proc/self/task").exists(), reason="no model can be kept here"),
]
IDS = ("--input-ids", "5 6 7 5 6 7", "--json")


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with kept_warm(tmp_path_factory.mktemp("runtime")) as place:
        yield place


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(tmp_path_factory.mktemp("models") / "gpt2", tiny.FAMILIES["gpt2"]())


def writes_the_same(warm: Place, *arguments: str) -> bool:
    found, expected = warm.run(*arguments), attn(*arguments)
    return (found.code, found.out, found.err.decode()) == (expected.code, expected.out, expected.err)


def test_commands_that_use_it_write_the_same(warm: Place, model: Path) -> None:
    state = warm.keep("heads", "-m", str(model), *IDS)
    assert state["model"] == str(model) and state["weight"] > 0
    for more in ((), ("-l", "0"), ("-H", "1.0", "--patterns"), ("-l", "9"), ("--norm-weighted", "-H", "0.1")):
        assert writes_the_same(warm, "heads", "-m", str(model), *IDS, *more)
    # Another command of the same process, and the same model in another way: none of these had to load it whole.
    assert writes_the_same(warm, "tokenize", "the mole")
    assert (warm.state() or {})["holder"] == state["holder"]


def test_status_says_what_is_kept(warm: Place, model: Path) -> None:
    warm.keep("heads", "-m", str(model), *IDS)
    outcome = warm.run("--keep-warm", "status")
    assert outcome.out.splitlines()[1].startswith(f"it holds {model} (".encode())
    assert b"MiB" in outcome.out


def test_another_model_takes_its_place(warm: Place, model: Path) -> None:
    first = warm.keep("heads", "-m", str(model), *IDS)
    assert warm.run(*INDUCTION).code == 0
    assert wait(lambda: (warm.state() or {}).get("model") == "builtin:induction", 60)
    second = warm.state()
    assert second is not None and second["process"] == first["process"]
    assert wait(lambda: not is_alive(first["holder"]))
    assert writes_the_same(warm, *INDUCTION)


def test_changed_weights_are_loaded_again(warm: Place, tmp_path: Path) -> None:
    config = tiny.FAMILIES["gpt2"]()
    folder = tiny.save(tmp_path / "changing", config)
    arguments = ("heads", "-m", str(folder), *IDS)
    warm.keep(*arguments)
    before = warm.run(*arguments).out
    tiny.build(config, seed=1).save_pretrained(folder)
    assert writes_the_same(warm, *arguments)
    assert warm.run(*arguments).out != before


def test_a_command_does_not_change_it_for_the_next(warm: Place, model: Path) -> None:
    warm.keep("heads", "-m", str(model), *IDS)
    first = warm.run("heads", "-m", str(model), *IDS).out
    for more in (("--rollout",), ("-l", "0"), ("--probe",)):
        warm.run("heads", "-m", str(model), *([*more] if "--probe" in more else [*IDS, *more]))
    assert warm.run("heads", "-m", str(model), *IDS).out == first


def test_where_its_process_is_killed_commands_go_on(tmp_path: Path) -> None:
    with kept_warm(tmp_path) as place:
        state = place.keep(*INDUCTION)
        os.kill(state["holder"], signal.SIGKILL)
        assert wait(lambda: (place.state() or {"holder": 0})["holder"] is None)
        assert writes_the_same(place, *INDUCTION)
        after = place.state()
        assert after is not None and (after["process"], after["runs"]) == (state["process"], 2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_the_first_process(number: signal.Signals, tmp_path: Path) -> None:
    with kept_warm(tmp_path) as place:
        state = place.keep(*INDUCTION)
        os.kill(state["process"], number)
        assert wait(lambda: not is_alive(state["holder"]))
        assert place.sockets() == []


def test_both_end_at_the_time_that_was_given(tmp_path: Path) -> None:
    with kept_warm(tmp_path) as place:
        state = place.keep(*INDUCTION)
        assert place.run("--keep-warm", "1s").code == 0
        assert wait(lambda: not is_alive(state["process"]) and not is_alive(state["holder"]))
        assert place.sockets() == []
