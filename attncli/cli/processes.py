"""One process of several that torchrun started: they share the work, and the first alone speaks and writes."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

from attncli.cli.environment import Environment

if TYPE_CHECKING:
    from attncli.models.loading.distributed import Sharing


def shared(callback: Callable[..., None]) -> Callable[..., None]:
    """A verb's callback that gets the other processes as `sharing`, and fails where one of them fails."""

    @wraps(callback)
    def call(environment: Environment, **values: Any) -> None:
        with _together(environment) as sharing:
            callback(environment, sharing=sharing, **values)

    return call


@contextmanager
def _together(environment: Environment) -> Iterator[Sharing]:
    if environment.processes.world == 1:
        from attncli.models.loading.distributed import ALONE

        yield ALONE
        return
    from attncli.cli.failures import as_attn_error
    from attncli.models.loading.distributed import Processes

    processes = Processes(*environment.processes)
    # After everything is said and written: see there.
    atexit.register(processes.leave)
    try:
        yield processes
    except Exception as error:
        processes.tell(as_attn_error(error))
        raise
    processes.settle()
