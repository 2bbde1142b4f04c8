"""The wheel and the source distribution: what is in them, and what an installation outside the checkout does.

`pytest -m packages` builds both (a quarter of a minute). The installation has an environment of its own, and borrows
the libraries that attncli depends on from this one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import attncli

pytest.importorskip("build", reason="build isn't installed")
pytest.importorskip("hatchling", reason="hatchling isn't installed")
pytestmark = pytest.mark.packages

ROOT = Path(__file__).parents[1]
SHARED = {
    "share/bash-completion/completions/attn": "attn.bash",
    "share/zsh/site-functions/_attn": "attn.zsh",
    "share/fish/vendor_completions.d/attn.fish": "attn.fish",
}
PAGES = ("attn", "attn-compare", "attn-heads", "attn-params", "attn-tokenize")


def ran(*command: object, cwd: Path, rc: int = 0) -> str:
    """stdout of a command that knows nothing of this checkout."""
    hidden = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME", "ATTN_MODEL")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    words = [str(word) for word in command]
    done = subprocess.run(
        words, cwd=cwd, env=environment, capture_output=True, encoding="utf-8", timeout=180, check=False
    )
    assert done.returncode == rc, f"{' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def built(kind: str, source: Path, folder: Path) -> Path:
    """What `python -m build` makes of a source tree: its wheel or its source distribution (sdist)."""
    ran(sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", folder, source, cwd=folder)
    (path,) = folder.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(built("sdist", ROOT, folder)) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"attncli-{attncli.__version__}"


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel in it. Returns its folder."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=os.name != "nt")
    paths = sysconfig.get_paths("venv", vars={"base": str(folder), "platbase": str(folder)})
    borrowed = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    Path(paths["purelib"], "borrowed.pth").write_text("\n".join(borrowed), encoding="utf-8")
    pip = (sys.executable, "-m", "pip", "--python", python(folder), "--disable-pip-version-check")
    ran(*pip, "install", "--quiet", "--no-index", "--no-deps", "--force-reinstall", wheel, cwd=folder)
    return folder


def program(folder: Path, name: str) -> Path:
    return Path(sysconfig.get_path("scripts", "venv", vars={"base": str(folder), "platbase": str(folder)}), name)


def python(folder: Path) -> Path:
    return program(folder, "python.exe" if os.name == "nt" else "python")


def contents(path: Path) -> dict[str, bytes]:
    """The files of a wheel, less the list of their digests."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/RECORD")}


def tracked(folder: str) -> set[str]:
    """The files of a folder that git knows, or all where there is no git."""
    if (ROOT / ".git").exists():
        return set(ran("git", "ls-files", "--cached", "--others", "--exclude-standard", folder, cwd=ROOT).splitlines())
    paths = (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(ROOT).as_posix() for path in paths}


def test_the_wheel_holds_the_package_and_what_shells_and_man_look_for(wheel: Path) -> None:
    names = set(contents(wheel))
    assert {name for name in names if name.startswith("attncli/")} == tracked("attncli")
    beside = {name.partition(".data/data/")[2] for name in names if ".data/data/" in name}
    pages = {f"share/man/man1/{page}.1" for page in PAGES}
    assert beside == {*SHARED, *pages, "share/doc/attncli/reference.md"}
    assert {name.split("/")[0].removeprefix(f"attncli-{attncli.__version__}") for name in names} == {
        "attncli",
        ".data",
        ".dist-info",
    }


def test_the_source_distribution_makes_the_same_wheel(source: Path, wheel: Path, tmp_path: Path) -> None:
    assert contents(built("wheel", source, tmp_path)) == contents(wheel)


def test_the_source_distribution_can_test_itself(source: Path) -> None:
    here = {path.relative_to(source).as_posix() for path in (source / "tests").rglob("*") if path.is_file()}
    assert here == tracked("tests")
    quick = ("tests/test_structure.py", "tests/test_workflow.py", "tests/cli/test_manual.py")
    ran(sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", *quick, cwd=source)


def test_an_installation_runs(installed: Path, tmp_path: Path) -> None:
    attn = program(installed, "attn")
    where = ran(python(installed), "-c", "import attncli; print(attncli.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed)
    assert ran(attn, "--version", cwd=tmp_path) == f"attncli {attncli.__version__}\n"
    assert ran(attn, "tokenize", "mole", "-m", "builtin:induction", "--ids", cwd=tmp_path) == "109 111 108 101\n"
    heads = ran(attn, "heads", "abcabcabc", "-m", "builtin:induction", "-o", "x.html", cwd=tmp_path)
    assert heads == "" and (tmp_path / "x.html").stat().st_size > 10_000
    assert "124,439,808" in ran(attn, "params", "preset:gpt2", cwd=tmp_path)
    assert "Verbs:" in ran(python(installed), "-m", "attncli", "--help", cwd=tmp_path)
    assert ran(attn, "heads", "x", "-m", "./nowhere", cwd=tmp_path, rc=3) == ""


def test_an_installation_has_its_pages_and_completions_where_they_are_looked_for(installed: Path) -> None:
    for place, name in SHARED.items():
        assert (installed / place).read_text("utf-8") == (ROOT / "completions" / name).read_text("utf-8")
    for page in PAGES:
        assert (installed / f"share/man/man1/{page}.1").read_text("utf-8").startswith(".TH")


def test_an_installation_lacks_nothing(installed: Path, tmp_path: Path) -> None:
    # It exits with 1 where a requirement is missing; what it says depends on how talkative pip is told to be.
    ran(sys.executable, "-m", "pip", "--python", python(installed), "check", cwd=tmp_path)


CONSUMER = """\
import attncli

reveal_type(attncli.heads("The cat", model="gpt2", layer="0-2", by="word"))
reveal_type(attncli.tokenize("x").texts[0].ids)
reveal_type(attncli.params("gpt2").models[0].counted.total)
reveal_type(attncli.compare("mole", ["a mole"]).states[0].self_similarity)
attncli.heads("x", layr=3)
attncli.head
"""


def test_type_checkers_see_the_types_of_an_installation(installed: Path, tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy isn't installed")
    (tmp_path / "consumer.py").write_text(CONSUMER, encoding="utf-8")
    # What torch and transformers say of themselves is nothing to us, and takes half a minute to read.
    skipped = "torch.*,transformers.*,tokenizers.*,huggingface_hub.*,jinja2.*,click.*,rich.*"
    settings = f"[mypy]\nstrict = True\n[mypy-{skipped}]\nfollow_imports = skip\nignore_missing_imports = True\n"
    (tmp_path / "mypy.ini").write_text(settings, encoding="utf-8")
    mypy = (sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--python-executable", python(installed))
    said = ran(*mypy, "consumer.py", cwd=tmp_path, rc=1)
    for kind in ("attncli.results.heads.HeadsResult", "list[int]", "int", "float | None"):
        assert f'Revealed type is "{kind}"' in said
    assert 'Unexpected keyword argument "layr" for "heads"' in said
    assert 'Module has no attribute "head"' in said
    assert "Found 2 errors in 1 file" in said
