"""The settings beside a tokenizer.json, and how they change its tokenizer, as transformers 5 would.

The rules are those of transformers 5, so that the ids agree: the special tokens around a text come from the
post-processor of tokenizer.json alone (`add_bos_token` and `add_eos_token` are ignored); a special token that only the
configuration names joins the vocabulary; a few settings of the configuration override parts of tokenizer.json; and some
tokenizer classes build parts of it anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from tokenizers import AddedToken, pre_tokenizers
from tokenizers import Tokenizer as Backend

from attncli.models.files.reference import ModelRef
from attncli.models.files.sources import Source
from attncli.models.files.weight_headers import read_json as read_any_json
from attncli.models.files.weight_headers import read_model_config

Json = Mapping[str, object]


class TokenizerFiles(Protocol):
    """A model's files, as far as a tokenizer needs them: `find` gives a local path, or None for a missing file."""

    @property
    def ref(self) -> ModelRef: ...

    @property
    def source(self) -> Source: ...

    def find(self, name: str) -> Path | None: ...


#: Keys of a configuration for single special tokens, in the order in which they join the vocabulary.
_SINGLE_TOKEN_KEYS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

#: Keys for lists of special tokens, the newer one first.
_TOKEN_LIST_KEYS = ("extra_special_tokens", "additional_special_tokens")

#: Keys of a config.json for the number of positions that a model has.
_POSITION_COUNT_KEYS = (
    "max_position_embeddings",
    "n_positions",  # GPT-2, T5
    "n_ctx",  # the first GPT
    "max_seq_len",  # MPT
    "max_sequence_length",
    "seq_length",  # BLOOM, ChatGLM
)

#: transformers writes 1e30 for "no limit", other programs 1e9 or more.
_NO_LIMIT = 10**9

#: Classes for which transformers uses tokenizer.json unchanged; the others rebuild normaliser and pre-tokenizer from
#: the settings of tokenizer_config.json.
_UNCHANGED_CLASSES = frozenset(
    ("", "TokenizersBackend", "PreTrainedTokenizer", "PreTrainedTokenizerFast", "LlamaTokenizer", "LlamaTokenizerFast")
)

#: Classes that rebuild the part that puts a space before a text. transformers follows the class that
#: tokenizer_config.json names only for models of these types (None: config.json names no type).
_PREFIX_SPACE_CLASSES = frozenset(("LlamaTokenizer", "LlamaTokenizerFast"))
_PREFIX_SPACE_MODEL_TYPES = frozenset(("llama", None))

#: What SentencePiece writes for a space.
SPACE_MARK = "▁"


class SpecialToken(NamedTuple):
    """A token that the configuration names; the flags are those of `tokenizers.AddedToken`."""

    content: str
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    single_word: bool = False
    special: bool = True


class TokenizerConfig(NamedTuple):
    """The settings in tokenizer_config.json (with special_tokens_map.json and config.json).

    class_name: "" where no class is named.  code: the custom class that came with the model, if any.
    max_length: `model_max_length`, or where that is absent or no real limit, the number of positions in config.json.
    added_tokens: those that it lists with their ids, in that order; their flags override those of tokenizer.json.
    special_tokens: those that it names by their role (`bos_token`), to be added where they are missing.
    overrides: settings that override parts of tokenizer.json (see `_UNCHANGED_CLASSES`), by their names there.
    prepend_scheme: where the class puts a space (`first`, `always`, `never`), whatever tokenizer.json says; None for
    classes that leave that to tokenizer.json.
    """

    class_name: str = ""
    code: str | None = None
    max_length: int | None = None
    truncation_side: str = "right"
    split_special_tokens: bool = False
    added_tokens: tuple[SpecialToken, ...] = ()
    special_tokens: tuple[SpecialToken, ...] = ()
    overrides: Json = MappingProxyType({})
    prepend_scheme: str | None = None


def read_config(files: TokenizerFiles) -> TokenizerConfig:
    """Read the files beside a tokenizer.json; a model without any of them gets the defaults.

    Raises ModelError where one is not JSON.
    """
    config = read_json(files, "tokenizer_config.json")
    class_name = _as_string(config.get("tokenizer_class"))
    added_tokens = config.get("added_tokens_decoder")
    # Before there was `added_tokens_decoder`, the special tokens were in a file of their own.
    named = config if added_tokens is not None else {**config, **read_json(files, "special_tokens_map.json")}
    model = read_json(files, "config.json")
    return TokenizerConfig(
        class_name=class_name,
        code=custom_code(config),
        max_length=finite_length(config.get("model_max_length")) or _position_count(model),
        truncation_side="left" if config.get("truncation_side") == "left" else "right",
        split_special_tokens=config.get("split_special_tokens") is True,
        added_tokens=_special_tokens(_entries_by_id(added_tokens)),
        special_tokens=_special_tokens(_role_entries(named)),
        overrides={} if class_name in _UNCHANGED_CLASSES else config,
        prepend_scheme=_prepend_scheme(config) if _sets_prefix_space(class_name, model) else None,
    )


def read_json(files: TokenizerFiles, name: str) -> Json:
    """A JSON object by its file name; empty where the model has no such file. Raises ModelError for a broken one."""
    path = files.find(name)
    if path is None:
        return {}
    read = read_model_config if name == "config.json" else read_any_json
    return read(path, repair_hint=files.source.repair_hint)


