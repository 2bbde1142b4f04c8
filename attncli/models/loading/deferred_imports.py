"""Large modules that transformers imports for training, compiling and several devices, put off until they are used.

transformers takes names from them when it is imported, so that a lazy module isn't enough. A stand-in gives
placeholders for the names in `DEFERRED`; calling or subclassing a placeholder, or any other attribute, submodule or use
of a stand-in, imports the real module and ends this for the whole process (`restore`). Until then no object of a real
class can exist, so that `isinstance(tensor, DTensor)` is rightly False.

Only for a process of `attn`'s own (`cli/main.py`), never for the Python functions: other code of the process may expect
the real modules. Imports the standard library alone.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial, wraps
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from attncli.models.loading.model_scan import keep_scan

#: The modules, and the names that transformers takes from them when it is imported. In parentheses the share of the
#: time of `attn heads` on the default model. Where a version lacks a name or a module, it isn't put off.
DEFERRED: dict[str, tuple[str, ...]] = {
    # The compiler (10 %): marks on functions that it may call, and a mode for masks that are built by vmap.
    "torch._dynamo": ("allow_in_graph", "assume_constant_result", "disable", "set_stance"),
    "torch._dynamo._trace_wrapped_higher_order_op": ("TransformGetItemToIndex",),
    # Tensors on several devices (12 % with sympy), their checkpoints and wrappers.
    "torch.distributed.tensor": ("DTensor", "Partial", "Replicate", "Shard", "distribute_tensor"),
    "torch.distributed.tensor._utils": ("compute_local_shape_and_global_offset",),
    "torch.distributed.tensor.placement_types": ("Shard", "_StridedShard"),
    "torch.distributed.checkpoint": (),
    "torch.distributed.checkpoint.hf_storage": ("HuggingFaceStorageReader", "HuggingFaceStorageWriter"),
    "torch.distributed.fsdp": ("CPUOffloadPolicy", "MixedPrecisionPolicy"),
    "torch.distributed._composable": (),
    "torch.distributed._composable.fsdp": ("fully_shard",),
    # Losses of object detection (6 %).
    "scipy": (),
    "scipy.optimize": ("linear_sum_assignment",),
    # Models that are larger than a device (5 %).
    "accelerate": ("PartialState", "dispatch_model", "init_empty_weights"),
    "accelerate.hooks": ("AlignDevicesHook", "add_hook_to_module", "remove_hook_from_module"),
    "accelerate.utils": (
        *("extract_model_from_parallel", "get_balanced_memory", "get_max_memory", "infer_auto_device_map", "reduce"),
    ),
    "accelerate.utils.modeling": ("clean_device_map", "get_max_layer_size"),
}

_COMPILER = "torch._dynamo"
#: Decorators that only tell the compiler something about a function, which it is told once it is there.
_MARKS = ("allow_in_graph", "assume_constant_result")
#: The decorator that keeps the compiler from a function: without the compiler, the function itself.
_DISABLE = "disable"
#: The context in which compiled functions run as they are written.
_SET_STANCE = "set_stance"

#: Plain values of which transformers lists some when it is imported: the placements of its tensor-parallel plans.
_VALUES = frozenset(("Partial", "Replicate", "Shard"))

#: What the import system asks any module for.
_ASKED_BY_IMPORTS = frozenset(("__path__", "__file__", "__cached__"))


class Finder:
    """Finds stand-ins for the modules in `DEFERRED`, and what is to be changed in others after their import.

    after: what is to be done with a module once it is imported, by its name.
    """

    def __init__(self, after: dict[str, Callable[[ModuleType], None]]) -> None:
        self._after = after
        self.is_active = True
        #: What the compiler is to be told once it is there.
        self.untold: list[Callable[[], object]] = []

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> Any:
        if name in DEFERRED and self.is_active:
            real = self._find_real(name, path, target)
            return None if real is None or real.origin is None else _stand_in_spec(name, real, self)
        if isinstance(sys.modules.get(name.rpartition(".")[0]), StandIn):
            self.load(name.rpartition(".")[0])
            known = sys.modules.get(name)
            return None if known is None else ModuleSpec(name, _KnownModule(known))  # type: ignore[arg-type]
        if name in self._after:
            spec = self._find_real(name, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _LoaderWithMore(spec.loader, self._after[name])  # type: ignore[assignment]
            return spec
        return None

    def _find_real(self, name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        specs = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        return next((spec for spec in specs if spec is not None), None)

    def mark(self, module: str, name: str, function: Any) -> Any:
        """Apply a decorator of `_MARKS` later; the function stays as it is."""
        if not self.is_active or not isinstance(function, FunctionType):
            return getattr(self.load(module), name)(function)
        self.untold.append(lambda: getattr(import_module(module), name)(function))
        return function

    def disable(self, module: str, function: Any = None, *args: Any, **kwargs: Any) -> Any:
        """A function that runs as it is until the compiler is there, and from then on as `disable` makes it."""
        if function is None:
            return lambda function: self.disable(module, function, *args, **kwargs)
        if not self.is_active or not isinstance(function, FunctionType):
            return getattr(self.load(module), _DISABLE)(function, *args, **kwargs)
        disabled = cache(lambda: getattr(import_module(module), _DISABLE)(function, *args, **kwargs))

        @wraps(function)
        def run(*given: Any, **named: Any) -> Any:
            is_there = not isinstance(sys.modules.get(module), StandIn | None)
            return (disabled() if is_there else function)(*given, **named)

        return run

    def load(self, name: str) -> ModuleType:
        """The real module of this name, once the stand-ins are gone."""
        self.restore()
        return import_module(name)

    def restore(self) -> None:
        """Take all stand-ins away, so that every module is imported as usual from now on.

        The compiler isn't imported here, as this may happen amid an import that it depends on.
        """
        if not self.is_active:
            return
        self.is_active = False
        for name in DEFERRED:
            if isinstance(sys.modules.get(name), StandIn):
                del sys.modules[name]
        self._after[_COMPILER] = self._tell_compiler

    def _tell_compiler(self, _: ModuleType) -> None:
        while self.untold:
            self.untold.pop(0)()


class _Stance:
    """`set_stance`: takes effect once the compiler is there, if that is before the end of the context."""

    def __init__(self, finder: Finder, module: str, *args: Any, **kwargs: Any) -> None:
        self._untold = finder.untold
        self._real = cache(lambda: getattr(finder.load(module), _SET_STANCE)(*args, **kwargs))
        if finder.is_active:
            self._untold.append(self._real)
        else:
            self._real()

    def __call__(self, function: Any) -> Any:
        return self._real()(function)

    def __enter__(self) -> None:
        if self._real not in self._untold:
            self._real().__enter__()

    def __exit__(self, *error: object) -> None:
        if self._real in self._untold:
            self._untold.remove(self._real)
        else:
            self._real().__exit__(*error)


class StandIn(ModuleType):
    """A module that isn't imported yet. Gives placeholders for the names that are known, and loads it for any other."""

    def __getattr__(self, name: str) -> Any:
        loader = self.__dict__["__loader__"]
        if name in _ASKED_BY_IMPORTS:
            raise AttributeError(name)
        if name in loader.names and loader.finder.is_active:
            self.__dict__[name] = loader.placeholder(self.__name__, name)
            return self.__dict__[name]
        real = loader.finder.load(self.__name__)
        if name == "__all__" and not hasattr(real, name):
            # `from module import *` takes what a module without `__all__` has.
            self.__dict__.update({each: value for each, value in vars(real).items() if not each.startswith("_")})
        return getattr(real, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__") or isinstance(value, StandIn):
            super().__setattr__(name, value)
        else:
            setattr(self.__dict__["__loader__"].finder.load(self.__name__), name, value)


class Placeholder(type):
    """The class of what stands for a class or function that isn't imported yet, and does what that does."""

    def __new__(cls, name: str, bases: tuple[type, ...], fields: dict[str, Any]) -> Any:
        if not any(isinstance(base, Placeholder) for base in bases):
            return super().__new__(cls, name, bases, fields)
        real = tuple(_real(base) if isinstance(base, Placeholder) else base for base in bases)
        return type(real[0])(name, real, fields)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls.__name__ in _VALUES and not (_is_loaded(cls) or _is_distributed()):
            return DeferredValue(cls, args, kwargs)
        return _real(cls)(*args, **kwargs)

    def __getattr__(cls, name: str) -> Any:
        return getattr(_real(cls), name)

    @property
    def __signature__(cls) -> Any:
        import inspect

        return inspect.signature(_real(cls))

    def __instancecheck__(cls, instance: Any) -> bool:
        return _is_loaded(cls) and isinstance(instance, _real(cls))

    def __subclasscheck__(cls, subclass: type) -> bool:
        if isinstance(subclass, Placeholder):
            return subclass is cls
        return _is_loaded(cls) and issubclass(subclass, _real(cls))


class DeferredValue:
    """A value of a class that isn't imported yet. Anything but its truth, which is that of any object, makes it."""

    def __init__(self, placeholder: Placeholder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._made: Callable[[], Any] = cache(lambda: _real(placeholder)(*args, **kwargs))

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._made())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._made(), name)

    def __eq__(self, other: object) -> bool:
        return bool(self._made() == (other._made() if type(other) is DeferredValue else other))

    def __hash__(self) -> int:
        return hash(self._made())

    def __repr__(self) -> str:
        return repr(self._made())


