"""Several processes, started by torchrun, that share the texts of one command.

They use torchrun's key-value store to report failures and completion. Their results are exchanged once, at the end,
through a torch process group: nccl if every process has its own GPU, or else gloo. torch is imported when there are
several processes; its `DistError` is a RuntimeError.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from time import monotonic, sleep
from typing import Any, TypeVar

from attncli.errors import AttnError, ExitCode, FailedError, reason_of

Part = TypeVar("Part")


class Communicator:
    """This process's view of the processes that work together; here it is the only one.

    rank: its number.  world: the number of processes.
    """

    rank, world = 0, 1

    def pick_device(self, requested: str) -> str:
        """The device of this process for the user's `--device`."""
        return requested

    def check(self) -> None:
        """Raise the error with which another process failed, if one did."""

    def gather(self, part: Part) -> list[Part]:
        """The parts of all processes by rank, once all are done. Raises as `check`."""
        return [part]

    def __repr__(self) -> str:
        return "SINGLE_PROCESS" if self.world == 1 else f"{type(self).__name__}({self.rank}, {self.world})"


#: The communicator of a command that runs in one process.
SINGLE_PROCESS = Communicator()


#: Seconds between two checks for failures while waiting.
_POLL_SECONDS = 0.5

#: Seconds that a process waits for the others before it ends. The first process has printed everything by then, so it
#: waits only briefly; the others wait until it has noticed a failure, which may take as long as loading a model.
_FIRST_WAIT_SECONDS, _WAIT_SECONDS = 10.0, 600.0

_FAILURE_KEY = "failure"


class TorchrunProcesses(Communicator):
    """The communicator of processes that torchrun started.

    local_rank: the number of this process on its machine, which is also that of its GPU.
    Raises FailedError if the other processes can't be reached.
    """

    def __init__(self, rank: int, world: int, local_rank: int) -> None:
        from torch.distributed.distributed_c10d import PrefixStore
        from torch.distributed.rendezvous import rendezvous

        self.rank, self.world = rank, world
        self._local_rank = local_rank
        self._device = "cpu"
        self._gathered = 0
        try:
            store, *_ = next(iter(rendezvous("env://", rank, world)))
        except (RuntimeError, ValueError, OSError) as error:
            raise _connection_lost_error(error) from error
        self._store = PrefixStore("attncli", store)

    def pick_device(self, requested: str) -> str:
        """The device of this process for the user's `--device`: its own GPU, if there is one."""
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if requested in ("auto", "cuda") and count:
            # If there are more processes than GPUs, some share one, which nccl doesn't support.
            device = torch.device("cuda", self._local_rank % count)
            self._device = "cuda" if self._local_rank < count else "shared"
            torch.cuda.set_device(device)
            return str(device)
        return requested

    def check(self) -> None:
        """Raise the error with which another process failed, if one did."""
        if self._try(lambda: self._store.check([_FAILURE_KEY])):
            message, hint, code = json.loads(self._try(lambda: self._store.get(_FAILURE_KEY)))
            failure = AttnError(message, hint=hint)
            failure.exit_code = ExitCode(code)
            raise failure

    def gather(self, part: Part) -> list[Part]:
        """The parts of all processes by rank. Raises as `check`, or FailedError if the connection is lost."""
        import torch.distributed as dist

        self._gathered += 1
        devices = self._exchange(f"done/{self._gathered}", self._device)
        backend = "nccl" if set(devices) == {"cuda"} else "gloo"
        parts: list[Any] = [None] * self.world

        def gather_all() -> None:
            if not dist.is_initialized():
                dist.init_process_group(backend, store=self._store, rank=self.rank, world_size=self.world)
            dist.all_gather_object(parts, part)

        self._try(gather_all)
        return parts

    def wait_for_all(self) -> None:
        """Wait until all processes are done. Raises as `check`."""
        self._exchange("settled", "")

    def report_failure(self, failure: AttnError) -> None:
        """Report an error to the other processes. Only the first counts, as it causes the others."""
        with suppress(RuntimeError):
            content = json.dumps([failure.message, failure.hint, int(failure.exit_code)])
            self._store.compare_set(_FAILURE_KEY, "", content)

    def close(self) -> None:
        """Wait for the other processes before ending: when one ends early, torchrun kills the others before they can
        print their errors.

        The wait is limited, as the others may have crashed.
        """
        import torch.distributed as dist

        end = monotonic() + (_FIRST_WAIT_SECONDS if self.rank == 0 else _WAIT_SECONDS)
        # The process that hosts the store may end as soon as all have left; errors are ignored then.
        with suppress(RuntimeError):
            self._store.set(f"left/{self.rank}", "")
            while not self._store.check([f"left/{rank}" for rank in range(self.world)]) and monotonic() < end:
                sleep(_POLL_SECONDS)
            if dist.is_initialized():
                dist.destroy_process_group()

    def _exchange(self, key: str, value: str) -> list[str]:
        """The values of all processes for a key, once all have set it; checks for failures meanwhile."""
        keys = [f"{key}/{rank}" for rank in range(self.world)]
        self._try(lambda: self._store.set(keys[self.rank], value))
        while not self._try(lambda: self._store.check(keys)):
            self.check()
            sleep(_POLL_SECONDS)
        values: list[bytes] = self._try(lambda: [self._store.get(each) for each in keys])
        return [each.decode() for each in values]

    def _try(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except RuntimeError as error:
            raise _connection_lost_error(error) from error


def _connection_lost_error(error: BaseException) -> FailedError:
    return FailedError(
        f"the processes that share the texts lost connection: {reason_of(error)}",
        hint="one of them may have run out of memory; torchrun tells which one ended first",
    )
