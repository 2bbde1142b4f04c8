"""Vocabularies of ranked byte strings (tiktoken files, and Mistral's tekken.json) as tokenizers of `tokenizers`.

Their tokens are byte strings with ranks: of two neighbours whose bytes together are a token, those of the lowest rank
are joined first. That is byte-level BPE with a merge for every way to put a token together from two others, in the
order of ranks, as transformers converts such files (its TikTokenConverter and MistralConverter).
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend

from attncli.errors import ModelError
from attncli.models.files.reference import holds_ranks, is_tekken
from attncli.models.files.weight_headers import BrokenFileError
from attncli.models.tokenizers.fast import FastTokenizer
from attncli.models.tokenizers.gguf_vocabulary import SPLITS, merges_in_order
from attncli.models.tokenizers.token_bytes import byte_letters

_GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

#: How the encodings of tiktoken split texts. Their files don't say it, but are called after them.
_TIKTOKEN_PATTERNS = {
    **dict.fromkeys(("gpt2", "r50k_base", "p50k_base"), _GPT2),
    "cl100k_base": SPLITS["llama3"][0],
    "o200k_base": SPLITS["gpt-4o"][0],
}
_ASSUMED = "cl100k_base"

#: The special tokens of a tekken.json that lists none, by their ids (mistral_common's DEPRECATED_SPECIAL_TOKENS).
_TEKKEN_SPECIAL = (
    "<unk> <s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS] [TOOL_CALLS] "
    "[IMG] <pad> [IMG_BREAK] [IMG_END] [PREFIX] [MIDDLE] [SUFFIX] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [TOOL_CONTENT]"
)


#: No tekken.json has as many special tokens; a broken one may say any number.
_MOST_SPECIAL = 1 << 16


class _Ranks(NamedTuple):
    """A vocabulary: its byte strings in the order of ranks, the special tokens before them, and how texts are split."""

    tokens: Sequence[bytes]
    special: Sequence[str]
    pattern: str


def is_ranks_file(path: Path) -> bool:
    """Whether a file is a tekken.json or a tiktoken file, whatever its name."""
    return is_tekken(path) if path.suffix == ".json" else path.suffix == ".tiktoken" or holds_ranks(path)


def read_ranks_tokenizer(path: Path, *, name: str, repair_hint: str, max_length: int | None = None) -> FastTokenizer:
    """The tokenizer of a tekken.json or tiktoken file.

    name: of the model, for the note on what was assumed.  max_length: the most tokens that it takes.
    Raises ModelError for a broken file.
    """
    note = None
    try:
        if path.suffix == ".json":
            ranks = _read_tekken(json.loads(path.read_bytes()))
        else:
            encoding = next((each for each in _TIKTOKEN_PATTERNS if each in path.name), None)
            ranks = _Ranks(_read_tiktoken(path.read_bytes()), (), _TIKTOKEN_PATTERNS[encoding or _ASSUMED])
            lacking = "its special tokens" if encoding else "how texts are split nor its special tokens"
            how = f"split as for {encoding or _ASSUMED}{', by its name' if encoding else ''}"
            note = f"{name}: a tiktoken file says {'not' if encoding else 'neither'} {lacking}; {how}"
        backend = _build(ranks)
    except (BrokenFileError, OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} can't be used: {error}", hint=repair_hint) from error
    kind = "tekken" if path.suffix == ".json" else "tiktoken"
    return FastTokenizer(backend, class_name=kind, max_length=max_length, note=note)


def _read_tiktoken(content: bytes) -> list[bytes]:
    """The tokens of lines with a token in base64 and its rank. Raises BrokenFileError where ranks have gaps."""
    ranks: dict[int, bytes] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        match line.split():
            case [token, rank] if rank.isdigit():
                ranks[int(rank)] = _decode(token, f"line {number}")
            case [_, *_]:
                raise BrokenFileError(f"line {number} is not a token in base64 and its rank")
    if sorted(ranks) != list(range(len(ranks))):
        raise BrokenFileError(f"its {len(ranks):,} ranks are not 0 to {len(ranks) - 1:,}")
    return [ranks[rank] for rank in range(len(ranks))]


def _read_tekken(content: Any) -> _Ranks:
    """The vocabulary of a tekken.json, without the tokens beyond the size that it says."""
    match content:
        case {"config": {"pattern": str(pattern), **settings}, "vocab": list(entries)}:
            special = _tekken_special(content.get("special_tokens"), settings.get("default_num_special_tokens"))
        case _:
            raise BrokenFileError('a tekken.json needs a "config" with a "pattern", and a "vocab"')
    size = settings.get("default_vocab_size")
    tokens = []
    for number, entry in enumerate(entries[: max(size - len(special), 0)] if isinstance(size, int) else entries):
        if not isinstance(entry, dict) or not isinstance(entry.get("token_bytes"), str):
            raise BrokenFileError(f'entry {number} of its vocab has no "token_bytes"')
        tokens.append(_decode(entry["token_bytes"].encode(), f"entry {number} of its vocab"))
    return _Ranks(tokens, special, pattern)


def _tekken_special(entries: Any, count: Any) -> list[str]:
    """The special tokens by their ids; `count` of them, those without a name as `<SPECIAL_20>`."""
    names = _TEKKEN_SPECIAL.split()
    if entries is not None:
        try:
            names = [str(entry["token_str"]) for entry in sorted(entries, key=lambda entry: entry["rank"])]
        except (TypeError, KeyError) as error:
            raise BrokenFileError('its "special_tokens" are not a list of ranks and names') from error
    if isinstance(count, int) and count < len(names):
        raise BrokenFileError(f"it has {len(names):,} special tokens and declares {count:,}")
    last = min(count, _MOST_SPECIAL) if isinstance(count, int) else len(names)
    return [*names, *(f"<SPECIAL_{number}>" for number in range(len(names), last))]


def _decode(token: bytes, where: str) -> bytes:
    try:
        return b64decode(token, validate=True)
    except ValueError as error:
        raise BrokenFileError(f"{where} is not base64") from error


def _build(ranks: _Ranks) -> Backend:
    first = len(ranks.special)
    numbers = {token: rank for rank, token in enumerate(ranks.tokens)}
    letters = byte_letters()
    written = {token: token.decode("latin-1").translate(letters) for token in numbers}
    vocabulary = {written[token]: first + rank for token, rank in numbers.items()}
    vocabulary |= {name: number for number, name in enumerate(ranks.special)}
    merges = [(written[left], written[right]) for left, right in merges_in_order(numbers)]
    backend = Backend(models.BPE(vocabulary, merges, fuse_unk=False, ignore_merges=True))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(ranks.pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in ranks.special])
    return backend
