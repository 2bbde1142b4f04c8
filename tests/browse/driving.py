"""Drives the app without a terminal, by Textual's own pilot: keys are pressed one after another, each when all that was
asked for before is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from attncli.api.heads_input import HeadsInput
from attncli.api.loading import ModelLoader
from attncli.api.requests import HeadsOptions
from attncli.browse.app import BrowseApp, Start
from attncli.browse.session import LiveSession, Session
from attncli.browse.thread_work import Outside
from attncli.cli.failures import as_attn_error
from attncli.cli.output import write_file
from attncli.render.common.terminal import ColorDepth, Terminal

TERMINAL = Terminal(color=ColorDepth.TRUE)
COPIES = "abcdefgh abcdefgh"
Act = Callable[[BrowseApp, Any], Awaitable[None]]


def induction(text: str = COPIES, **options: Any) -> LiveSession:
    """The model that attncli ships, on a text."""
    words = ("-m", "builtin:induction")
    return LiveSession(HeadsInput(text), HeadsOptions(**options), ModelLoader("builtin:induction"), words, (text,))


async def settled(app: BrowseApp, pilot: Any) -> None:
    """Wait until nothing is being read."""
    await pilot.pause()
    for _ in range(3000):
        if app._exception is not None:
            raise app._exception
        if app.failure is not None or (app.shown is not None and not app._waited) or app._exit:
            break
        await asyncio.sleep(0.02)
    await pilot.pause()


def drive(
    session: Session,
    *keys: str | Act,
    size: tuple[int, int] = (80, 24),
    start: Start = Start(),  # noqa: B008
    terminal: Terminal = TERMINAL,
    signals: tuple[int, ...] = (),
) -> tuple[BrowseApp, str]:
    """The app and its screen after these keys, or functions that use the pilot."""
    app = BrowseApp(session, terminal, Outside(as_attn_error, _write, signals), start)
    screens = [""]

    async def go() -> None:
        async with app.run_test(size=size) as pilot:
            await settled(app, pilot)
            for key in keys:
                await (pilot.press(key) if isinstance(key, str) else key(app, pilot))
                await settled(app, pilot)
            if not app._exit:
                screens.append(screen_text(app))

    asyncio.run(go())
    return app, screens[-1]


def _write(name: str, result: Any) -> str:
    return write_file(str(Path(name)), result, None)


def screen_text(app: BrowseApp) -> str:
    """What is on the screen, without styles."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


def typed(text: str) -> list[str]:
    """The keys that replace the line that is asked for, and Enter."""
    return ["ctrl+u", *("space" if character == " " else character for character in text), "enter"]
