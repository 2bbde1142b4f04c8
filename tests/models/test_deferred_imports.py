"""Modules that are put off in a command's own process: not imported, until something asks for the real ones."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

from attncli.cli.main import may_defer
from attncli.models.loading import deferred_imports, model_scan

ROOT = Path(__file__).parents[2]

#: Runs `attn` as a process of its own, and then says on stderr which modules of these are imported for real.
OWN_PROCESS = """
import atexit, sys
from types import ModuleType
names = ("torch._dynamo", "torch.distributed.tensor", "scipy.optimize", "accelerate", "sympy")
def is_real(name): return name in sys.modules and type(sys.modules[name]) is ModuleType
atexit.register(lambda: sys.__stderr__.write(" ".join(filter(is_real, names))))
from attncli.cli.main import main
main()
"""
#: The same where `attn` is a part of another program.
GUEST = OWN_PROCESS.replace("from attncli.cli.main import main\nmain()", "import attncli.cli.main as cli\ncli.main()")

#: Begins a program in which transformers has taken its names from stand-ins.
DEFERRED = """
import sys
from attncli.models.loading.deferred_imports import DEFERRED, Finder, StandIn, defer_imports, restore_imports
defer_imports()
import torch, transformers
from transformers import BertModel
stand_ins = [name for name in DEFERRED if isinstance(sys.modules.get(name), StandIn)]
assert {"torch._dynamo", "torch.distributed.tensor", "scipy.optimize", "accelerate"} <= {*stand_ins}, stand_ins
"""


needs_all = pytest.mark.skipif(
    not all(find_spec(name) for name in ("accelerate", "peft", "scipy")), reason="not all that is put off is installed"
)


def run(code: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, **variables},
        timeout=120,
        check=True,
        encoding="utf-8",
    )


def last_line(text: str) -> set[str]:
    return set(text.rpartition("\n")[2].split())


@pytest.mark.processes
@pytest.mark.parametrize(
    "arguments",
    [("heads", "The cat sat on the mat", "--json"), ("compare", "mole", "A small mole", "One mole of it", "--json")],
    ids=lambda arguments: arguments[0],
)
def test_a_command_writes_the_same_without_importing_them(arguments: tuple[str, ...]) -> None:
    own, guest = run(OWN_PROCESS, *arguments), run(GUEST, *arguments)
    assert own.stdout == guest.stdout
    assert last_line(own.stderr) == set()
    assert {"torch._dynamo", "torch.distributed.tensor"} <= last_line(guest.stderr)


@pytest.mark.processes
def test_torchrun_gets_the_real_modules() -> None:
    done = run(OWN_PROCESS, "heads", "The cat sat", "--json", LOCAL_RANK="0")
    assert {"torch._dynamo", "torch.distributed.tensor"} <= last_line(done.stderr)


@pytest.mark.parametrize(
    ("arguments", "variables", "expected"),
    [
        (["heads", "x"], {}, True),
        (["heads", "x"], {"RANK": "0", "WORLD_SIZE": "2"}, False),
        (["heads", "x", "-m", "net.py:build"], {}, False),
        (["heads", "x"], {"ATTN_MODEL": "net.py:build"}, False),
        (["heads", "x", "--trust-remote-code"], {}, False),
        (["heads", "x", "--allow-pickle"], {}, False),
    ],
)
def test_commands_that_may_put_them_off(arguments: list[str], variables: dict[str, str], expected: bool) -> None:
    assert may_defer(arguments, variables) is expected


@pytest.mark.processes
def test_the_python_functions_put_nothing_off() -> None:
    code = """
import sys, attncli
attncli.heads("The cat sat")
assert not any(type(finder).__name__ == "Finder" for finder in sys.meta_path)
print(type(sys.modules["torch._dynamo"]).__name__)
"""
    assert run(code).stdout == "module\n"
    users = [path for path in (ROOT / "attncli").rglob("*.py") if "deferred_imports import" in path.read_text("utf-8")]
    assert [path.relative_to(ROOT).as_posix() for path in users] == ["attncli/cli/main.py"]


@pytest.mark.processes
@needs_all
def test_the_compiler_works_when_asked_for_and_knows_what_it_was_told() -> None:
    code = f"""{DEFERRED}
from transformers.integrations import deepgemm
with torch.compiler.set_stance("force_eager"):
    twice = torch.compile(lambda x: x * 2, backend="eager")
    assert type(sys.modules["torch._dynamo"]).__name__ == "module"
    assert torch._dynamo.eval_frame._stance.stance == "force_eager"
assert torch._dynamo.eval_frame._stance.stance == "default"
assert twice(torch.ones(1)).item() == 2
assert not any(isinstance(module, StandIn) for module in sys.modules.values())
assert deepgemm.is_sm100._dynamo_marked_constant
assert id(deepgemm._load_deepgemm_kernel) in torch._dynamo.trace_rules._allowed_callable_ids
"""
    run(code)


@pytest.mark.processes
@needs_all
def test_a_disabled_function_runs_before_and_after_the_compiler_is_there() -> None:
    code = f"""{DEFERRED}
