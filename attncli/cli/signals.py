"""Ends the process in order after Ctrl-C or SIGTERM: removes temporary files and exits with the signal's code."""

from __future__ import annotations

import _thread
import signal
import sys
from types import FrameType

from attncli.errors import ExitCode

_CODES = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}
if sys.platform != "win32":
    _CODES[signal.SIGHUP] = ExitCode.HUNG_UP

#: The signals that end the process.
STOPPING = tuple(_CODES)


class Stopped(BaseException):
    """A signal asked the process to end. Not an `Exception`, so that libraries don't catch it."""

    def __init__(self, code: ExitCode) -> None:
        super().__init__(code)
        self.code = code


class Signals:
    """Raises `Stopped` when a signal comes, and keeps it in `stopped` in case a library catches it."""

    def __init__(self) -> None:
        self.stopped: Stopped | None = None

    def install(self) -> None:
        for number in _CODES:
            # A signal that the parent made us ignore (nohup, a shell's background job) stays ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._stop)
        sys.unraisablehook = self._raise_again

    def ignore(self) -> None:
        """Ignore signals while the process exits."""
        for number in _CODES:
            signal.signal(number, signal.SIG_IGN)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopped = Stopped(_CODES[signal.Signals(number)])
        raise self.stopped

    def _raise_again(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Send the signal again if `Stopped` was lost where Python can't raise: in a destructor or an import lock."""
        if isinstance(unraisable.exc_value, Stopped):
            from threading import Timer

            number = next(number for number, code in _CODES.items() if code is unraisable.exc_value.code)
            timer = Timer(0.02, _signal_main_thread, (_thread.get_ident(), number))
            timer.daemon = True
            timer.start()
        else:
            sys.__unraisablehook__(unraisable)


def _signal_main_thread(thread: int, number: int) -> None:
    if sys.platform == "win32":
        _thread.interrupt_main(number)
    else:
        # Unlike interrupt_main, this also wakes a thread that sleeps or waits for the network.
        signal.pthread_kill(thread, number)
