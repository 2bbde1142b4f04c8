"""The tokenizer of a GGUF file as one of the library `tokenizers`, built from the vocabulary in its metadata.

`tokenizer.ggml.model` names the algorithm: `gpt2` is byte-level BPE, `llama` SentencePiece's BPE with bytes for
characters that it lacks, `gemma4` such a BPE with a list of merges, `t5` Unigram and `bert` WordPiece.
`tokenizer.ggml.pre` names how texts are split before byte-level BPE: the names and their patterns are those of
llama.cpp (https://github.com/ggml-org/llama.cpp, src/llama-vocab.cpp), in the form of the published tokenizer.json.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend

from attncli.models.files.gguf_header import read_metadata
from attncli.models.files.weight_headers import BrokenFileError, check_file, quote_name
from attncli.models.tokenizers.config import SPACE_MARK, finite_length
from attncli.models.tokenizers.fast import FastTokenizer
from attncli.models.tokenizers.guard import check_charsmap
from attncli.models.tokenizers.types import NoTokenizerError

# --- How byte-level BPE splits texts

_GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_SYMBOLS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_NOT_HAN_UPPER, _NOT_HAN_LOWER = (f"[{each[1:-1]}&&[^\\p{{Han}}]]" for each in (_UPPER, _LOWER))
_PUNCTUATED = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
_HAN_AND_KANA = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"


def _cased_words(upper: str = _UPPER, lower: str = _LOWER, endings: str = f"{_ENDINGS}?") -> str:
    """Words that are cut where lower case is followed by upper case, as o200k_base cuts them."""
    start = r"[^\r\n\p{L}\p{N}]?"
    return f"{start}{upper}*{lower}+{endings}|{start}{upper}+{lower}*{endings}"


_LLAMA3 = (rf"{_ENDINGS}|{_WORD}|\p{{N}}{{1,3}}|{_SYMBOLS}|{_SPACES}",)
_QWEN2 = (rf"{_ENDINGS}|{_WORD}|\p{{N}}|{_SYMBOLS}|{_SPACES}",)
_GPT4O = (rf"{_cased_words()}|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}",)
_DEEPSEEK_V3 = (r"\p{N}{1,3}", _HAN_AND_KANA, rf"{_PUNCTUATED}| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACES}")
_BAILING = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
)
_BLOOM = (r" ?[^(\s|.,!?…。，、।۔،)]+",)

#: The patterns that texts are split at, one after the other, by the names in `tokenizer.ggml.pre`.
SPLITS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        (
            *("default", "gpt-2", "phi-2", "mpt", "olmo", "jais", "roberta-bpe", "jina-es", "jina-de", "jina-v1-en"),
            *("jina-v2-es", "jina-v2-de", "jina-v2-code", "gigachat", "a.x-4.0", "mellum", "modern-bert", "trillion"),
            *("granite-docling", "exaone4"),
        ),
        (_GPT2_PATTERN,),
    ),
    **dict.fromkeys(
        ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"),
        (r"\p{N}", _GPT2_PATTERN),
    ),
    **dict.fromkeys(
        (
            *("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"),
            *("jina-v5-nano", "dbrx", "smaug-bpe", "glm4", "chatglm-bpe"),
        ),
        _LLAMA3,
    ),
    **dict.fromkeys(
        (
            *("qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan", "solar-open"),
            "grok-2",
        ),
        _QWEN2,
    ),
    "qwen35": (
        rf"{_ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}",
    ),
    "tekken": (rf"{_cased_words(endings='')}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}",),
    **dict.fromkeys(("gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2", "granite-embed-multi-97m"), _GPT4O),
    **dict.fromkeys(("tiny_aya", "cohere2moe"), (r"\d{1,3}(?=(?:\d{3})*\b)", *_GPT4O)),
    **dict.fromkeys(("deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"), _DEEPSEEK_V3),
    "spark2_5": (*_DEEPSEEK_V3[:2], rf"{_PUNCTUATED}| ?[\p{{P}}\p{{S}}]+|[\r\n]|\s+(?!\S)|\s+", r"\p{N}"),
    "deepseek-coder": (
        r"[\r\n]",
        r"\s?\p{L}+",
        r"\s?\p{P}+",
        "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+",
        r"\p{N}",
    ),
    "falcon": (r"[\p{P}\$\+<=>\^~\|`]+", _GPT2_PATTERN, "[0-9][0-9][0-9]"),
    "kimi-k2": (
        rf"\p{{Han}}+|{_cased_words(_NOT_HAN_UPPER, _NOT_HAN_LOWER)}|\p{{N}}{{1,3}}|{_SYMBOLS}|{_SPACES}",
    ),
    **dict.fromkeys(("bailingmoe", "bailingmoe2", "llada-moe"), _BAILING),
    "seed-coder": (
        rf"{_ENDINGS}|{_WORD}|\p{{N}}{{1}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_SPACES}",
    ),
    "ufakzeka": (rf"{_WORD}|\p{{N}}|{_SYMBOLS}|{_SPACES}",),
    "laguna": (r"[^\n]+|[\n]+", *_QWEN2),
    "minicpm5": (r"\p{N}{1,3}", rf"{_ENDINGS}|{_WORD}|\p{{N}}+|{_SYMBOLS}|{_SPACES}"),
    **dict.fromkeys(("bloom", "poro-chat", "gpt3-finnish"), _BLOOM),
    "viking": (*_BLOOM, r"\p{N}"),
}  # fmt: skip

#: Names with which a piece that is a token as a whole is that token, whatever the merges say.
_IGNORE_MERGES = frozenset(
    (
        *("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"),
        *("tekken", "minicpm5", "granite-embed-multi-97m"),
    )
)
#: Names with which a text begins with the token for that, where the file doesn't say.
_BEGINS = _IGNORE_MERGES - {"minicpm5", "granite-embed-multi-97m"}
#: Names with which texts stand between two tokens, as in BERT.
_SEPARATED = frozenset(["jina-v1-en", "jina-v2-code", "roberta-bpe"])

# --- The vocabulary in the file

#: The kinds of tokens in `tokenizer.ggml.token_type`.
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED = 1, 2, 3, 4, 5
_MOST_KINDS = 6

#: The special tokens, by the keys of their ids; and where a file lacks one, the usual id for an algorithm.
_USUAL_IDS: Mapping[str, Mapping[str, int]] = {
    "llama": {"bos": 1, "eos": 2, "unknown": 0},
    "bert": {"bos": 101, "unknown": 100, "seperator": 102},
    "t5": {"eos": 1, "unknown": 2},
}

#: Architectures whose SentencePiece pieces are merged in their own order and not by their scores (transformers 5.24,
#: GGUF_SENTENCEPIECE_BUILDERS).
_MERGED_IN_ORDER = frozenset(("gemma", "gemma2", "gemma3"))

_Value = TypeVar("_Value")


class Vocabulary(NamedTuple):
    """What a GGUF file says of its tokenizer.

    tokens: by their ids.  kinds: a number for each (`_CONTROL`); empty where the file has none.
    metadata: all values of the file by their keys.
    """

    tokens: list[str]
    kinds: Sequence[int]
    metadata: Mapping[str, object]

    def value(self, key: str, kind: type[_Value]) -> _Value | None:
        """A value of the tokenizer; None where the file has none, or of another type."""
        found = self.metadata.get(f"tokenizer.ggml.{key}")
        return found if isinstance(found, kind) else None

    @property
    def split(self) -> str:
        return self.value("pre", str) or "default"

    def flag(self, key: str, usual: bool) -> bool:
        found = self.value(key, bool)
        return usual if found is None else found

    def special(self, role: str, model: str) -> str | None:
        """The token that begins or ends a text, or stands for unknown ones; None where there is none."""
        number = self.value(f"{role}_token_id", int)
        number = _USUAL_IDS.get(model, {}).get(role) if number is None else number
        return self.tokens[number] if number is not None and 0 <= number < len(self.tokens) else None

    def of_kind(self, *kinds: int) -> Iterator[str]:
        return (token for token, kind in zip(self.tokens, self.kinds, strict=False) if kind in kinds)

    def ids(self) -> dict[str, int]:
        """The id of each token. Raises BrokenFileError where two have the same."""
        numbers = {token: number for number, token in enumerate(self.tokens)}
        if len(numbers) < len(self.tokens):
            twice = next(token for number, token in enumerate(self.tokens) if numbers[token] != number)
            first = self.tokens.index(twice)
            raise BrokenFileError(
                f"its vocabulary contains {quote_name(twice)} twice, as {first:,} and {numbers[twice]:,}"
            )
        return numbers

    def scores(self) -> list[float]:
        found = self.value("scores", list)
        if found is None or len(found) < len(self.tokens):
            raise BrokenFileError(f"it has {len(found or ()):,} scores for {len(self.tokens):,} tokens")
        if not all(isinstance(score, int | float) for score in found):
            raise BrokenFileError("its scores are not numbers")
        return found

    def merges(self, numbers: Mapping[str, int]) -> list[tuple[str, str]] | None:
        """The merges that the file lists, in their order; None where it lists none."""
        listed = self.value("merges", list)
        if listed is None:
            return None
        # A piece may begin with a space, where spaces aren't written as letters.
        pairs = [(merge[: (place := merge.find(" ", 1))], merge[place + 1 :]) for merge in listed]
        for merge, (left, right) in zip(listed, pairs, strict=True):
            if left not in numbers or right not in numbers or left + right not in numbers:
                raise BrokenFileError(f"its merge {quote_name(merge)} is not of tokens")
        return pairs


def read_gguf_tokenizer(path: Path, *, name: str, repair_hint: str) -> FastTokenizer:
    """The tokenizer of a GGUF file.

    name: of the model, for the note on what was assumed.  Raises NoTokenizerError for a file without a vocabulary, and
    ModelError for a broken one, or one of an algorithm that isn't known here.
    """
    metadata = read_metadata(path, repair_hint=repair_hint)
    model = metadata.get("tokenizer.ggml.model")
    if model in (None, "none", "no_vocab"):
        raise NoTokenizerError(name)
    with check_file(path, repair_hint):
        build = _BUILDERS.get(model) if isinstance(model, str) else None
        if build is None:
            known = ", ".join(_BUILDERS)
            raise BrokenFileError(f"its tokenizer type {model!r} is unknown; known are {known}")
        vocabulary = _read_vocabulary(metadata)
        backend = build(vocabulary)
    note = None
    if model == "gpt2" and vocabulary.split not in SPLITS:
        known = "GPT-2's rule is used, so token ids may be wrong"
        note = f"{name}: its pre-tokenizer ({vocabulary.split}) is unknown; {known}"
    limit = finite_length(metadata.get(f"{metadata.get('general.architecture')}.context_length"))
    return FastTokenizer(backend, max_length=limit, note=note)


def _read_vocabulary(metadata: Mapping[str, object]) -> Vocabulary:
    tokens = metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise BrokenFileError("it has no list of tokens")
    kinds = metadata.get("tokenizer.ggml.token_type", [])
    if not isinstance(kinds, list) or (kinds and len(kinds) < len(tokens)):
        raise BrokenFileError(f"its token types are not a list of {len(tokens):,} entries")
    if any(type(kind) is not int or not 0 <= kind <= _MOST_KINDS for kind in kinds):
        raise BrokenFileError("a token type is unknown")
    # Ids without a token get a name each, which no text can be cut into.
    return Vocabulary([token or f"[EMPTY_{number}]" for number, token in enumerate(tokens)], kinds, metadata)


# --- The algorithms


def _byte_level_bpe(vocabulary: Vocabulary) -> Backend:
    numbers = vocabulary.ids()
    merges = vocabulary.merges(numbers)
    if merges is None:
        merges = merges_in_order(numbers)  # byte strings with ranks (tiktoken)
    ignore = vocabulary.split in _IGNORE_MERGES or vocabulary.value("merges", list) is None
    backend = Backend(models.BPE(numbers, merges, fuse_unk=False, ignore_merges=ignore))
    *first, last = SPLITS.get(vocabulary.split, (_GPT2_PATTERN,))
    usual = last == _GPT2_PATTERN  # which the library has itself, and faster
    patterns = first if usual else [*first, last]
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=vocabulary.flag("add_space_prefix", False), use_regex=usual)
    backend.pre_tokenizer = pre_tokenizers.Sequence([*splits, bytes_]) if splits else bytes_
    backend.decoder = decoders.ByteLevel()
    is_separated = vocabulary.split in _SEPARATED
    return _finish(
        backend, vocabulary, "gpt2", begins=is_separated or vocabulary.split in _BEGINS, separated=is_separated
    )


def _sentencepiece_bpe(vocabulary: Vocabulary) -> Backend:
    in_order = vocabulary.metadata.get("general.architecture") in _MERGED_IN_ORDER
    if in_order:
        # Pieces of several spaces stand there as such.
        tokens = [SPACE_MARK * len(token) if token.isspace() and token.strip(" ") == "" else token
                  for token in vocabulary.tokens]  # fmt: skip
        vocabulary = vocabulary._replace(tokens=tokens)
    numbers = vocabulary.ids()
    merges = vocabulary.merges(numbers)
    if merges is None:
        ranks = None if in_order else [-score for score in vocabulary.scores()]
        merges = merges_in_order(numbers, ranks)
    prefix = vocabulary.flag("add_space_prefix", True)
    backend = Backend(_bpe_with_bytes(vocabulary, numbers, merges))
    steps = [normalizers.Prepend(SPACE_MARK)] if prefix else []
    backend.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE_MARK)])
    ends = [decoders.Strip(" ", 1, 0)] if prefix else []
    backend.decoder = decoders.Sequence(
        [decoders.Replace(SPACE_MARK, " "), decoders.ByteFallback(), decoders.Fuse(), *ends]
    )
    return _finish(backend, vocabulary, "llama", begins=True)


def _gemma4_bpe(vocabulary: Vocabulary) -> Backend:
    numbers = vocabulary.ids()
    merges = vocabulary.merges(numbers)
    if merges is None:
        raise BrokenFileError("it lists no merges")
    backend = Backend(_bpe_with_bytes(vocabulary, numbers, merges))
    backend.normalizer = normalizers.Replace(" ", SPACE_MARK)
    backend.decoder = decoders.Sequence([decoders.Replace(SPACE_MARK, " "), decoders.ByteFallback(), decoders.Fuse()])
    # The flag is set, but the published tokenizer leaves this to the chat template, and so does transformers.
    return _finish(backend, vocabulary, "gemma4", begins=None)


def _bpe_with_bytes(vocabulary: Vocabulary, numbers: dict[str, int], merges: list[tuple[str, str]]) -> models.BPE:
    unknown = vocabulary.special("unknown", "llama")
    return models.BPE(numbers, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True)


def _unigram(vocabulary: Vocabulary) -> Backend:
    vocabulary = vocabulary._replace(tokens=list(_named_blanks(vocabulary)))
    numbers = vocabulary.ids()
    unknown = vocabulary.special("unknown", "t5")
    pieces = [(token, float(score)) for token, score in zip(vocabulary.tokens, vocabulary.scores(), strict=False)]
    has_bytes = "<0x00>" in numbers
    backend = Backend(models.Unigram(pieces, None if unknown is None else numbers[unknown], has_bytes))
    steps: list[Any] = []
    if charsmap := vocabulary.value("precompiled_charsmap", list):
        content = bytes(byte & 0xFF for byte in charsmap)
        check_charsmap(content)
        steps.append(normalizers.Precompiled(content))
    if vocabulary.flag("remove_extra_whitespaces", False):
        steps += [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()]
    if vocabulary.flag("add_space_prefix", True):
        steps.append(normalizers.Prepend(SPACE_MARK))
    backend.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE_MARK)])
    backend.pre_tokenizer = pre_tokenizers.Metaspace(SPACE_MARK, prepend_scheme="never")
    backend.decoder = decoders.Metaspace(SPACE_MARK, prepend_scheme="always")
    return _finish(backend, vocabulary, "t5", begins=False, ends=True)


#: The blanks of a text that T5 is to fill, which GGUF files have as padding.
_BLANKS = 100
_PADDING = re.compile(r"\[PAD\d+\]")


def _named_blanks(vocabulary: Vocabulary) -> Iterator[str]:
    """The tokens, with T5's blanks by their names: the first hundred of the padding, the last one first."""
    left = _BLANKS if str(vocabulary.metadata.get("general.architecture")).startswith("t5") else 0
    for token in vocabulary.tokens:
        if left and _PADDING.fullmatch(token):
            left -= 1
            yield f"<extra_id_{left}>"
        else:
            yield token


