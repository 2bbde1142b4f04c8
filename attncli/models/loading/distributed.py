"""Work that several processes share: who takes what, and how they learn what the others found.

Several processes that work on one thing, as torchrun starts them.

They talk through torchrun's key-value store: who failed, and who is done. What they found goes around once, at the
end, through a process group: gloo, or nccl where every process has a GPU of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from time import monotonic, sleep
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from attncli.errors import AttnError, ExitCode, FailedError, reason_of

Part = TypeVar("Part")


class Sharing(Protocol):
    """This process among those that work together. rank: its number.  world: how many there are."""

    @property
    def rank(self) -> int: ...
    @property
    def world(self) -> int: ...

    def own_device(self, wish: str) -> str:
        """The device that this process is to use where the user wishes for `wish`."""
        ...

    def check(self) -> None:
        """Raises what another process failed with, if one did: there is no use in going on."""
        ...

    def gather(self, part: Part) -> list[Part]:
        """What each process found, in the order of their ranks, once all are done. Raises likewise."""
        ...


class Alone:
    """The only process there is."""

    rank, world = 0, 1

    def own_device(self, wish: str) -> str:
        return wish

    def check(self) -> None:
        """Nobody else can fail."""

    def gather(self, part: Part) -> list[Part]:
        return [part]

    def __repr__(self) -> str:
        return "ALONE"


ALONE = Alone()


#: Seconds between two looks for a failure of others, while there is nothing to do but to wait.
_LOOK = 0.5

#: Seconds that a process waits for the others before it ends. The first has said everything to the user by then, who
#: should not have to wait; the others leave it the time to load a model, say, before it hears that one failed.
_PATIENCE_OF_FIRST, _PATIENCE = 10.0, 600.0

_FAILURE = "failure"


class Processes:
    """`attncli.models.loading.distributed.Sharing` among processes that torchrun started.

    local_rank: the number of this process on its machine, which is that of its GPU.
    Raises FailedError where the others can't be reached.
    """

    def __init__(self, rank: int, world: int, local_rank: int) -> None:
        self.rank, self.world = rank, world
        self._local_rank = local_rank
        self._device = "cpu"
        self._gathered = 0
        try:
            store, *_ = next(iter(rendezvous("env://", rank, world)))
        except (dist.DistError, RuntimeError, ValueError, OSError) as error:
            raise _lost(error) from error
        self._store = PrefixStore("attncli", store)

    def own_device(self, wish: str) -> str:
        """The device that this process is to use where the user wishes for `wish`: its own GPU, if it has one."""
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if wish in ("auto", "cuda") and count:
            # Where processes are more than GPUs, some share one, which nccl can't.
            own = torch.device("cuda", self._local_rank % count)
            self._device = "cuda" if self._local_rank < count else "shared"
            torch.cuda.set_device(own)
            return str(own)
        return wish

    def check(self) -> None:
        """Raises what another process failed with."""
        if self._try(lambda: self._store.check([_FAILURE])):
            raise _read_failure(self._try(lambda: self._store.get(_FAILURE)))

    def gather(self, part: Part) -> list[Part]:
        """What each process found, in the order of their ranks. Raises what another failed with, or FailedError."""
        self._gathered += 1
        devices = self._exchange(f"done/{self._gathered}", self._device)
        parts: list[Any] = [None] * self.world
        self._try(lambda: self._all_gather(parts, part, "nccl" if set(devices) == {"cuda"} else "gloo"))
        return parts

    def settle(self) -> None:
        """Wait until all have done everything. Raises what another process failed with."""
        self._exchange("settled", "")

    def tell(self, failure: AttnError) -> None:
        """Let the others know that this process fails. The first failure counts: others follow from it."""
        with suppress(dist.DistError, RuntimeError):
            self._store.compare_set(_FAILURE, "", _written(failure))

    def leave(self) -> None:
        """End when all others end too: where one ends early, torchrun ends the others, whatever they were about to say.

        Not for long, though: others may have ended without a word.
        """
        end = monotonic() + (_PATIENCE_OF_FIRST if self.rank == 0 else _PATIENCE)
        # Who keeps the store may go as soon as all have left; then it can't be asked any more.
        with suppress(dist.DistError, RuntimeError):
            self._store.set(f"left/{self.rank}", "")
            while not self._store.check([f"left/{rank}" for rank in range(self.world)]) and monotonic() < end:
                sleep(_LOOK)
            if dist.is_initialized():
                dist.destroy_process_group()

    def _exchange(self, key: str, value: str) -> list[str]:
        """What each process said under a key, once all have; looks for failures meanwhile."""
        keys = [f"{key}/{rank}" for rank in range(self.world)]
        self._try(lambda: self._store.set(keys[self.rank], value))
        while not self._try(lambda: self._store.check(keys)):
            self.check()
            sleep(_LOOK)
        said: list[bytes] = self._try(lambda: [self._store.get(each) for each in keys])
        return [each.decode() for each in said]

    def _all_gather(self, parts: list[Any], part: object, backend: str) -> None:
        if not dist.is_initialized():
            dist.init_process_group(backend, store=self._store, rank=self.rank, world_size=self.world)
        dist.all_gather_object(parts, part)

    def _try(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except (dist.DistError, RuntimeError) as error:
            raise _lost(error) from error


def _lost(error: BaseException) -> FailedError:
    return FailedError(
        f"the processes that share the texts lost one another: {reason_of(error)}",
        hint="one of them may have run out of memory; torchrun says which ended first",
    )


def _written(failure: AttnError) -> str:
    return json.dumps([failure.message, failure.hint, int(failure.exit_code)])


def _read_failure(content: bytes) -> AttnError:
    message, hint, code = json.loads(content)
    failure = AttnError(message, hint=hint)
    failure.exit_code = ExitCode(code)
    return failure
