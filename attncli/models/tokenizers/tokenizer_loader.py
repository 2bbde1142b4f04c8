"""Load a model's tokenizer from its files, or wrap one that the user has loaded already.

A tokenizer.json is read by the library `tokenizers` alone, and so are the vocabularies of tiktoken and tekken; anything
else (vocab.txt, SentencePiece) is loaded through transformers, which is slower. Importing this module imports neither.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attncli.errors import ModelError, UsageError
from attncli.models.files.reference import missing_tokenizer_part
from attncli.models.tokenizers.config import TokenizerConfig, TokenizerFiles, finite_length, read_config
from attncli.models.tokenizers.types import Encoding, NoTokenizerError, Piece, Tokenizer

__all__ = ["Encoding", "NoTokenizerError", "Piece", "Tokenizer", "load_tokenizer", "wrap_tokenizer"]

TOKENIZER_FILE = "tokenizer.json"


def load_tokenizer(files: TokenizerFiles) -> Tokenizer:
    """The tokenizer of a model.

    A tokenizer class that came with the model is run where the files are trusted. Elsewhere the model's tokenizer.json
    (which is data) is used; where there is none, the tokenizer is refused.

    Raises NoTokenizerError where the model has no tokenizer, and ModelError where it is broken, needs a package that
    is not installed, or needs the model's own code and that was not allowed.
    """
    if (file := files.ref.tokenizer_file) is not None:
        return _load_named_file(files, file)
    path = files.find(TOKENIZER_FILE)
    config = read_config(files)
    # A GGUF file that the user named contains its tokenizer.
    name = files.ref.file or files.ref.path.name
    gguf = files.find(name) if name.endswith(".gguf") else None
    if path is None and gguf is not None:
        return _load_gguf(files, gguf)
    if path is None and config.code is not None and not files.trusted:
        raise ModelError(
            f"the tokenizer of {files.ref.name} is Python code that comes with it ({config.code}), which was not run",
            hint="add --trust-remote-code to run it, or give token ids with --input-ids",
        )
    if path is None or (config.code is not None and files.trusted):
        from attncli.models.tokenizers.slow import load_slow_tokenizer

        return load_slow_tokenizer(files, config)
    from attncli.models.tokenizers.fast import read_fast_tokenizer

    note = None
    if config.code is not None:
        used = f"its tokenizer.json was used instead of its own class {config.code}"
        note = f"{files.ref.name}: {used} (--trust-remote-code)"
    tokenizer = read_fast_tokenizer(path, config, repair_hint=files.source.repair_hint, note=note)
    if gguf is None or (tokens := _gguf_tokens(files)) is None:
        return tokenizer
    # The vocabulary must be that of the GGUF file, which is padded to a round number of tokens with entries that a
    # tokenizer.json does not have.
    pieces = zip(tokens, tokenizer.describe(range(len(tokens))), strict=True)
    matches = all(piece is None or piece.token == token for token, piece in pieces)
    return tokenizer if matches else _load_gguf(files, gguf)


def _gguf_tokens(files: TokenizerFiles) -> list[object] | None:
    """The vocabulary of the GGUF file that was named; None where it has none, and where it is still on the hub: it is
    not downloaded for this, as files of one repository belong together."""
    name = files.ref.weights_file
    gguf = files.source.local(name) if name is not None and name.endswith(".gguf") else None
    if gguf is None:
        return None
    from attncli.models.files.gguf_header import read_metadata

    tokens = read_metadata(gguf, repair_hint=files.source.repair_hint).get("tokenizer.ggml.tokens")
    return tokens if isinstance(tokens, list) else None


def wrap_tokenizer(tokenizer: Any) -> Tokenizer:
    """A tokenizer that is loaded already: of transformers (fast or slow), of `tokenizers`, or one of ours.

    It is used as it is, except for its truncation and padding, and not changed.

    Raises UsageError for anything else.
    """
    if hasattr(tokenizer, "describe"):
        return tokenizer  # type: ignore[no-any-return]
    if hasattr(tokenizer, "convert_ids_to_tokens"):
        from attncli.models.tokenizers.slow import wrap_loaded

        return wrap_loaded(tokenizer, max_length=finite_length(tokenizer.model_max_length), slow=False)
    from tokenizers import Tokenizer as Backend

    if not isinstance(tokenizer, Backend):
        raise UsageError(
            f"tokenizer is a {type(tokenizer).__name__}, which is not a tokenizer of transformers or tokenizers",
            hint="load it with transformers.AutoTokenizer, or give the model's name as model=",
        )
    from attncli.models.tokenizers.fast import FastTokenizer

    return FastTokenizer(tokenizer)


def _load_gguf(files: TokenizerFiles, path: Path) -> Tokenizer:
    from attncli.models.tokenizers.gguf_vocabulary import read_gguf_tokenizer

    return read_gguf_tokenizer(path, name=files.ref.name, repair_hint=files.source.repair_hint)


def _load_named_file(files: TokenizerFiles, path: Path) -> Tokenizer:
    """A tokenizer by one of its files, which means itself: a tokenizer.json is used as it is, whatever class and tokens
    the settings beside it name. They only say how long a text may be, if it has the standard name."""
    # A file saved by the library `tokenizers` may have any name.
    is_tokenizer_json = path.name.endswith(TOKENIZER_FILE) or (
        path.suffix == ".json" and missing_tokenizer_part(path) is None
    )
    if not is_tokenizer_json:
        from attncli.models.tokenizers.ranks import is_ranks_file, read_ranks_tokenizer

        if is_ranks_file(path):
            return read_ranks_tokenizer(path, name=files.ref.name, repair_hint=files.source.repair_hint)
        from attncli.models.tokenizers.slow import load_single_file

        return load_single_file(files, path, read_config(files))
    from attncli.models.tokenizers.fast import read_fast_tokenizer

    config = TokenizerConfig()
    if path.name == TOKENIZER_FILE:
        beside = read_config(files)
        config = config._replace(max_length=beside.max_length, truncation_side=beside.truncation_side)
    return read_fast_tokenizer(path, config, repair_hint=files.source.repair_hint)
