"""Tokenizers without a tokenizer.json, which transformers loads from their files; that takes seconds.

Most of them transformers converts to a tokenizer of the library `tokenizers`; some stay written in Python.

A tokenizer may also be given by one file: `-m vocab.txt`, `-m llama.model`. Such a file is only a vocabulary. How texts
are prepared for it is in the files beside it (tokenizer_config.json, config.json), which are used if the given file has
the standard name that they belong to. Otherwise the settings come from the file itself as far as possible, and a note
says what was assumed. Vocabularies of tiktoken and tekken are read in `ranks`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from tokenizers import Regex, normalizers

from attncli.errors import ModelError, is_panic, reason_of
from attncli.models.files.reference import is_tekken_name
from attncli.models.files.weight_headers import check_file
from attncli.models.loading.own_code import fetch_code
from attncli.models.tokenizers.config import SPACE_MARK, TokenizerConfig, TokenizerFiles, read_json
from attncli.models.tokenizers.fast import FastTokenizer
from attncli.models.tokenizers.guard import check_charsmap
from attncli.models.tokenizers.ranks import is_ranks_file, read_ranks_tokenizer
from attncli.models.tokenizers.token_bytes import TokenBytes
from attncli.models.tokenizers.types import Encoding, NoTokenizerError, Piece, Tokenizer

#: File names of the vocabularies that transformers' tokenizers are made of.
VOCABULARIES = (
    "tokenizer.model",  # SentencePiece (Llama) or tiktoken
    "spiece.model",  # T5, ALBERT, XLNet
    "sentencepiece.bpe.model",  # XLM-R, mBART, M2M
    "sentencepiece.model",
    "spm.model",
    "spm_char.model",  # SpeechT5
    "source.spm",  # Marian, with target.spm
    "tiktoken.model",
    "tekken.json",  # Mistral
    "vocab.txt",  # WordPiece
    "vocab.json",  # BPE, with merges.txt
    "vocab-src.json",  # FSMT, with vocab-tgt.json
    "prophetnet.tokenizer",
    "byte_maps.json",  # MyT5
    "bpe.codes",  # PhoBERT, BERTweet
)

#: Files that such a tokenizer may need besides its vocabulary.
COMPANIONS = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "config.json",
    "merges.txt",
    "target.spm",
    "vocab-tgt.json",
    "target_vocab.json",
    "entity_vocab.json",
    "emoji.json",
    "dict.txt",
    "normalizer.json",
    "word_shape.json",
    "word_pronunciation.json",
)

#: For each of attncli's extras: the packages that read a kind of file, and the endings of such files.
_EXTRA_PACKAGES = {
    "slow-tokenizers": (("sentencepiece", "protobuf", "tiktoken"), (".model", ".spm", "tekken.json")),
}


_CONFIG_FILE = "tokenizer_config.json"


def load_slow_tokenizer(files: TokenizerFiles, config: TokenizerConfig) -> Tokenizer:
    """Let transformers load a tokenizer from its files, which are all downloaded first.

    Raises NoTokenizerError where there is none, and ModelError where it cannot be loaded.
    """
    found = _find_files(files, (*COMPANIONS, *VOCABULARIES))
    vocabularies = [path for path in found if path.name in VOCABULARIES]
    names = (name for name in files.source.names() if is_tekken_name(name))
    tekken = None if vocabularies else next(names, None)
    paths = vocabularies if tekken is None else _find_files(files, [tekken])
    ranks = next((path for path in paths[:1] if is_ranks_file(path)), None)
    if ranks is not None and config.is_plain and config.code is None:
        name, repair_hint = files.ref.name, files.source.repair_hint
        return read_ranks_tokenizer(ranks, name=name, repair_hint=repair_hint, max_length=config.max_length)
    if not vocabularies and not config.class_name:
        raise _missing_tokenizer_error(files)
    if config.code is not None and files.trusted:
        fetch_code(files, [config.code])
    loaded = load_with_transformers(files.ref.name, [*vocabularies, *found], trusted=files.trusted)
    if not vocabularies and type(loaded).vocab_files_names and config.code is None:
        # transformers would use an empty vocabulary where it finds none.
        raise _missing_tokenizer_error(files)
    return wrap_loaded(loaded, max_length=config.max_length, slow=True)


def wrap_loaded(loaded: Any, *, max_length: int | None, slow: bool, note: str | None = None) -> Tokenizer:
    """A tokenizer of transformers as a `FastTokenizer` if it has a backend of `tokenizers`, or a `PythonTokenizer`."""
    backend = getattr(loaded, "backend_tokenizer", None)
    if backend is None:
        tokenizer = PythonTokenizer(loaded, max_length=max_length, slow=slow)
        tokenizer.note = note
        return tokenizer
    return FastTokenizer(
        backend,
        class_name=type(loaded).__name__,
        max_length=max_length,
        truncation_side=getattr(loaded, "truncation_side", "right"),
        slow=slow,
        note=note,
    )


def _find_files(files: TokenizerFiles, names: Sequence[str]) -> list[Path]:
    return [path for name in names if (path := files.find(name)) is not None]


def _missing_tokenizer_error(files: TokenizerFiles) -> ModelError:
    """The error for a missing tokenizer: the hub was not reached, there is none, or this is no model at all."""
    if (error := files.source.listing_error()) is not None:
        return error
    if files.find("config.json") is None:
        message = f"{files.ref.name} is not a model: it has neither a config.json nor a tokenizer"
        return ModelError(message, hint="give the folder that contains them, or a model on the hub as org/name")
    return NoTokenizerError(files.ref.name)


def load_with_transformers(name: str, found: Sequence[Path], *, trusted: bool = False, **options: str) -> Any:
    """Let transformers load a tokenizer from the folder of the `found` files, which have their standard names.

    name: of the model.  Raises ModelError where that fails.
    """
    folder = found[0].parent
    for path in found:
        if path.name.endswith((".model", ".spm")):
            _check_sentencepiece(path)
    with suppress_warnings():
        from transformers import AutoTokenizer

        try:
            # `mistral_format`: a tekken.json is turned into a tokenizer of `tokenizers`, which keeps offsets.
            return AutoTokenizer.from_pretrained(
                str(folder),
                local_files_only=True,
                trust_remote_code=trusted,
                mistral_format=False,
                **options,
            )
        # transformers raises nearly every kind of exception for a broken tokenizer, and tokenizers may panic.
        except BaseException as error:
            if not (isinstance(error, Exception) or is_panic(error)):
                raise
            for extra, (packages, endings) in _EXTRA_PACKAGES.items():
                missing = [package for package in packages if not _is_installed(package)]
                if missing and any(path.name.endswith(endings) for path in found):
                    message = f"the tokenizer of {name} needs packages that are not installed: {', '.join(missing)}"
                    raise ModelError(message, hint=f"pip install 'attncli[{extra}]'") from error
            # Without the folder, which may be a temporary one.
            reason = " ".join(str(error).replace(f"{found[0].parent}{os.sep}", "").split()) or type(error).__name__
            message = f"transformers could not load the tokenizer of {name}: {reason}"
            raise ModelError(message, hint="give token ids instead: --input-ids") from error


def _check_sentencepiece(path: Path) -> None:
    """Raise ModelError for a SentencePiece file with which a library would run out of memory."""
    try:
        proto = import_module("sentencepiece.sentencepiece_model_pb2").ModelProto
        charsmap = proto.FromString(path.read_bytes()).normalizer_spec.precompiled_charsmap
    except Exception:  # no such file, or the package isn't installed: transformers says so
        return
    with check_file(path):
        check_charsmap(charsmap)


def _is_installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


# --- A tokenizer from a single file


class AssumedSettings(NamedTuple):
    """Settings for transformers where a vocabulary has none, and a note about them for the user."""

    settings: Mapping[str, object]
    note: str | None = None
    composer: Callable[[str], str] | None = None


def load_single_file(files: TokenizerFiles, path: Path, config: TokenizerConfig) -> Tokenizer:
    """The tokenizer of a vocabulary, loaded by transformers.

    config: the settings beside it.
    Raises ModelError where it can't be read, or a file that it needs isn't beside it.
    """
    name = standard_name(path)
    companions = _companion_files(files, path, name)
    has_settings = path.name == name and (config.class_name or "model_type" in read_json(files, "config.json"))
    assumed = None if has_settings else _assume_settings(path, name)
    if assumed is not None and name.endswith((".model", ".spm")):
        # The only names under which transformers reads such a file without knowing its class.
        name = "tokenizer.model"
    # On Windows a file that is still open can't be removed: the system clears it later.
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for standard, source in {name: path, **companions}.items():
            shutil.copyfile(source, Path(folder, standard))
        if assumed is not None:
            settings = {**(read_json(files, _CONFIG_FILE) if _CONFIG_FILE in companions else {}), **assumed.settings}
            Path(folder, _CONFIG_FILE).write_text(json.dumps(settings), encoding="utf-8")
        loaded = load_with_transformers(files.ref.name, [Path(folder, name)])
    if assumed is not None and name == "tokenizer.model":
        _set_sentencepiece_normalizer(loaded, path)
    note = f"{files.ref.name}: {assumed.note}" if assumed is not None and assumed.note else None
    return wrap_loaded(loaded, max_length=config.max_length if path.name == name else None, slow=True, note=note)


def standard_name(path: Path) -> str:
    """The name of such a file for transformers: `llama.model` is a tokenizer.model."""
    if path.name.endswith("merges.txt"):
        return "vocab.json"
    known = (name for name in (*VOCABULARIES, "tokenizer.json") if path.name == name or path.name.endswith(f"-{name}"))
    return next(known, "tokenizer.model")


def _companion_files(files: TokenizerFiles, path: Path, name: str) -> dict[str, Path]:
    """The files that belong to the given one, by their standard names."""
    found = {other: each for other in COMPANIONS if path.name == name and (each := files.find(other)) is not None}
    if name != "vocab.json":
        return found
    for part in ("vocab.json", "merges.txt"):
        # `roberta-vocab.json` goes with `roberta-merges.txt`.
        other = path.name.removesuffix("vocab.json").removesuffix("merges.txt") + part
        if (each := files.find(other)) is None:
            hint = f"put {other} next to it, or use a tokenizer.json"
            raise ModelError(f"{files.ref.name} is only half of a vocabulary, and {other} is missing", hint=hint)
        found[part] = each
    return found


def _assume_settings(path: Path, name: str) -> AssumedSettings:
    if name == "vocab.txt":
        # Like BERT's: texts are lowercased if the vocabulary has no capital letters.
        entries = path.read_text(encoding="utf-8", errors="replace").split("\n")
        cased = any(entry != entry.lower() for entry in entries if not entry.startswith("["))
        letters, how = ("capital letters", "keep") if cased else ("no capital letters", "lose")
        note = f"taken for WordPiece, as BERT's is; it has {letters}, so texts {how} theirs"
        return AssumedSettings({"tokenizer_class": "BertTokenizer", "do_lower_case": not cased}, note)
    if name == "vocab.json":
        # Otherwise the class's defaults for these would join the vocabulary.
        settings = {"tokenizer_class": "GPT2Tokenizer", **dict.fromkeys(("bos_token", "eos_token", "unk_token"))}
        return AssumedSettings(settings, "taken for byte-level BPE, as GPT-2's is")
    return AssumedSettings({})


def _set_sentencepiece_normalizer(loaded: Any, path: Path) -> None:
    """Normalise texts as the SentencePiece file says; transformers does that only for classes that it knows."""
    proto = import_module("sentencepiece.sentencepiece_model_pb2").ModelProto
    spec = proto.FromString(path.read_bytes()).normalizer_spec
    steps: list[Any] = [normalizers.Precompiled(spec.precompiled_charsmap)] if spec.precompiled_charsmap else []
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()]
    if spec.add_dummy_prefix:
        steps.append(normalizers.Prepend(SPACE_MARK))
    steps.append(normalizers.Replace(" ", SPACE_MARK))
    loaded.backend_tokenizer.normalizer = normalizers.Sequence(steps)


# --- Tokenizers written in Python


class PythonTokenizer:
    """`attncli.models.tokenizers.types.Tokenizer` around a tokenizer of transformers that is written in Python."""

    note: str | None = None
    composer: Callable[[str], str] | None = None

    def __init__(self, loaded: Any, *, max_length: int | None, slow: bool) -> None:
        self._loaded = loaded
        self.max_length = max_length
        self.slow = slow
        self.class_name = self.algorithm = type(loaded).__name__
        self.unknown_id: int | None = getattr(loaded, "unk_token_id", None)
        self._special_as_text = False
        self._special = frozenset(loaded.all_special_ids) - {self.unknown_id}
        # How SentencePiece writes tokens is known; for any other class only its own decoder can tell.
        self._spells = hasattr(loaded, "sp_model")
        written = TokenBytes(byte_fallback=True, replacements=((SPACE_MARK, " "),))
        self.token_bytes = written if self._spells else TokenBytes()

    @property
    def vocabulary_size(self) -> int:
        return len(self._loaded)

    @property
    def added_count(self) -> int:
        return int(self.vocabulary_size - self._loaded.vocab_size)

    def with_special_as_text(self) -> PythonTokenizer:
        reading = copy(self)
        reading._special_as_text = True
        return reading

    def encode(self, text: str, *, pair: str | None = None, special: bool = True, truncate: bool = False) -> Encoding:
        ids = self._ids(text)
        pair_ids = [] if pair is None else self._ids(pair)
        # The classes put special tokens around any numbers. Negative places instead of ids show which tokens of the
        # result come from the text, which from its pair, and which were added.
        first = [~place for place in range(len(ids))]
        second = None if pair is None else [~place for place in range(len(ids), len(ids) + len(pair_ids))]
        if truncate and self.max_length is not None:
            first, second = self._truncated(first, second, special)
        joined, segments = self._add_special_tokens(first, second, special)
        tokens = [(identifier, 0) for identifier in ids] + [(identifier, 1) for identifier in pair_ids]
        entries = [tokens[~number] if number < 0 else (number, None) for number in joined]
        return Encoding(
            ids=[identifier for identifier, _ in entries],
            sequences=[sequence for _, sequence in entries],
            segments=segments,
            spans=[None] * len(entries),
        )

    def encode_batch(
        self, texts: Sequence[str], *, special: bool = True, truncate: bool = False
    ) -> list[Sequence[int]]:
        return [self.encode(text, special=special, truncate=truncate).ids for text in texts]

    def encode_blocks(self, blocks: Iterable[str], *, special: bool = True) -> Iterator[Sequence[int]]:
        # Where such a tokenizer cuts is unknown, so the text can't be encoded in chunks.
        yield self.encode("".join(blocks), special=special).ids

    def differs_from_file(self, text: str) -> bool:
        return False

    def describe(self, ids: Sequence[int]) -> list[Piece | None]:
        pieces = {identifier: self._piece(identifier) for identifier in set(ids)}
        return [pieces[identifier] for identifier in ids]

    def vocabulary(self) -> Iterator[Piece]:
        ids = sorted({*range(self.vocabulary_size), *self._loaded.added_tokens_decoder})
        return (piece for identifier in ids if (piece := self._piece(identifier)) is not None)

    def decode(self, ids: Sequence[int]) -> str:
        decoded = self._loaded.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(decoded)

    def pipeline(self) -> None:
        return None

    def _ids(self, text: str) -> list[int]:
        with suppress_warnings():
            try:
                options = {"split_special_tokens": True} if self._special_as_text else {}
                return list(self._loaded.encode(text, add_special_tokens=False, **options))
            except Exception as error:  # each class raises its own
                raise ModelError(
                    f"the tokenizer {self.class_name} failed on the text: {reason_of(error)}",
                    hint="use another model (-m)",
                ) from error

    def _add_special_tokens(
        self, first: list[int], second: list[int] | None, special: bool
    ) -> tuple[list[int], list[int]]:
        """Both sequences with special tokens around them, and the segment of each token."""
        if not special:
            joined = first + (second or [])
            return joined, [0] * len(joined)
        joined = self._loaded.build_inputs_with_special_tokens(first, second)
        segments = self._loaded.create_token_type_ids_from_sequences(first, second)
        return joined, segments if len(segments) == len(joined) else [0] * len(joined)

    def _truncated(
        self, first: list[int], second: list[int] | None, special: bool
    ) -> tuple[list[int], list[int] | None]:
        """Both sequences truncated, the longer one first, to fit with the special tokens around them."""
        left = getattr(self._loaded, "truncation_side", "right") == "left"

        def truncate(places: list[int], length: int) -> list[int]:
            return places[max(len(places) - length, 0) :] if left else places[:length]

        added, _ = self._add_special_tokens([], None if second is None else [], special)
        room = max((self.max_length or 0) - len(added), 0)
        if second is None:
            return truncate(first, room), None
        shorter = min(len(first), len(second), room // 2)
        lengths = (shorter, room - shorter) if len(first) <= len(second) else (room - shorter, shorter)
        return truncate(first, lengths[0]), truncate(second, lengths[1])

    def _piece(self, identifier: int) -> Piece | None:
        added = identifier in self._loaded.added_tokens_decoder
        if not (added or 0 <= identifier < self.vocabulary_size):
            return None
        token = self._loaded.convert_ids_to_tokens(identifier)
        if token is None:
            return None
        if self._spells and not added:
            data = self.token_bytes.to_bytes(token)
        else:
            decoded = token if added else self._loaded.convert_tokens_to_string([token])
            if not decoded and len(token) == 1 and ord(token) < 0x100:
                data = bytes([ord(token)])  # a tokenizer of bytes (ByT5) decodes a part of a character to nothing
            else:
                data = (decoded or token).encode("utf-8", "backslashreplace")
        return Piece.of(identifier, token, data, special=identifier in self._special)


@contextmanager
def suppress_warnings() -> Iterator[None]:
    """Keep transformers' warnings from stderr."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
