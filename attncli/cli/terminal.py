"""Options and surroundings -> the `Terminal` that a renderer is told about."""

from __future__ import annotations

from attncli.cli.environment import Environment
from attncli.render.common.terminal import ColorDepth, Terminal

DEFAULT_WIDTH = 80
MAX_WIDTH = 10_000

#: What FORCE_COLOR's numbers mean, by an old convention. 1 is also how people say «colours, please», and then the
#: environment says which.
_FORCED = {"2": ColorDepth.EIGHT_BIT, "3": ColorDepth.TRUE}

#: Set by the terminals of Windows that understand escape sequences; its old console shows them as rubbish.
_WINDOWS_TERMINALS = ("WT_SESSION", "ConEmuANSI", "ANSICON", "TERM_PROGRAM", "TERM")


def choose_terminal(environment: Environment, *, color: str, width: int | None, ascii_only: bool) -> Terminal:
    """How text for stdout may look. `color` is `auto`, `always` or `never`."""
    return Terminal(
        width=choose_width(environment, width),
        color=choose_color(environment, color),
        unicode=environment.takes_unicode and not ascii_only,
    )


def choose_width(environment: Environment, width: int | None) -> int:
    """`--width`, else COLUMNS, else the terminal's own, else 80."""
    if width is not None:
        return width
    columns = environment.variables.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and len(columns) < 6 and int(columns) > 0:
        return min(int(columns), MAX_WIDTH)
    return environment.columns or DEFAULT_WIDTH


def choose_color(environment: Environment, color: str) -> ColorDepth:
    """`--color`, else NO_COLOR, else FORCE_COLOR, else TERM=dumb, else whether stdout is a terminal."""
    variables = environment.variables
    if color == "always":
        return _depth(environment)
    if color == "never" or variables.get("NO_COLOR"):
        return ColorDepth.NONE
    if forced := variables.get("FORCE_COLOR"):
        return ColorDepth.NONE if forced in ("0", "false") else _depth(environment)
    if variables.get("TERM") == "dumb" or not environment.shows_output:
        return ColorDepth.NONE
    if environment.windows and not any(variables.get(name) for name in _WINDOWS_TERMINALS):
        return ColorDepth.NONE
    return _depth(environment)


def _depth(environment: Environment) -> ColorDepth:
    variables = environment.variables
    if forced := _FORCED.get(variables.get("FORCE_COLOR", "")):
        return forced
    if variables.get("COLORTERM", "").lower() in ("truecolor", "24bit") or variables.get("WT_SESSION"):
        return ColorDepth.TRUE
    term = variables.get("TERM", "")
    if term.endswith("-direct"):
        return ColorDepth.TRUE
    return ColorDepth.EIGHT_BIT if "256color" in term else ColorDepth.ANSI
