"""The house plan, held by reading the imports: who may know whom, and who may touch the outside."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "attncli"

AT_THE_TOP = {
    "pyproject.toml",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "attncli",
    "tests",
    "completions",
    ".ci",
    ".gitignore",
    ".pre-commit-config.yaml",
}

#: Each part of the package, and the other parts of it that it may import. Things flow one way, top to bottom:
#: cli -> verbs -> models and the analysis folders -> results; render turns results into something to read.
MAY_IMPORT = {
    "errors": set(),
    "progress": set(),
    "results": set(),
    "models": {"attncli", "errors", "progress"},
    "tokens": {"results", "errors"},
    "attention": {"results", "errors"},
    "parameters": {"results", "errors"},
    "embeddings": {"results", "errors"},
    "render": {"results", "errors", "progress"},
    "verbs": {
        "attncli",
        "errors",
        "progress",
        "results",
        "models",
        "tokens",
        "attention",
        "parameters",
        "embeddings",
    },
    "attncli": {"verbs"},
    "cli": {"attncli", "errors", "progress", "results", "render", "verbs", "models"},
    "__main__": {"cli"},
}

#: Packages of others, and the parts that may import them.
MAY_BE_IMPORTED_BY = {
    "click": {"cli"},
    "rich": {"render"},
    "numpy": {"results", "render", "models", "attention", "parameters", "embeddings"},
    "torch": {"models", "attention", "parameters", "embeddings"},
    "transformers": {"models"},
    "huggingface_hub": {"models"},
    "safetensors": {"models"},
    "tokenizers": {"models"},
    "jinja2": {"models"},
    "regex": {"tokens"},
    "matplotlib": {"render"},
}

#: How Python and a notebook ask a result to show itself: there alone it may call the renderers, which know results.
SHOWING_ITSELF = ("__str__", "_repr_html_")

#: Modules that the start of `attn tokenize` passes through: no numpy there.
WITHOUT_NUMPY = (
    "results/tokenize.py",
    "results/tokenize.py",
    "results/base.py",
    "render/data.py",
    "render/heads/tables.py",
)

#: What belongs to the command line alone.
OUTSIDE = {"sys.stdin", "sys.stdout", "sys.stderr", "sys.argv", "sys.exit", "os.environ", "os.getenv", "os.putenv"}
SPEAKING = {"print", "input", "exit", "quit", "breakpoint"}

#: Programs of their own, which are run with `python -m` and which nothing imports.
PROGRAMS = {"models/builtin/train_induction.py"}


@dataclass(frozen=True)
class Import:
    """One imported module, by its full name. `inside` a function it happens when that is called."""

    module: str
    line: int
    inside: bool


@dataclass(frozen=True)
class Module:
    path: Path
    tree: ast.Module

    @property
    def name(self) -> str:
        return self.path.relative_to(PACKAGE).as_posix()

    @property
    def part(self) -> str:
        """The row of the table that the module belongs to."""
        first = self.path.relative_to(PACKAGE).parts[0]
        return "attncli" if first == "__init__.py" else first.removesuffix(".py")

    @property
    def imports(self) -> list[Import]:
        """All imports, but for those that only a type checker sees, and those of a result that shows itself."""
        return list(_imports(self.tree, inside=False))


@cache
def modules() -> tuple[Module, ...]:
    return tuple(Module(path, ast.parse(path.read_text("utf-8"))) for path in sorted(PACKAGE.rglob("*.py")))


def _imports(node: ast.AST, *, inside: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from _imports(ast.Module([other], []), inside=inside)
        elif isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, inside)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            assert child.module is not None
            yield from (Import(_full_name(child.module, alias.name), child.lineno, inside) for alias in child.names)
        elif not (isinstance(child, ast.FunctionDef) and child.name in SHOWING_ITSELF):
            yield from _imports(child, inside=inside or isinstance(child, ast.FunctionDef))


def _full_name(module: str, name: str) -> str:
    """`from attncli.render import tables` imports a module, `from attncli.errors import AttnError` a part of one."""
    path = PACKAGE.parent / module.replace(".", "/") / name
    return f"{module}.{name}" if path.is_dir() or path.with_suffix(".py").is_file() else module


def _part_of(name: str) -> str:
    """The part of our package that a full module name belongs to."""
    steps = name.split(".")
    return steps[1] if len(steps) > 1 else "attncli"


def test_nothing_stands_at_the_top_by_accident() -> None:
    if not (PACKAGE.parent / ".git").exists():
        pytest.skip("no checkout")
    listed = subprocess.run(["git", "ls-files"], cwd=PACKAGE.parent, capture_output=True, check=True, text=True).stdout
    assert {line.split("/")[0] for line in listed.splitlines()} <= AT_THE_TOP


def test_every_module_has_its_place_in_the_plan() -> None:
    assert {module.part for module in modules()} <= set(MAY_IMPORT)


def test_nobody_imports_upwards() -> None:
    wrong = [
        f"{module.name}:{found.line} imports {found.module}"
        for module in modules()
        for found in module.imports
        if found.module.split(".")[0] == "attncli"
        and (part := _part_of(found.module)) != module.part
        and part not in MAY_IMPORT[module.part]
    ]
    assert wrong == []


def test_packages_of_others_are_imported_where_they_belong() -> None:
    wrong = [
        f"{module.name}:{found.line} imports {found.module}"
        for module in modules()
        for found in module.imports
        if module.part not in MAY_BE_IMPORTED_BY.get(found.module.split(".")[0], {module.part})
    ]
    assert wrong == []


@pytest.mark.parametrize("name", WITHOUT_NUMPY)
def test_what_tokenize_starts_with_imports_no_numpy(name: str) -> None:
    (module,) = (module for module in modules() if module.name == name)
    reached = {found.module for found in module.imports}
    assert not {name for name in reached if name.split(".")[0] == "numpy" or name == "attncli.results.heads"}


def test_the_command_line_imports_the_rest_when_it_is_called() -> None:
    # At the top of its modules it knows the vocabulary alone; a verb's callback fetches what it needs.
    light = {"attncli.errors", "attncli.progress", "attncli.render.common.terminal"}
    wrong = [
        f"{module.name}:{found.line} imports {found.module}"
        for module in modules()
        if module.part == "cli"
        for found in module.imports
        if found.module.startswith("attncli.")
        and _part_of(found.module) != "cli"
        and not found.inside
        and found.module not in light
    ]
    assert wrong == []


def _outside(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in OUTSIDE:
            yield f"{module.name}:{node.lineno} uses {ast.unparse(node)}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in SPEAKING:
            yield f"{module.name}:{node.lineno} calls {node.func.id}"
        if isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from (f"{module.name}:{node.lineno} uses {name}" for name in names & OUTSIDE)


def test_nobody_below_the_command_line_touches_streams_or_variables() -> None:
    below = [module for module in modules() if module.part not in ("cli", "__main__") and module.name not in PROGRAMS]
    touching = {module.name: list(_outside(module)) for module in below}
    wrong = {name: found for name, found in touching.items() if found}
    # The hub's own variables (HF_HOME, HF_ENDPOINT, …) are read in one place of the model layer.
    readers = [name for name in wrong if name.startswith("models/") and all("os." in found for found in wrong[name])]
    assert len(readers) <= 1, readers
    assert [found for name in wrong.keys() - set(readers) for found in wrong[name]] == []


def test_nobody_imports_a_program() -> None:
    programs = {"attncli." + name.removesuffix(".py").replace("/", ".") for name in PROGRAMS}
    assert [module.name for module in modules() for found in module.imports if found.module in programs] == []


def test_the_command_line_touches_the_process_in_few_places() -> None:
    # Everything else gets an Environment, so that a test can swap it.
    touching = {module.name for module in modules() if module.part == "cli" and list(_outside(module))}
    assert touching <= {"cli/environment.py", "cli/main.py", "cli/shells.py", "cli/manual.py", "cli/messages.py"}


def test_the_table_itself_flows_one_way() -> None:
    """No part reaches itself through others. (`attncli` stands for the version, and for the verbs that it offers.)"""
    table = {part: known - {"attncli"} for part, known in MAY_IMPORT.items()}

    def reached(part: str, seen: frozenset[str] = frozenset()) -> frozenset[str]:
        for other in table[part] - seen:
            seen = reached(other, seen | {other})
        return seen

    assert [part for part in table if part in reached(part)] == []


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_no_function_is_longer_than_fifty_lines() -> None:
    wrong = [
        f"{module.name}:{function.lineno} {function.name}"
        for module in modules()
        for function in _functions(module.tree)
        if _statement_lines(function) > 50
    ]
    assert wrong == []


def test_a_verb_of_the_command_line_is_under_forty_lines() -> None:
    for verb in ("compare", "heads", "params", "tokenize"):
        (module,) = (module for module in modules() if module.name == f"cli/{verb}.py")
        (function,) = (function for function in _functions(module.tree) if function.name == verb)
        assert function.end_lineno is not None
        assert function.end_lineno - function.lineno < 40


def _statement_lines(function: ast.FunctionDef) -> int:
    """The lines of a function's body, less its docstring."""
    body = function.body[1:] if ast.get_docstring(function) and len(function.body) > 1 else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1


def test_only_declared_packages_are_imported() -> None:
    settings = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text("utf-8"))
    project = settings["project"]
    building = {_distribution(line) for line in settings["build-system"]["requires"]}
    extras = [name for group in project["optional-dependencies"].values() for name in group]
    declared = {_distribution(line) for line in (*project["dependencies"], *extras)}
    known = {"attncli", *sys.stdlib_module_names, *declared, *IMPORTED_AS.values()}
    wrong = [
        f"{module.name}:{found.line} imports {found.module}"
        for module in modules()
        for found in module.imports
        if found.module.split(".")[0] not in known | (building if module.name == "cli/build_hook.py" else set())
    ]
    assert wrong == []


#: Distributions whose modules have another name.
IMPORTED_AS = {"pillow": "PIL", "protobuf": "google"}


def _distribution(requirement: str) -> str:
    return requirement.split(">")[0].split("=")[0].split("<")[0].strip().lower().replace("-", "_")