def custom_code(config: Json) -> str | None:
    """The custom tokenizer class that a tokenizer_config.json names (`tokenization_x.XTokenizer`), if it names one."""
    entry = config.get("auto_map")
    if isinstance(entry, Mapping):
        entry = entry.get("AutoTokenizer")
    # A pair: the slow class and the fast one, which transformers prefers.
    classes = entry if isinstance(entry, list) else [entry]
    return next((name for name in reversed(classes) if isinstance(name, str)), None)


def finite_length(value: object) -> int | None:
    """A length as an int; None for a missing one and for the huge numbers that mean "no limit"."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 < value < _NO_LIMIT else None


def _sets_prefix_space(class_name: str, model: Json) -> bool:
    return class_name in _PREFIX_SPACE_CLASSES and model.get("model_type") in _PREFIX_SPACE_MODEL_TYPES


def _prepend_scheme(config: Json) -> str:
    """`legacy` tokenizers also put a space after every special token in a text."""
    if config.get("add_prefix_space", True) is False:
        return "never"
    return "always" if config.get("legacy") else "first"


def _position_count(config: Json) -> int | None:
    text = config.get("text_config")
    places = (config, text if isinstance(text, Mapping) else {})
    lengths = (finite_length(place.get(key)) for place in places for key in _POSITION_COUNT_KEYS)
    return next((length for length in lengths if length is not None), None)


def _special_tokens(entries: Iterable[object]) -> tuple[SpecialToken, ...]:
    return tuple(token for entry in entries if (token := _special_token(entry)) is not None)


def _entries_by_id(numbered: object) -> list[object]:
    """Entries in the order of their ids: added in that order, each token gets its id."""
    if not isinstance(numbered, Mapping):
        return []
    return [numbered[key] for key in sorted((key for key in numbered if key.isdecimal()), key=int)]


def _role_entries(config: Json) -> Iterator[object]:
    for key in _SINGLE_TOKEN_KEYS:
        yield config.get(key)
    for key in _TOKEN_LIST_KEYS:
        entry = config.get(key)
        if entry:
            yield from entry.values() if isinstance(entry, Mapping) else _as_list(entry)
            return


def _special_token(entry: object) -> SpecialToken | None:
    if isinstance(entry, str) and entry:
        return SpecialToken(entry)
    content = entry.get("content") if isinstance(entry, Mapping) else None
    if not (isinstance(entry, Mapping) and isinstance(content, str) and content):
        return None
    flags = {name: entry[name] for name in SpecialToken._fields[1:] if isinstance(entry.get(name), bool)}
    return SpecialToken(content, **flags)


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _as_string(value: object) -> str:
    return value if isinstance(value, str) else ""


def apply_config(backend: Backend, config: TokenizerConfig) -> None:
    """Change a tokenizer as the class that the configuration names would, with the configuration's settings."""
    _apply_settings(backend, config.overrides)
    set_prefix_space(backend, config.prepend_scheme)
    _add_tokens(backend, config)
    backend.encode_special_tokens = config.split_special_tokens


def _apply_settings(backend: Backend, settings: Mapping[str, object]) -> None:
    """Let the settings of a tokenizer_config.json override the parts of tokenizer.json."""
    for part in flat_parts(backend.normalizer):
        if type(part).__name__ == "BertNormalizer":
            _set_flag(part, "lowercase", settings.get("do_lower_case"))
            _set_flag(part, "handle_chinese_chars", settings.get("tokenize_chinese_chars"))
            if "strip_accents" in settings:
                part.strip_accents = settings["strip_accents"]
    for part in flat_parts(backend.pre_tokenizer):
        if type(part).__name__ == "ByteLevel":
            _set_flag(part, "add_prefix_space", settings.get("add_prefix_space"))


def set_prefix_space(backend: Backend, prepend_scheme: str | None) -> None:
    """Put spaces before texts as the class does (`TokenizerConfig.prepend_scheme`), and not as tokenizer.json says.

    Byte-level tokenizers are left unchanged, whatever class is named for them.
    """
    byte_level = any(type(part).__name__ == "ByteLevel" for part in flat_parts(backend.pre_tokenizer))
    if prepend_scheme is None or byte_level:
        return
    backend.normalizer = None
    backend.pre_tokenizer = pre_tokenizers.Metaspace(SPACE_MARK, prepend_scheme, split=False)


def _add_tokens(backend: Backend, config: TokenizerConfig) -> None:
    """Add the tokens that only the configuration names; one that is in the vocabulary already keeps its id."""
    if config.added_tokens:
        backend.add_tokens([AddedToken(**token._asdict()) for token in config.added_tokens])
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    missing = {token.content: token for token in reversed(config.special_tokens) if token.content not in known}
    if missing:
        backend.add_tokens([AddedToken(**token._asdict()) for token in reversed(missing.values())])


def flat_parts(part: Any) -> Iterator[Any]:
    """The simple parts of a normaliser or pre-tokenizer that may be a sequence."""
    if type(part).__name__ == "Sequence":
        for child in part:
            yield from flat_parts(child)
    elif part is not None:
        yield part


def _set_flag(part: Any, name: str, value: object) -> None:
    if isinstance(value, bool):
        setattr(part, name, value)