def _is_distributed() -> bool:
    """Whether several processes work together, without which a placement is only stored."""
    distributed = sys.modules.get("torch.distributed")
    return bool(distributed and distributed.is_available() and distributed.is_initialized())


def _real(placeholder: Any) -> Any:
    fields = vars(placeholder)
    return getattr(fields["_finder"].load(placeholder.__module__), placeholder.__name__)


def _is_loaded(placeholder: Any) -> bool:
    """Whether the real module is imported, without which nothing can be an instance."""
    return not isinstance(sys.modules.get(placeholder.__module__), StandIn | None)


class _StandInLoader:
    """Makes a stand-in. names: those of `DEFERRED` that the real module has."""

    def __init__(self, names: tuple[str, ...], finder: Finder) -> None:
        self.names, self.finder = names, finder

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""

    def placeholder(self, module: str, name: str) -> Any:
        if name in _MARKS:
            return partial(self.finder.mark, module, name)
        if name == _DISABLE:
            return partial(self.finder.disable, module)
        if name == _SET_STANCE:
            return partial(_Stance, self.finder, module)
        return Placeholder(name, (), {"__module__": module, "_finder": self.finder})


def _stand_in_spec(name: str, real: ModuleSpec, finder: Finder) -> ModuleSpec:
    source = Path(real.origin or "")
    # Most modules list what they take from elsewhere; what this one doesn't name it may not have.
    text = source.read_text("utf-8", "replace") if source.suffix == ".py" else ""
    names = tuple(each for each in DEFERRED[name] if re.search(rf"\b{each}\b", text))
    spec = ModuleSpec(name, _StandInLoader(names, finder), origin=real.origin)  # type: ignore[arg-type]
    spec.submodule_search_locations = real.submodule_search_locations
    spec.has_location = real.has_location
    return spec


class _KnownModule:
    """Gives a module that loading its package has imported already."""

    def __init__(self, module: ModuleType) -> None:
        self._module, self._spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


class _LoaderWithMore:
    """A loader that does something with the module after it has run."""

    def __init__(self, loader: Any, more: Callable[[ModuleType], None]) -> None:
        self._loader, self._more = loader, more

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        if module.__spec__ is not None:
            module.__loader__ = module.__spec__.loader = self._loader
        self._more(module)


def defer_imports() -> None:
    """Put off the modules of `DEFERRED` in this process. Does nothing once torch is imported, or where it is done."""
    if "torch" in sys.modules or any(isinstance(finder, Finder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, Finder({"transformers.utils.import_utils": keep_scan}))


def restore_imports() -> None:
    """Take away what `defer_imports` has put in place."""
    for finder in tuple(sys.meta_path):
        if isinstance(finder, Finder):
            finder.restore()
