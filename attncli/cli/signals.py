"""Ctrl-C and SIGTERM end the process in order: temporary files go, and the exit code says which it was."""

from __future__ import annotations

import _thread
import signal
import sys
from types import FrameType

from attncli.errors import ExitCode

_CODES = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}


class Stopped(BaseException):
    """A signal asked the process to end. Not an `Exception`, so that no library takes it for a failure of its own."""

    def __init__(self, code: ExitCode) -> None:
        super().__init__(code)
        self.code = code


class Signals:
    """Raises `Stopped` when a signal comes, and remembers it for the case that a library swallows that."""

    def __init__(self) -> None:
        self.stopped: Stopped | None = None

    def install(self) -> None:
        for number in _CODES:
            # A parent may have us ignore a signal (nohup, a shell's background job): that stays so.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._stop)
        sys.unraisablehook = self._raise_again

    def ignore(self) -> None:
        """The work is done: a signal that comes while the process winds up changes nothing any more."""
        for number in _CODES:
            signal.signal(number, signal.SIG_IGN)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopped = Stopped(_CODES[signal.Signals(number)])
        raise self.stopped

    def _raise_again(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Python met `Stopped` where it can't raise (a destructor, a callback of its import lock): try again soon."""
        if isinstance(unraisable.exc_value, Stopped):
            from threading import Timer

            number = signal.SIGTERM if unraisable.exc_value.code is ExitCode.TERMINATED else signal.SIGINT
            timer = Timer(0.02, _signal_main_thread, (_thread.get_ident(), number))
            timer.daemon = True
            timer.start()
        else:
            sys.__unraisablehook__(unraisable)


def _signal_main_thread(thread: int, number: int) -> None:
    if sys.platform == "win32":
        _thread.interrupt_main(number)
    else:
        # Unlike the other way, this also wakes a thread that sleeps or waits for the network.
        signal.pthread_kill(thread, number)
