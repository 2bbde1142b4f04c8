"""The sweep: our patterns against transformers' own, for every model type that reads text.

    python -m tests.attention.sweep [--deferred] [model types]

Each type is built tiny from its default configuration with random weights, in a process of its own limits, and looked
into by the same calls as `attncli.heads`, alone and in a padded batch. With `--deferred` each begins where imports are
put off (`models/loading/deferred_imports.py`), as in a command; the outcome says where the real modules were asked for.
"""

from __future__ import annotations

import collections
import inspect
import logging
import multiprocessing
import os
import pickle
import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from attncli.models.loading import deferred_imports

SECONDS, BYTES = 90, 10 << 30
#: Of the weights, where the usual ones tell nothing.
GAINS = {"differs": (1.0,), "nearly even": (6.0, 20.0)}
#: How often a configuration is mended by what an error says.
REPAIRS = 4
#: Parameters of a model beyond which it isn't built.
ELEMENTS = 300_000_000
NO_TEXT = "reads no text"
#: Outcomes after which another form is tried, the most telling last.
SHORT_OF_AN_ANSWER = ("cannot be built", "cannot be run", "cannot be run padded", "no attention")
#: Outcomes that are a defect of ours.
DEFECTS = ("differs", "refused", "fails")
#: The largest weight of a row over the mean one: a reference below this says too little.
PEAK = 1.5
#: Longer than every window that the shrinker leaves, and of another length than any width.
TEXTS = [[23, 47, 31, 59, 23, 47, 67, 31, 71, 83, 41], [37, 53, 61, 37, 53, 79, 43]]
TARGETS = [[29, 73, 19, 29, 89, 17], [13, 97, 11, 13, 19, 17]]


@dataclass(frozen=True)
class Outcome:
    """What became of a model type. kind: a heading of the table; detail: the deviation, or why."""

    model_type: str
    kind: str
    detail: str


def sweep(model_types: Sequence[str], processes: int = 2, *, deferred: bool = False) -> Iterator[Outcome]:
    """Try every type, several at a time, each within its limits of time and memory."""
    waiting, running = list(reversed(model_types)), []
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                running.append(_Worker(deferred))
            for worker in running:
                if worker.model_type is None and waiting:
                    worker.begin(waiting.pop())
            ready = wait([worker.connection for worker in running], timeout=SECONDS * 1.5)
            for worker in [worker for worker in running if not ready or worker.connection in ready]:
                yield worker.outcome(answered=bool(ready))
            running = [worker for worker in running if not worker.ended and (worker.model_type or waiting)]
    finally:
        for worker in running:
            worker.end()


class _Worker:
    """A process that examines one type after another."""

    def __init__(self, deferred: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, deferred), daemon=True)
        self.process.start()
        theirs.close()
        self.model_type: str | None = None
        self.ended = False

    def begin(self, model_type: str) -> None:
        self.model_type = model_type
        self.connection.send(model_type)

    def outcome(self, *, answered: bool) -> Outcome:
        model_type, self.model_type = self.model_type, None
        try:
            if answered:
                return self.connection.recv()
            why = f"no answer within {SECONDS} seconds"
        except EOFError:
            why = "its process ended"
        self.end()
        return Outcome(model_type, "cannot be run", why)

    def end(self) -> None:
        self.ended = True
        self.process.kill()


class CannotError(Exception):
    """transformers itself can't build or run a model; its cause says why."""


class _OutOfTimeError(BaseException):
    pass


def _ring(*_: object) -> None:
    raise _OutOfTimeError