def _word_piece(vocabulary: Vocabulary) -> Backend:
    vocabulary = vocabulary._replace(tokens=[_as_word_piece(token) for token in vocabulary.tokens])
    unknown = vocabulary.special("unknown", "bert") or "[UNK]"
    backend = Backend(models.WordPiece(vocabulary.ids(), unk_token=unknown))
    # Where the file doesn't say: a vocabulary without capital letters is of lowercased texts.
    lowers = not any(token != token.lower() for token in vocabulary.of_kind(_NORMAL))
    lowers = vocabulary.flag("normalizer.lowercase", lowers)
    accents = vocabulary.flag("normalizer.strip_accents", lowers)
    backend.normalizer = normalizers.BertNormalizer(lowercase=lowers, strip_accents=accents)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    return _finish(backend, vocabulary, "bert", begins=True, separated=True)


def _as_word_piece(token: str) -> str:
    """A token as in vocab.txt: GGUF files mark the beginning of a word, and not its continuation."""
    if token.startswith(SPACE_MARK):
        return token[1:]
    return token if token.startswith("[") and token.endswith("]") else f"##{token}"


_BUILDERS: Mapping[str, Callable[[Vocabulary], Backend]] = {
    "gpt2": _byte_level_bpe,
    "llama": _sentencepiece_bpe,
    "gemma4": _gemma4_bpe,
    "t5": _unigram,
    "bert": _word_piece,
}


