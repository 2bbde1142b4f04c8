"""Where the app draws, and where its keys come from: streams that the command line has opened."""

from __future__ import annotations

import os
from typing import Any, TextIO

from textual.app import App
from textual.driver import Driver


def terminal_driver(stream: TextIO, keys: int) -> type[Driver]:
    """A driver that draws on a stream and reads keys from a file descriptor. Both are a terminal."""
    from textual.drivers.linux_driver import LinuxDriver

    class TerminalDriver(LinuxDriver):
        """Textual's own, on other streams than those of the process: text may come from stdin."""

        def __init__(self, app: App[Any], **options: Any) -> None:
            super().__init__(app, **options)
            self._file, self.fileno, self.input_tty = stream, keys, True

        def _get_terminal_size(self) -> tuple[int, int]:
            # That of stdout may be a file's, and $COLUMNS is about the text that goes there.
            columns, lines = os.get_terminal_size(stream.fileno())
            return columns or 80, lines or 24

    return TerminalDriver
