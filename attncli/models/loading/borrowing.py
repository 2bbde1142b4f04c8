"""A loaded model is borrowed for a run: one thread at a time, and afterwards it is as it was (`borrow`).

The module may be the user's own. A run sets its attention implementation, hooks and evaluation mode, and some models
change themselves as they run: BigBird drops its sparse attention at the first short text. All of that is undone on
every way out. `unwrap` takes a model out of the wrappers for training and compiling.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from operator import is_
from threading import RLock
from typing import Any
from weakref import WeakValueDictionary

from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from attncli.errors import ModelError
from attncli.models.loading.plain_torch import plain_torch


@contextmanager
def borrow(module: nn.Module) -> Iterator[None]:
    """Exclusive use of a module in the body: in evaluation mode (no dropout), uncompiled, without gradients and without
    autocast, so that its numbers are those of its own format.

    Other threads that borrow it, or a model that shares a part or a configuration with it, wait. Attributes,
    submodules, hooks and configurations are restored afterwards; a tensor that the model changes in place is not.
    """
    with ExitStack() as stack:
        parts, configs = list(module.modules()), model_configs(module)
        with _REGISTRY:
            # In an order that is the same for all threads, so that none waits for another in turn.
            numbers = sorted({id(part) for part in (*parts, *configs)})
            locks = [_LOCKS.setdefault(number, RLock()) for number in numbers]
        for lock in locks:
            stack.enter_context(lock)
        stack.enter_context(_restored([*parts, *configs]))
        stack.enter_context(plain_torch())
        for part in parts:
            vars(part)["training"] = False
            _use_uncompiled_forward(part)
        yield


def model_configs(model: nn.Module) -> list[PreTrainedConfig]:
    """Every configuration that a module of the model holds, each once."""
    held = (getattr(module, "config", None) for module in model.modules())
    configs = {id(config): config for config in held if isinstance(config, PreTrainedConfig)}
    for config in list(configs.values()):
        for name in config.sub_configs:
            if (nested := getattr(config, name, None)) is not None:
                configs.setdefault(id(nested), nested)
    return list(configs.values())


# --- Wrappers around a model


def unwrap(module: nn.Module) -> nn.Module:
    """The model inside torch.compile's and the parallel wrappers; any other object is returned unchanged.

    So is a `peft.PeftModel`, which runs the model itself. Raises ModelError for a wrapper that can't be run as it is.
    """
    is_wrapper = isinstance(module, nn.Module) and not isinstance(module, PreTrainedModel)
    if not is_wrapper:
        return module
    _refuse_acting_wrapper(module)
    parallel = isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel)
    # torch.compile keeps the model in `_orig_mod`.
    inner: nn.Module | None = module.module if parallel else getattr(module, "_orig_mod", None)  # type: ignore[assignment]
    return module if inner is None else unwrap(inner)


#: peft's types of adapters that choose among several for each input, before the model runs.
_CHOOSING_ADAPTERS = frozenset({"XLORA", "POLY"})


def is_peft_model(wrapper: nn.Module) -> bool:
    """Whether it is a `peft.PeftModel`, without importing peft."""
    return hasattr(wrapper, "peft_config") and hasattr(wrapper, "get_base_model")


def _refuse_acting_wrapper(wrapper: Any) -> None:
    name = type(wrapper).__name__
    if "FullyShardedDataParallel" in name:
        raise ModelError(
            f"the weights of this model are distributed over processes by {name}",
            hint=f"pass the model inside, model.module, within {name}.summon_full_params(model)",
        )
    for adapter in wrapper.active_adapters if is_peft_model(wrapper) else ():
        config = wrapper.peft_config[adapter]
        kind = str(getattr(config.peft_type, "value", config.peft_type))
        if kind in _CHOOSING_ADAPTERS:
            raise ModelError(
                f"the adapter {adapter!r} of this {name} ({kind}) chooses among several adapters for each input, which "
                "is not supported",
                hint="pass the model without it: model.get_base_model()",
            )


def refuse_without_numbers(module: nn.Module, name: str) -> None:
    """Raise ModelError for a model on the meta device, unless accelerate brings its weights from there for a run."""
    offloaded = any(hasattr(part, "_hf_hook") for part in module.modules())
    if not offloaded and any(tensor.is_meta for tensor in module.parameters()):
        raise ModelError(
            f"the weights of {name} are on the meta device, which has shapes but no values",
            hint="load the weights, or pass the model's name or path as model=",
        )


# --- Locks

#: The locks of the objects that are in use, by their ids. A lock is gone when nothing uses it, and before its object.
_LOCKS: WeakValueDictionary[int, Any] = WeakValueDictionary()
_REGISTRY = RLock()


# --- Restoring

#: Parameters belong to whoever keeps the weights elsewhere between runs (accelerate, FSDP): attn never changes them.
_PARAMETERS = "_parameters"


@contextmanager
def _restored(parts: Iterable[object]) -> Iterator[None]:
    """Restore the attributes of modules and configurations afterwards, and what is in the dictionaries among them:
    hooks, submodules, buffers."""
    before = [(vars(part), vars(part).copy()) for part in parts]
    inner = [
        value
        for _, attributes in before
        for name, value in attributes.items()
        if isinstance(value, dict) and name != _PARAMETERS
    ]
    # Nearly all are empty: no copies are made of these, as this goes through thousands at every run.
    contents, empty = [(each, dict(each)) for each in inner if each], [each for each in inner if not each]
    try:
        yield
    finally:
        for now, saved in before:
            if not _is_same(now, saved):
                _restore_attributes(now, saved)
        for now, saved in contents:
            if not _is_same(now, saved):
                now.clear()
                now.update(saved)
        for each in empty:
            each.clear()


def _is_same(now: dict[Any, Any], saved: dict[Any, Any]) -> bool:
    same_names = len(now) == len(saved) and all(map(is_, now, saved))
    return same_names and all(map(is_, now.values(), saved.values()))


def _restore_attributes(now: dict[str, Any], saved: dict[str, Any]) -> None:
    for name in [name for name in now if name not in saved and not _is_weight(now[name])]:
        del now[name]
    # What is the same isn't touched, as another thread may be reading it.
    changed = {name: value for name, value in saved.items() if name not in now or now[name] is not value}
    now.update({name: value for name, value in changed.items() if not _is_weight(value)})


def _is_weight(value: object) -> bool:
    """FSDP keeps weights as attributes."""
    return isinstance(value, Tensor)


def _use_uncompiled_forward(part: nn.Module) -> None:
    """Undo `module.compile()` and `module.forward = torch.compile(…)`: compiled code passes no hook."""
    if vars(part).get("_compiled_call_impl") is not None:
        vars(part)["_compiled_call_impl"] = None
    original = getattr(vars(part).get("forward"), "_torchdynamo_orig_callable", None)
    if original is not None:
        vars(part)["forward"] = original