@torch.compiler.disable(recursive=False)
def named(x): return x + 1
assert named(1) == 2 and named.__name__ == "named"
import torch._dynamo.config
assert type(sys.modules["torch._dynamo"]).__name__ == "module"
assert named(1) == 2
"""
    run(code)


@pytest.mark.processes
@needs_all
def test_names_that_transformers_took_do_what_the_real_ones_do() -> None:
    code = f"""{DEFERRED}
import inspect
from transformers.distributed import sharding_utils, tensor_parallel, expert_parallel
from transformers.integrations import accelerate as integration
from transformers.loss import loss_for_object_detection as loss
Tensor, Shard = sharding_utils.DTensor, sharding_utils.Shard
assert not isinstance(torch.ones(1), Tensor) and not issubclass(torch.Tensor, Tensor)
assert Tensor | None and isinstance(sys.modules["accelerate"], StandIn)
rows = expert_parallel.Shard(0)
assert rows and isinstance(sys.modules["accelerate"], StandIn)
costs, (found, chosen) = [[4, 1], [2, 3]], loss.linear_sum_assignment([[4, 1], [2, 3]])
assert chosen.tolist() == [1, 0]
import accelerate, scipy.optimize
assert not isinstance(accelerate, StandIn) and not isinstance(scipy.optimize, StandIn)
assert "skip_keys" in inspect.signature(integration.dispatch_model).parameters
from torch.distributed.tensor import Shard as RealShard
assert rows == RealShard(0) and hash(rows) == hash(RealShard(0)) and isinstance(rows, RealShard) and rows.dim == 0
assert isinstance(RealShard(1), Shard) and not isinstance(torch.ones(1), Shard)
class Own(Shard): pass
assert issubclass(Own, RealShard) and Own(1).dim == 1
"""
    run(code)


#: Uses of which each brings the real modules.
USES = (
    "import torch.distributed.tensor.parallel as real; assert real.ColwiseParallel",
    "from scipy import linalg as real; assert real.dft(2).shape == (2, 2)",
    "import accelerate as real; assert real.__version__",
    "import accelerate as real; real.changed = 1; assert sys.modules['accelerate'].changed == 1",
    "from accelerate import *; assert Accelerator",
    "import peft; assert peft.LoraConfig",
    "restore_imports(); import torch.distributed.checkpoint as real; assert real.save",
)


@pytest.mark.processes
@needs_all
@pytest.mark.skipif(not hasattr(os, "fork"), reason="each use in a process forked from one that has imported torch")
def test_any_other_use_brings_the_real_modules() -> None:
    code = f"""{DEFERRED}
import os
for use in {USES}:
    process = os.fork()
    if process == 0:
        exec(use)
        os._exit(int(any(isinstance(module, StandIn) for module in sys.modules.values())))
    assert os.waitpid(process, 0)[1] == 0, use
"""
    run(code)


def test_a_module_without_the_names_gives_none_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "large_module.py").write_text("here = 1\ndef known(): return here\n", "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(deferred_imports.DEFERRED, "large_module", ("known", "gone"))
    monkeypatch.setitem(deferred_imports.DEFERRED, "absent_module", ("known",))
    finder = deferred_imports.Finder({})
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    try:
        from large_module import known  # type: ignore[import-not-found]

        assert isinstance(sys.modules["large_module"], deferred_imports.StandIn)
        with pytest.raises(ImportError, match="gone"):
            from large_module import gone  # noqa: F401
        assert known() == 1
        with pytest.raises(ModuleNotFoundError):
            import absent_module  # type: ignore[import-not-found]  # noqa: F401
    finally:
        sys.modules.pop("large_module", None)


def test_the_list_of_models_is_kept_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTN_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "pack" / "models" / "bert.py"
    source.parent.mkdir(parents=True)
    source.write_text("one", "utf-8")
    read: list[str] = []

    def define(path: object, prefix: str | None = None) -> object:
        read.append(str(path))
        return {frozenset(["torch"]): {"bert": {source.read_text("utf-8")}}}

    module = ModuleType("import_utils")
    module.__file__ = str(tmp_path / "pack" / "utils" / "import_utils.py")
    module.define_import_structure = define  # type: ignore[attr-defined]
    model_scan.keep_scan(module)
    kept = module.define_import_structure
    expected = {frozenset(["torch"]): {"models.bert": {"one"}}}
    assert kept(source.parent, prefix="models") == expected
    assert kept(str(source.parent / "__init__.py")) == {frozenset(["torch"]): {"bert": {"one"}}}
    assert len(read) == 1
    source.write_text("another", "utf-8")
    assert kept(source.parent, prefix="models") == {frozenset(["torch"]): {"models.bert": {"another"}}}
    assert len(read) == 2
    kept(tmp_path / "pack" / "models" / "auto")
    assert read[2].endswith("auto")


def test_the_kept_list_is_the_one_that_transformers_makes() -> None:
    code = """
from attncli.models.loading.deferred_imports import defer_imports
defer_imports()
import transformers
from transformers.utils import import_utils
folder = transformers.__path__[0] + "/models"
made = import_utils.spread_import_structure(import_utils.create_import_structure_from_path(folder))
assert len(made) > 5 and import_utils.define_import_structure(folder) == made
"""
    run(code)