def _work(connection: Connection, deferred: bool) -> None:
    if deferred:
        deferred_imports.defer_imports()
    import torch

    torch.set_num_threads(1)
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    warnings.filterwarnings("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    signal.signal(signal.SIGALRM, _ring)
    import transformers
    from transformers import BertModel  # noqa: F401 (imports most of it)

    transformers.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    while True:
        try:
            model_type = connection.recv()
        except EOFError:
            return
        connection.send((_examine_forked if deferred else _examine_in_time)(model_type))


def _examine_in_time(model_type: str) -> Outcome:
    signal.alarm(SECONDS)
    try:
        return examine(model_type)
    except _OutOfTimeError:
        return Outcome(model_type, "cannot be run", f"more than {SECONDS} seconds")
    finally:
        signal.alarm(0)


def _examine_forked(model_type: str) -> Outcome:
    """The outcome in a process of its own, so that the next type finds imports put off as well."""
    ours, theirs = os.pipe()
    process = os.fork()
    if process == 0:
        outcome = _examine_in_time(model_type)
        if not any(isinstance(module, deferred_imports.StandIn) for module in sys.modules.values()):
            outcome = replace(outcome, detail=f"{outcome.detail} (asks for the real modules)")
        os.write(theirs, pickle.dumps(outcome))
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as file:
        content = file.read()
    os.waitpid(process, 0)
    return pickle.loads(content) if content else Outcome(model_type, "fails", "the process ended")


def model_types() -> list[str]:
    """Every model type for which transformers has a base model."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    return sorted(set(CONFIG_MAPPING_NAMES) & set(MODEL_MAPPING_NAMES))


def base_class(model_type: str) -> Any:
    """The class of the base model of a type, as the package chooses it."""
    from transformers import CONFIG_MAPPING, AutoModel

    cls = AutoModel._model_mapping[CONFIG_MAPPING[model_type]]
    return cls[0] if isinstance(cls, tuple | list) else cls


def examine(model_type: str) -> Outcome:
    """Build, run and compare one type, in the first form in which transformers itself can run it."""
    from tests.attention.shrink import FORMS

    try:
        if "input_ids" not in inspect.signature(base_class(model_type).forward).parameters:
            return Outcome(model_type, NO_TEXT, base_class(model_type).main_input_name)
    except Exception as error:  # whatever transformers raises is an answer here
        return Outcome(model_type, "cannot be built", _error_text(error))
    outcomes = []
    for form in FORMS:
        outcomes.append(_examined(model_type, form))
        # A form of a hybrid may have no attention where another has.
        if outcomes[-1].kind not in SHORT_OF_AN_ANSWER:
            return outcomes[-1]
    return max(outcomes, key=lambda outcome: SHORT_OF_AN_ANSWER.index(outcome.kind))


def _examined(model_type: str, form: Any) -> Outcome:
    """One type in one form, mended as long as what goes wrong says how."""
    from tests.attention.shrink import default_config, repaired, shrunk

    try:
        config = shrunk(default_config(model_type), form)
    except Exception as error:
        return Outcome(model_type, "cannot be built", _error_text(error))
    for _ in range(REPAIRS):
        try:
            return _compared_at_gains(model_type, config)
        except CannotError as error:
            outcome = Outcome(model_type, str(error), _error_text(error.__cause__))
            config = repaired(config, error.__cause__)
            if config is None:
                return outcome
    return outcome


def _compared_at_gains(model_type: str, config: Any) -> Outcome:
    """Rounding grows with the weights, and even attention says nothing: there, other weights tell."""
    outcome = _compared(model_type, _built(model_type, config))
    for gain in GAINS.get(outcome.kind, ()):
        other = _compared(model_type, _built(model_type, config, gain))
        outcome = other if other.kind == "agrees" else outcome
    return outcome


def _built(model_type: str, config: Any, gain: float = 1.5) -> Any:
    import torch

    from tests.attention.shrink import spread_weights

    try:
        with torch.device("meta"):
            elements = sum(each.numel() for each in base_class(model_type)._from_config(config).parameters())
    except Exception:  # some can't be built without memory
        elements = 0
    if elements > ELEMENTS:
        raise CannotError("cannot be built") from MemoryError(f"{elements:,} parameters")
    try:
        model = base_class(model_type)._from_config(config, attn_implementation="eager").eval()
    except Exception as error:
        raise CannotError("cannot be built") from error
    spread_weights(model, gain)
    return model


def _compared(model_type: str, model: Any) -> Outcome:
    """One text, and then a padded batch of two."""
    import torch

    from attncli.errors import AttnError
    from attncli.models.loading.loaded_model import wrap_model
    from tests.attention import transformers_reference as theirs

    loaded = wrap_model(model, model_type)
    found = []
    for texts in (TEXTS[:1], TEXTS):
        inputs = None
        try:
            inputs = theirs.inputs_for(loaded, texts, TARGETS)
            torch.manual_seed(0)  # some draw what they begin with
            reference = theirs.reference(model, inputs)
        except theirs.NoAttentionError as error:
            return Outcome(model_type, "reference is no attention", f"{error}; ours: {_ours(loaded, inputs)}")
        except Exception as error:
            raise CannotError("cannot be run padded" if found else "cannot be run") from error
        if not reference.fields:
            ours = _ours(loaded, inputs)
            return Outcome(model_type, "no attention" if "no attention" in ours else "no reference", ours)
        try:
            torch.manual_seed(0)
            found.append(theirs.compare(loaded, inputs, reference))
        except AttnError as error:
            return Outcome(model_type, "refused", str(error))
        except Exception as error:
            return Outcome(model_type, "fails", _error_text(error))
    return Outcome(model_type, *_judged(found, theirs.peak(reference), theirs.TOLERANCE))


def _judged(found: Sequence[Any], peak: float, tolerance: float) -> tuple[str, str]:
    deviations = " ".join(f"{agreement.deviation:.1e}" for agreement in found)
    detail = f"{deviations} ({'; '.join(found[-1].remarks)}; peak {peak:.1f})"
    if max(agreement.deviation for agreement in found) > tolerance:
        return "differs", detail
    if max(agreement.states for agreement in found) > tolerance:
        return "differs", f"{detail} last states by {max(agreement.states for agreement in found):.1e}"
    return ("agrees" if peak > PEAK else "nearly even"), detail


def _ours(loaded: Any, inputs: Any) -> str:
    from attncli.attention.selection import HeadsRequest
    from attncli.errors import AttnError
    from tests.tiny import read_heads_of_each

    try:
        stacks = read_heads_of_each(loaded, inputs, HeadsRequest(patterns=True))[0]
    except AttnError as error:
        return f"{error} ({error.hint})"
    except Exception as error:
        return "fails: " + _error_text(error)
    return ", ".join(f"{stack.stack} {len(stack.patterns)} patterns" for stack in stacks)


def _error_text(error: BaseException) -> str:
    words = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if "/models/" in frame.filename]
    return f"{words} ({Path(places[-1].filename).name}:{places[-1].lineno})" if places else words


def main(arguments: Sequence[str]) -> int:
    named = [each for each in arguments if each != "--deferred"]
    outcomes = []
    for outcome in sweep(named or model_types(), deferred="--deferred" in arguments):
        if outcome.kind != NO_TEXT or named:
            outcomes.append(outcome)
            print(f"{outcome.model_type:34} {outcome.kind:26} {outcome.detail}", flush=True)
    print()
    for kind, count in collections.Counter(outcome.kind for outcome in outcomes).most_common():
        print(f"{count:5} {kind}")
    return int(any(outcome.kind in DEFECTS for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
