"""`attn --keep-warm` starts, ends and shows the process that is kept warm; `ATTN_KEEP_WARM` starts it too."""

from __future__ import annotations

import re
import sys
import time
from typing import Any

import click

from attncli.cli.environment import Environment, write_stdout
from attncli.cli.warm import client
from attncli.cli.warm.place import is_possible
from attncli.errors import FailedError, UsageError

#: The variable with a time, which starts the process with the first command that needs torch.
VARIABLE = "ATTN_KEEP_WARM"
_TIME = re.compile(r"(?:(\d{1,4})h)?(?:(\d{1,4})m)?(?:(\d{1,6})s)?")
_HINT = "write a time, as in --keep-warm 10m (s, m, h), or off, or status"
#: Seconds that importing torch may take.
_PATIENCE = 120.0


def parse_time(text: str, where: str) -> float:
    """Seconds: `10m`, `90s`, `1h30m`. Raises UsageError."""
    match = _TIME.fullmatch(text.strip())
    hours, minutes, seconds = (int(part or 0) for part in (match.groups() if match else ("", "", "")))
    total = 3600 * hours + 60 * minutes + seconds
    if total <= 0:
        raise UsageError(f"{where}: {text!r} is not a time", hint=_HINT)
    return float(total)


def keep_warm(ctx: click.Context, _: click.Parameter, given: str | None) -> None:
    """The option: does what it says and ends the command."""
    if given is None or ctx.resilient_parsing:
        return
    if not is_possible():
        message = "no process can be kept warm here: the system can't fork one"
        raise FailedError(message, hint="every command works without it")
    write_stdout(ctx.obj, f"{_act(given)}\n")
    ctx.exit()


def _act(given: str) -> str:
    if given == "off":
        return "nothing was kept warm" if client.ask({"do": "end"}) is None else "ended"
    if given == "status":
        state = client.ask({"do": "status"})
        return "nothing is kept warm" if state is None else _described(state)
    seconds = parse_time(given, "--keep-warm")
    state = client.ask({"do": "keep", "seconds": seconds})
    if state is None:
        client.start(seconds)
        state = _wait()
    return _described(state)


def _wait() -> dict[str, Any]:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        if (state := client.ask({"do": "status"})) is not None:
            return state
        time.sleep(0.05)
    raise FailedError("the process to keep warm did not start", hint="every command works without it")


def _described(state: dict[str, Any]) -> str:
    left = max(state["seconds"] - state["idle"], 0.0)
    runs = f"{state['runs']:,} command{'' if state['runs'] == 1 else 's'}"
    said = f"process {state['process']} is kept warm for {_written(left)} more; {runs} so far (--keep-warm off ends it)"
    if state["model"] is None:
        return said
    return f"{said}\nit holds {state['model']} ({state['weight'] / 2**20:,.0f} MiB), for commands that use it again"


def _written(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{number}{unit}" for number, unit in ((hours, "h"), (minutes, "m"), (rest, "s")) if number]
    return "".join(parts) or "0s"


def start_if_wanted(environment: Environment) -> None:
    """After a command that imported torch: start the process if `ATTN_KEEP_WARM` says so and there is none."""
    given = environment.variables.get(VARIABLE)
    if given and "torch" in sys.modules and is_possible() and client.ask({"do": "status"}) is None:
        client.start(parse_time(given, VARIABLE))
