"""The house plan, held by reading the imports: who may know whom, and who may touch the outside."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
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

#: Each part of the package, and the other parts of it that it may import, whether at the top of a module, in a function
#: or for type checkers alone. Things flow one way: cli -> api -> analysis and models -> results; render turns results
#: into something to read.
MAY_IMPORT = {
    "_version": set(),
    "choices": set(),
    "components": set(),
    "effects": set(),
    "errors": set(),
    "limits": set(),
    "metrics": set(),
    "progress": set(),
    "quantities": {"errors"},
    "verbs": set(),
    "results": {"choices", "effects", "errors", "metrics", "verbs"},
    "models": {"_version", "choices", "errors", "limits", "progress", "quantities"},
    "tokens": {"errors", "models", "results"},
    "attention": {"effects", "errors", "metrics", "models", "progress", "results"},
    "embeddings": {"errors", "models", "results"},
    "parameters": {"components", "errors", "limits", "results"},
    "render": {"choices", "components", "effects", "errors", "metrics", "progress", "results", "verbs"},
    "api": {
        "_version",
        "attention",
        "choices",
        "effects",
        "embeddings",
        "errors",
        "metrics",
        "models",
        "parameters",
        "progress",
        "quantities",
        "results",
        "tokens",
    },
    "browse": {"api", "effects", "errors", "metrics", "progress", "render", "results"},
    # The one place where results and renderers meet: `attncli` hands results what shows them.
    "attncli": {"_version", "api", "errors", "render", "results", "verbs"},
    "cli": {
        "_version",
        "api",
        "browse",
        "choices",
        "components",
        "effects",
        "errors",
        "metrics",
        "models",
        "progress",
        "render",
        "results",
        "verbs",
    },
    "__main__": {"cli"},
}

#: The parts of `render` and the others that they may import. What a view says is in `views`; the others lay it out.
RENDER_MAY_IMPORT = {
    "common": set(),
    "data": set(),
    # One entry for a format: it loads what renders it by name.
    "formats": {"common", "data", "npz"},
    "npz": {"data"},
    "views": {"common"},
    "heads": {"common", "data", "npz", "views"},
    "compare": {"common", "data", "npz", "views"},
    "params": {"common", "data", "views"},
    "tokenize": {"common", "data"},
    "figures": {"common", "views"},
    "html": {"common", "views"},
    # Texts of `attn tokenize` are written one by one, each in every form that was asked for.
    "stream": {"common", "data", "formats", "html", "npz", "tokenize"},
}

#: The page of `attn tokenize` holds its reports as text, and ids of tokens are arrays of a form.
RENDER_EXCEPTIONS = {
    "html/tokenize.py": {"tokenize"},
    "npz.py": {"tokenize"},
}

#: Packages of others, and the parts that may import them.
MAY_BE_IMPORTED_BY = {
    "click": {"cli"},
    "rich": {"browse", "cli", "render"},
    "textual": {"browse"},
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

#: What the start of `attn tokenize`, and `attn params` from its cache, pass through, by public names: no numpy there.
WITHOUT_NUMPY = ("Token", "TokenizeResult", "MadeBy", "json_text", "open_form", "table_lines", "bytes_text")

#: What belongs to the command line alone.
OUTSIDE = {"sys.stdin", "sys.stdout", "sys.stderr", "sys.argv", "sys.exit", "os.environ", "os.getenv", "os.putenv"}
SPEAKING = {"print", "input", "exit", "quit", "breakpoint"}

#: Programs of their own, by a function of theirs: they are run with `python -m`, and nothing imports them.
PROGRAMS = ("periodic_bytes",)


@dataclass(frozen=True)
class Import:
    """One imported module, by its full name. `inside` a function it happens when that is called; `types`: never."""

    module: str
    line: int
    inside: bool
    types: bool


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
    def full_name(self) -> str:
        return "attncli." + self.name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @cached_property
    def imports(self) -> list[Import]:
        """All imports, those in functions and for type checkers too."""
        return list(_imports(self.tree))

    @cached_property
    def run_imports(self) -> list[Import]:
        """All imports but those for type checkers alone."""
        return [found for found in self.imports if not found.types]

    @cached_property
    def definitions(self) -> set[str]:
        """The names of its functions and classes."""
        return {node.name for node in self.tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


@cache
def modules() -> tuple[Module, ...]:
    return tuple(Module(path, ast.parse(path.read_text("utf-8"))) for path in sorted(PACKAGE.rglob("*.py")))


def defining(name: str) -> Module:
    """The module that defines a public name."""
    (found,) = (module for module in modules() if name in module.definitions)
    return found


def _imports(node: ast.AST, *, inside: bool = False, types: bool = False) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            yield from _imports(ast.Module(child.body, []), inside=inside, types=True)
            yield from _imports(ast.Module(child.orelse, []), inside=inside, types=types)
        elif isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, inside, types)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            assert child.module is not None
            for alias in child.names:
                yield Import(_full_name(child.module, alias.name), child.lineno, inside, types)
        else:
            yield from _imports(child, inside=inside or isinstance(child, ast.FunctionDef), types=types)


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


def test_no_part_imports_upwards() -> None:
    wrong = [
        f"{module.name}:{found.line} imports {found.module}"
        for module in modules()
        for found in module.imports
        if found.module.split(".")[0] == "attncli"
        and (part := _part_of(found.module)) != module.part
        and part not in MAY_IMPORT[module.part]
    ]
    assert wrong == []


def test_parts_of_render_import_views_and_never_one_another() -> None:
    wrong = []
    for module in (module for module in modules() if module.part == "render" and module.name != "render/__init__.py"):
        name = module.name.removeprefix("render/")
        part = name.split("/")[0].removesuffix(".py")
        allowed = {part, *RENDER_MAY_IMPORT[part], *RENDER_EXCEPTIONS.get(name, ())}
        steps = (found.module.split(".") for found in module.imports if found.module.startswith("attncli.render."))
        wrong += [f"{name} imports {'.'.join(each)}" for each in steps if each[2] not in allowed]
    assert wrong == []


def test_packages_of_others_are_imported_where_they_belong() -> None:
    wrong = [
        f"{module.name}:{found.line} imports {found.module}"
        for module in modules()
        for found in module.run_imports
        if module.part not in MAY_BE_IMPORTED_BY.get(found.module.split(".")[0], {module.part})
    ]
    assert wrong == []


@pytest.mark.parametrize("name", WITHOUT_NUMPY)
def test_what_tokenize_starts_with_imports_no_numpy(name: str) -> None:
    reached = {found.module for found in defining(name).run_imports}
    assert not {name for name in reached if name.split(".")[0] == "numpy" or name == "attncli.results.heads"}


def test_the_command_line_imports_the_rest_when_it_is_called() -> None:
    # At the top of its modules it knows the vocabulary and the requests alone; a verb's callback fetches what it needs.
    light = {
        "attncli._version",
        "attncli.choices",
        "attncli.components",
        "attncli.effects",
        "attncli.errors",
        "attncli.metrics",
        "attncli.progress",
        "attncli.verbs",
        defining("Format").full_name,
        defining("Terminal").full_name,
        defining("LoadingRequest").full_name,
    }
    wrong = [
        f"{module.name}:{found.line} imports {found.module}"
        for module in modules()
        if module.part == "cli"
        for found in module.run_imports
        if found.module.startswith("attncli.")
        and _part_of(found.module) != "cli"
        and not found.inside
        and found.module not in light
    ]
    assert wrong == []


def _outside(module: Module) -> Iterator[str]:
    names = {each.split(".")[1] for each in OUTSIDE}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and node.attr in names and ast.unparse(node) in OUTSIDE:
            yield f"{module.name}:{node.lineno} uses {ast.unparse(node)}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in SPEAKING:
            yield f"{module.name}:{node.lineno} calls {node.func.id}"
        if isinstance(node, ast.ImportFrom):
            imported = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from (f"{module.name}:{node.lineno} uses {name}" for name in imported & OUTSIDE)


def test_nobody_below_the_command_line_touches_streams_or_variables() -> None:
    programs = [defining(name) for name in PROGRAMS]
    below = [module for module in modules() if module.part not in ("cli", "__main__") and module not in programs]
    touching = {module.name: list(_outside(module)) for module in below}
    wrong = {name: found for name, found in touching.items() if found}
    # The hub's own variables (HF_HOME, HF_ENDPOINT, …) are read in one place of the model layer.
    readers = [name for name in wrong if name.startswith("models/") and all("os." in found for found in wrong[name])]
    assert len(readers) <= 1, readers
    assert [found for name in wrong.keys() - set(readers) for found in wrong[name]] == []


def test_nobody_imports_a_program() -> None:
    programs = {defining(name).full_name for name in PROGRAMS}
    assert [module.name for module in modules() for found in module.imports if found.module in programs] == []


def test_the_command_line_touches_the_process_in_few_places() -> None:
    # Everything else gets an Environment, so that a test can swap it.
    touching = {module.name for module in modules() if module.part == "cli" and list(_outside(module))}
    # The process's streams, its start, libraries' output, two programs of their own (completion scripts and manual),
    # and the processes that are kept warm.
    owners = ("Environment", "prepare_torch", "suppress_output", "Bash", "manual_page")
    owners = (*owners, "has_sockets", "run_warm", "socket_path", "Worker", "Wish", "run_child")
    assert touching <= {defining(name).name for name in owners}


def test_the_table_itself_flows_one_way() -> None:
    assert circles({part: frozenset(known) for part, known in MAY_IMPORT.items()}) == []


def test_no_modules_import_one_another_in_a_circle() -> None:
    """Counted over all imports: at the top, in functions, and for type checkers alone."""
    names = {module.full_name for module in modules()}
    graph = {module.full_name: frozenset({found.module for found in module.imports} & names) for module in modules()}
    assert circles(graph) == []


def circles(graph: Mapping[str, frozenset[str]]) -> list[str]:
    """Nodes that reach themselves through others."""

    def reached(node: str) -> set[str]:
        seen: set[str] = set()
        queue = [node]
        while queue:
            for other in graph[queue.pop()] - seen:
                seen.add(other)
                queue.append(other)
        return seen

    return [node for node in graph if node in reached(node)]


def test_circles_are_found() -> None:
    graph: dict[str, frozenset[str]] = {
        "a": frozenset("b"), "b": frozenset("c"), "c": frozenset("b"), "d": frozenset()
    }  # fmt: skip
    assert circles(graph) == ["b", "c"]


#: File names that every verb or every folder may have.
COMMON_FILE_NAMES = {
    "__init__", "__main__", "base", "types", "text", "html", "figures", "tables",
    "heads", "tokenize", "params", "compare", "effects", "circuits",
}  # fmt: skip


def test_a_file_name_stands_in_at_most_two_folders() -> None:
    names = Counter(Path(module.name).stem for module in modules())
    assert {name for name, count in names.items() if count > 2} <= COMMON_FILE_NAMES


def test_every_module_says_first_what_it_is() -> None:
    wrong = [module.name for module in modules() if module.tree.body and not ast.get_docstring(module.tree)]
    assert wrong == []


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
        for found in module.run_imports
        if found.module.split(".")[0] not in known | (building if "ManualHook" in module.definitions else set())
    ]
    assert wrong == []


#: Distributions whose modules have another name.
IMPORTED_AS = {"pillow": "PIL", "protobuf": "google"}


def _distribution(requirement: str) -> str:
    return requirement.split(">")[0].split("=")[0].split("<")[0].strip().lower().replace("-", "_")


# What other systems do differently

#: Modules that are not on every system, and functions of `os` and `signal` that are not.
MISSING = {"fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"}
POSIX = {
    *(f"os.{name}" for name in ("fchmod", "fork", "geteuid", "getloadavg", "getuid", "mkfifo", "nice", "sysconf")),
    *(f"signal.{name}" for name in ("alarm", "pthread_kill", "setitimer", "SIGALRM", "SIGHUP", "SIGPIPE", "SIGUSR1")),
}
#: Where these are met with something else at hand.
GUARDED = {
    "models/chat/program.py": {"resource", "signal.alarm"},
    "cli/signals.py": {"signal.pthread_kill", "signal.SIGHUP"},
    "cli/warm/__init__.py": {"os.getuid"},
    "cli/warm/child.py": {"signal.SIGHUP"},
    "cli/warm/client.py": {"os.getuid"},
    "cli/warm/holder.py": {"os.fork"},
    "cli/warm/place.py": {"os.getuid"},
    "cli/warm/worker.py": {"fcntl", "os.fork", "os.getuid", "signal.SIGHUP"},
}


def dotted(tree: ast.Module) -> set[str]:
    """What is written as `name.attribute`."""
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return {f"{node.value.id}.{node.attr}" for node in attributes if isinstance(node.value, ast.Name)}


def test_nothing_is_used_that_only_posix_has() -> None:
    used: dict[str, set[str]] = {}
    for module in modules():
        found = dotted(module.tree) & POSIX
        found |= {each.module for each in module.imports} & MISSING
        if found:
            used[module.name] = found
    assert used == GUARDED


def test_every_file_of_text_is_opened_in_an_encoding() -> None:
    """The default is the system's, which is cp1252 on Windows."""
    calls = ((each.name, node) for each in modules() for node in ast.walk(each.tree) if isinstance(node, ast.Call))
    assert [f"{name}:{call.lineno}" for name, call in calls if _opens_text(call) and not _in_an_encoding(call)] == []


def _opens_text(call: ast.Call) -> bool:
    called = ast.unparse(call.func)
    if called.endswith((".read_text", ".write_text")):
        return True
    mode = next((each.value for each in call.args if _is_mode(each)), "r")
    return called in ("open", "os.fdopen", "io.open", "gzip.open", "Path.open") and "b" not in str(mode)


def _is_mode(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and set(node.value) <= set("rwxabt+")


def _in_an_encoding(call: ast.Call) -> bool:
    given = [ast.unparse(each).strip("'\"") for each in call.args]
    return "utf-8" in given or any(each.arg == "encoding" for each in call.keywords)