Token = TypeVar("Token", str, bytes)


def merges_in_order(numbers: Mapping[Token, int], ranks: Sequence[float] | None = None) -> list[tuple[Token, Token]]:
    """Every pair of tokens that make a token together, in the order of its rank (by default its id)."""
    order = sorted(numbers, key=lambda token: numbers[token] if ranks is None else ranks[numbers[token]])
    merges: list[tuple[Token, Token]] = []
    for token in order:
        pairs = ((token[:place], token[place:]) for place in range(1, len(token)))
        found = [pair for pair in pairs if pair[0] in numbers and pair[1] in numbers]
        merges += sorted(found, key=lambda pair: (numbers[pair[0]], numbers[pair[1]]))
    return merges


def _finish(
    backend: Backend,
    vocabulary: Vocabulary,
    model: str,
    *,
    begins: bool | None,
    ends: bool = False,
    separated: bool = False,
) -> Backend:
    """Add the special tokens: those in a text, and those around it.

    begins, ends: whether a text has a token at its start and end where the file doesn't say so; None: never.
    separated: whether it stands between two, as in BERT.
    """
    backend.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in vocabulary.of_kind(_CONTROL)]
    )
    backend.add_tokens(
        [AddedToken(token, special=False, normalized=False) for token in vocabulary.of_kind(_USER_DEFINED)]
    )
    first = (
        vocabulary.special("bos", model) if begins is not None and vocabulary.flag("add_bos_token", begins) else None
    )
    last = vocabulary.special("eos", model) if vocabulary.flag("add_eos_token", ends) else None
    if vocabulary.flag("add_sep_token", separated):
        last = vocabulary.special("seperator", model) or vocabulary.special("eos", model)
    around = {name: token for name, token in (("first", first), ("last", last)) if token is not None}
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in around.values()])
    # The spaces that a token of byte-level BPE begins with belong to it.
    steps: list[Any] = [processors.ByteLevel(trim_offsets=False)] if model == "gpt2" else []
    if around:
        between = "" if model == "bert" else "last" if separated else "first"
        text = [part for part in ("first:0", "$A:0", "last:0") if part[0] == "$" or part[:-2] in around]
        pair = [part for part in (f"{between}:1", "$B:1", "last:1") if part[0] == "$" or part[:-2] in around]
        ids = [{"id": name, "ids": [backend.token_to_id(token)], "tokens": [token]} for name, token in around.items()]
        template = processors.TemplateProcessing(single=text, pair=[*text, *pair], special_tokens=ids)
        steps.append(template)
    if steps:
        backend.post_processor = steps[0] if len(steps) == 1 else processors.Sequence(steps)
    return backend
