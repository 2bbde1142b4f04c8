"""A tokenizer by one of its files alone: `-m vocab.txt`, `-m tekken.json`, `-m llama.model`, `-m cl100k_base.tiktoken`.

Such a file is a vocabulary. How texts are prepared for it stands beside it (tokenizer_config.json, config.json), and
those files are used where the named one has the name that they go with. Where there is none, the file itself tells what
it can, and a note says what was assumed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from tokenizers import Regex, normalizers

from attncli.errors import ModelError
from attncli.models.tokenizers.config import Files, TokenizerConfig, read_json
from attncli.models.tokenizers.encoding import Tokenizer
from attncli.models.tokenizers.slow import COMPANIONS, VOCABULARIES, load_files, wrap_loaded

_SETTINGS = "tokenizer_config.json"

#: What SentencePiece writes for a space.
_SPACE = "▁"

#: Bytes of a file that tell a tiktoken file, which is text, from a SentencePiece one.
_START = 4096


class Assumed(NamedTuple):
    """What transformers is told of a vocabulary that says nothing of itself, and what the user is told of that."""

    settings: Mapping[str, object]
    note: str | None = None


def load_named_tokenizer(files: Files, path: Path, config: TokenizerConfig) -> Tokenizer:
    """The tokenizer that a vocabulary makes, read by transformers.

    config: what stands beside it.
    Raises ModelError where it can't be read, or a file that it goes with isn't beside it.
    """
    name = standard_name(path)
    beside = _beside(files, path, name)
    told = path.name == name and (config.class_name or "model_type" in read_json(files, "config.json"))
    assumed = None if told else _assumed(path, name)
    if assumed is not None and name.endswith((".model", ".spm")):
        # The one name under which transformers takes such a file without a class that it is for.
        name = "tiktoken.model" if _is_tiktoken(path) else "tokenizer.model"
    # On Windows a file that somebody holds open can't be removed: it is the system's to clear away then.
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for standard, source in {name: path, **beside}.items():
            shutil.copyfile(source, Path(folder, standard))
        if assumed is not None:
            settings = {**(read_json(files, _SETTINGS) if _SETTINGS in beside else {}), **assumed.settings}
            Path(folder, _SETTINGS).write_text(json.dumps(settings), encoding="utf-8")
        loaded = load_files(files.ref.name, [Path(folder, name)])
    if assumed is not None and name == "tokenizer.model":
        _prepare_as_sentencepiece(loaded, path)
    note = f"{files.ref.name}: {assumed.note}" if assumed is not None and assumed.note else None
    return wrap_loaded(loaded, max_length=config.max_length if path.name == name else None, slow=True, note=note)


def standard_name(path: Path) -> str:
    """What transformers calls such a file: `llama.model` is a tokenizer.model."""
    if path.name.endswith("merges.txt"):
        return "vocab.json"
    known = (name for name in (*VOCABULARIES, "tokenizer.json") if path.name == name or path.name.endswith(f"-{name}"))
    return next(known, "tiktoken.model" if _is_tiktoken(path) else "tokenizer.model")


def _beside(files: Files, path: Path, name: str) -> dict[str, Path]:
    """The files that go with the named one, by their standard names."""
    found = {other: each for other in COMPANIONS if path.name == name and (each := files.find(other)) is not None}
    if name != "vocab.json":
        return found
    for part in ("vocab.json", "merges.txt"):
        # `roberta-vocab.json` goes with `roberta-merges.txt`.
        other = path.name.removesuffix("vocab.json").removesuffix("merges.txt") + part
        if (each := files.find(other)) is None:
            hint = f"put {other} beside it, or name a tokenizer.json"
            raise ModelError(f"{files.ref.name} is half of a vocabulary, and {other} is not beside it", hint=hint)
        found[part] = each
    return found


def _assumed(path: Path, name: str) -> Assumed:
    if name == "vocab.txt":
        return _word_piece(path)
    if name == "vocab.json":
        # The class's own default for these would join the vocabulary.
        none = dict.fromkeys(("bos_token", "eos_token", "unk_token"))
        return Assumed({"tokenizer_class": "GPT2Tokenizer", **none}, "taken for byte-level BPE, as GPT-2's is")
    if _is_tiktoken(path):
        note = "a tiktoken file says neither how texts are split nor its special tokens; split as for cl100k_base"
        return Assumed({}, note)
    return Assumed({})


def _word_piece(path: Path) -> Assumed:
    """A vocabulary of BERT's kind: without capital letters, it is one for texts without them."""
    entries = path.read_text(encoding="utf-8", errors="replace").split("\n")
    cased = any(entry != entry.lower() for entry in entries if not entry.startswith("["))
    how = "it has capital letters, so texts keep theirs" if cased else "it has no capital letters, so texts lose theirs"
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": not cased}
    return Assumed(settings, f"taken for WordPiece, as BERT's is; {how}")


def _is_tiktoken(path: Path) -> bool:
    """Lines of a token in base64 and its rank."""
    if path.name.endswith(".tiktoken"):
        return True
    with path.open("rb") as file:
        first = file.read(_START).split(b"\n")[0].split()
    return len(first) == 2 and first[1].isdigit()


def _prepare_as_sentencepiece(loaded: Any, path: Path) -> None:
    """Let texts be prepared as the file itself says, which transformers only does for classes that it knows."""
    proto = import_module("sentencepiece.sentencepiece_model_pb2").ModelProto
    spec = proto.FromString(path.read_bytes()).normalizer_spec
    steps: list[Any] = [normalizers.Precompiled(spec.precompiled_charsmap)] if spec.precompiled_charsmap else []
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()]
    if spec.add_dummy_prefix:
        steps.append(normalizers.Prepend(_SPACE))
    steps.append(normalizers.Replace(" ", _SPACE))
    loaded.backend_tokenizer.normalizer = normalizers.Sequence(steps)
