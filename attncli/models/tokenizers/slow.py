"""Tokenizers that come without a tokenizer.json: transformers reads their files, which takes seconds.

Most of what it reads it turns into a tokenizer of the library `tokenizers`, which is then used as any other; some
stay written in Python.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from attncli.errors import ModelError
from attncli.models.code import fetch_code
from attncli.models.tokenizers.config import Files, TokenizerConfig, sane_length
from attncli.models.tokenizers.encoding import NoTokenizerError, Tokenizer
from attncli.models.tokenizers.fast import FastTokenizer
from attncli.models.tokenizers.python import PythonTokenizer, quiet

#: The vocabularies that transformers' tokenizers are made of, by file name.
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

#: What such a tokenizer may need besides its vocabulary.
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

#: By our extras: the packages that read a kind of file, and how the names of such files end.
_READERS = {
    "slow-tokenizers": (("sentencepiece", "protobuf", "tiktoken"), (".model", ".spm", "tekken.json")),
    "gguf": (("gguf",), (".gguf",)),
}


def load_slow_tokenizer(files: Files, config: TokenizerConfig, *, trust_remote_code: bool) -> Tokenizer:
    """Let transformers load a tokenizer from its files, all of which are made local first, or out of a GGUF file.

    Raises NoTokenizerError where there is none, and ModelError where it cannot be loaded.
    """
    if (gguf := _gguf(files)) is not None:
        loaded = load_files(files.ref.name, [gguf], gguf_file=gguf.name)
        return wrap_loaded(loaded, max_length=sane_length(loaded.model_max_length), slow=True)
    found = _local(files, (*COMPANIONS, *VOCABULARIES))
    vocabularies = [path for path in found if path.name in VOCABULARIES]
    if not vocabularies and not config.class_name:
        raise _none(files)
    if config.code is not None and trust_remote_code:
        fetch_code(files, [config.code])
    loaded = load_files(files.ref.name, [*vocabularies, *found], trust_remote_code=trust_remote_code)
    if not vocabularies and type(loaded).vocab_files_names and config.code is None:
        # transformers makes an empty vocabulary up where it finds none.
        raise _none(files)
    return wrap_loaded(loaded, max_length=config.max_length, slow=True)


def wrap_loaded(loaded: Any, *, max_length: int | None, slow: bool, note: str | None = None) -> Tokenizer:
    """A tokenizer of transformers as one of ours, by what is inside it."""
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


def _local(files: Files, names: Sequence[str]) -> list[Path]:
    return [path for name in names if (path := files.find(name)) is not None]


def _none(files: Files) -> ModelError:
    """Why there is no tokenizer: the hub could not be asked for it, there is none, or this is no model at all."""
    if (unasked := files.source.why_missing()) is not None:
        return unasked
    if files.find("config.json") is None:
        message = f"{files.ref.name} is no model: it has neither a config.json nor a tokenizer"
        return ModelError(message, hint="name the folder that holds them, or a model of the hub as org/name")
    return NoTokenizerError(files.ref.name)


def _gguf(files: Files) -> Path | None:
    """The GGUF file that the user named, if one was: it holds its tokenizer."""
    name = files.ref.file or files.ref.path.name
    return files.find(name) if name.endswith(".gguf") else None


def load_files(name: str, found: Sequence[Path], *, trust_remote_code: bool = False, **options: str) -> Any:
    """Let transformers load a tokenizer from the folder of the `found` files, under their standard names.

    name: what the model is called.  Raises ModelError where that fails.
    """
    folder = found[0].parent
    with quiet():
        from transformers import AutoTokenizer

        try:
            # `mistral_format`: a tekken.json is turned into a tokenizer of `tokenizers`, which keeps offsets.
            return AutoTokenizer.from_pretrained(
                str(folder),
                local_files_only=True,
                trust_remote_code=trust_remote_code,
                mistral_format=False,
                **options,
            )
        except Exception as error:  # transformers raises nearly every kind of exception for a broken tokenizer
            raise _explained(error, name, found) from error


def _explained(error: Exception, name: str, found: Sequence[Path]) -> ModelError:
    for extra, (packages, endings) in _READERS.items():
        missing = [package for package in packages if not _installed(package)]
        if missing and any(path.name.endswith(endings) for path in found):
            message = f"the tokenizer of {name} needs what is not installed: {', '.join(missing)}"
            return ModelError(message, hint=f"pip install 'attncli[{extra}]'")
    # Without the folder, which may be a temporary one.
    reason = " ".join(str(error).replace(f"{found[0].parent}{os.sep}", "").split()) or type(error).__name__
    message = f"transformers could not load the tokenizer of {name}: {reason}"
    return ModelError(message, hint="--input-ids needs no tokenizer")


def _installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True
