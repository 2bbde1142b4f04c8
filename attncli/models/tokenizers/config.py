"""The settings beside a tokenizer.json, and how they change its tokenizer, as transformers 5 would.

The rules are those of transformers 5, so that the ids agree: the special tokens around a text come from the
post-processor of tokenizer.json alone (`add_bos_token` and `add_eos_token` are ignored); a special token that only the
configuration names joins the vocabulary; a few settings of the configuration override parts of tokenizer.json; and some
tokenizer classes build parts of it anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from tokenizers import AddedToken, pre_tokenizers
from tokenizers import Tokenizer as Backend

from attncli.models.files.reference import ModelRef
from attncli.models.files.sources import Source
from attncli.models.files.weight_headers import read_json as read_any_json
from attncli.models.files.weight_headers import read_model_config
from attncli.models.tokenizers.token_bytes import part_state

Json = Mapping[str, object]

#: The normaliser and pre-tokenizer of a tokenizer.json (None: there is none), before its class replaced them.
FileParts = tuple[Any, Any]


class TokenizerFiles(Protocol):
    """A model's files, as far as a tokenizer needs them: `find` gives a local path, or None for a missing file."""

    @property
    def ref(self) -> ModelRef: ...

    @property
    def source(self) -> Source: ...

    @property
    def trusted(self) -> bool: ...

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

#: Classes that have no rules of their own for a vocabulary of tiktoken or tekken.
_PLAIN_CLASSES = frozenset(
    ("", "TokenizersBackend", "PreTrainedTokenizerFast", "MistralCommonBackend", "MistralCommonTokenizer")
)

#: Classes that rebuild the part that puts a space before a text.
_PREFIX_SPACE_CLASSES = frozenset(("LlamaTokenizer", "LlamaTokenizerFast"))

#: The model types of a config.json for which transformers 5.24 uses tokenizer.json unchanged if its settings name a
#: class of `_PREFIX_SPACE_CLASSES`; for all others it follows that class. Those that its TOKENIZER_MAPPING_NAMES gives
#: no class of their own (TokenizersBackend), and its MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS.
_UNCHANGED_NAMES = (
    "EvollaModel arctic aria beam bigbird_pegasus camembertv2-base canary chatlm cohere_asr ernie4_5 "
    "ernie4_5_moe flex_olmo fuyu glm glm4 glm4_moe glm4_moe_lite glm4v glm4v_moe glm_image glmasr got_ocr2 "
    "gpt_bigcode gradium_phonon_tts granite granitemoe granitemoehybrid granitemoeshared h2ovl_chat "
    "hyperclovax hyperclovax_vision_v2 hyperclovax_vlm internlm2 internlm3 iquestcoder jamba kimi_k25 "
    "kimi_linear kosmos-2 llava llava_next mimo_v2_flash minicpm3 minicpm_ocr minicpmv minicpmv4_6 minicpmv4_7 "
    "minimax_m2 ministral ministral3 mistral mistral3 mistral_large4 mixtral modernbert modernbert-decoder "
    "molmo molmo2 nemo_speechlm nemotron nvfp4 nystromformer olmo2 olmo3 olmo_hybrid omniasr opencua openvla "
    "paddleocr_vl pegasus_x persimmon phi3 phi3_v phimoe pix2struct pixtral pocket_tts qwen2 qwen3_5 "
    "qwen3_5_moe qwen3_5_moe_text qwen4_exp siglip2 smolvlm stablelm step3_vl umt5 vipllava voxtral "
    "voxtral_realtime xlm-roberta-xl"
)
UNCHANGED_MODEL_TYPES = frozenset(_UNCHANGED_NAMES.split())

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

    @property
    def is_plain(self) -> bool:
        """Whether it names no class with rules of its own, and no tokens."""
        return self.class_name in _PLAIN_CLASSES and not self.added_tokens and not self.special_tokens


def read_config(files: TokenizerFiles) -> TokenizerConfig:
    """Read the files beside a tokenizer.json; a model without any of them gets the defaults.

    Raises ModelError where one is not JSON.
    """
    config = read_json(files, "tokenizer_config.json")
    value = config.get("tokenizer_class")
    class_name = value if isinstance(value, str) else ""
    added = config.get("added_tokens_decoder")
    # Before there was `added_tokens_decoder`, the special tokens were in a file of their own.
    named = config if added is not None else {**config, **read_json(files, "special_tokens_map.json")}
    # Added in the order of their ids, each token gets its id.
    numbered = {int(key): entry for key, entry in added.items() if key.isdecimal()} if isinstance(added, dict) else {}
    model = read_json(files, "config.json")
    text = model.get("text_config")
    places = (model, text if isinstance(text, Mapping) else {})
    lengths = (finite_length(place.get(key)) for place in places for key in _POSITION_COUNT_KEYS)
    prepend_scheme = None
    if class_name in _PREFIX_SPACE_CLASSES and str(model.get("model_type")) not in UNCHANGED_MODEL_TYPES:
        # `legacy` tokenizers also put a space after every special token in a text.
        prepend_scheme = "always" if config.get("legacy") else "first"
        prepend_scheme = "never" if config.get("add_prefix_space", True) is False else prepend_scheme
    return TokenizerConfig(
        class_name=class_name,
        code=custom_code(config),
        max_length=finite_length(config.get("model_max_length")) or next(filter(None, lengths), None),
        truncation_side="left" if config.get("truncation_side") == "left" else "right",
        split_special_tokens=config.get("split_special_tokens") is True,
        added_tokens=_special_tokens(entry for _, entry in sorted(numbered.items(), key=itemgetter(0))),
        special_tokens=_special_tokens(_role_entries(named)),
        overrides={} if class_name in _UNCHANGED_CLASSES else config,
        prepend_scheme=prepend_scheme,
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


def _role_entries(config: Json) -> Iterator[object]:
    for key in _SINGLE_TOKEN_KEYS:
        yield config.get(key)
    for key in _TOKEN_LIST_KEYS:
        entry = config.get(key)
        if entry:
            yield from entry.values() if isinstance(entry, Mapping) else (entry if isinstance(entry, list) else [])
            return


def _special_tokens(entries: Iterable[object]) -> tuple[SpecialToken, ...]:
    found = []
    for entry in entries:
        fields: Mapping[str, object] = entry if isinstance(entry, Mapping) else {"content": entry}
        content = fields.get("content")
        if isinstance(content, str) and content:
            flags = {name: flag for name in SpecialToken._fields[1:] if isinstance(flag := fields.get(name), bool)}
            found.append(SpecialToken(content, **flags))
    return tuple(found)


def apply_config(backend: Backend, config: TokenizerConfig) -> FileParts | None:
    """Change a tokenizer as the class that the configuration names would, with the configuration's settings.

    Returns the parts of the file where the class cuts texts by others; None where it leaves them as they are.
    """
    changes = list(_setting_changes(backend, config.overrides))
    prefix_space = _prefix_space(backend, config.prepend_scheme)
    parts = None
    if changes or prefix_space is not None:
        from copy import deepcopy  # most tokenizers start without it

        # The changes are made in place.
        parts = deepcopy(backend.normalizer), deepcopy(backend.pre_tokenizer)
    for part, name, value in changes:
        setattr(part, name, value)
    if prefix_space is not None:
        backend.normalizer, backend.pre_tokenizer = None, prefix_space
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    known |= {token.content for token in config.added_tokens}
    missing = {token.content: token for token in reversed(config.special_tokens) if token.content not in known}
    # A token that is in the vocabulary already keeps its id.
    for tokens in (config.added_tokens, [*reversed(missing.values())]):
        if tokens:
            backend.add_tokens([AddedToken(**token._asdict()) for token in tokens])
    backend.encode_special_tokens = config.split_special_tokens
    return parts


def _setting_changes(backend: Backend, settings: Mapping[str, object]) -> Iterator[tuple[Any, str, object]]:
    """What the settings of a tokenizer_config.json change in tokenizer.json: a part of it, a name and a value."""
    wanted = [
        ("BertNormalizer", "lowercase", settings.get("do_lower_case")),
        ("BertNormalizer", "handle_chinese_chars", settings.get("tokenize_chinese_chars")),
        ("ByteLevel", "add_prefix_space", settings.get("add_prefix_space")),
    ]
    for part in (*flat_parts(backend.normalizer), *flat_parts(backend.pre_tokenizer)):
        kind = type(part).__name__
        for owner, name, value in wanted:
            if kind == owner and isinstance(value, bool) and getattr(part, name, value) != value:
                yield part, name, value
        if kind == "BertNormalizer" and settings.get("strip_accents", part.strip_accents) != part.strip_accents:
            yield part, "strip_accents", settings["strip_accents"]


def _prefix_space(backend: Backend, prepend_scheme: str | None) -> pre_tokenizers.Metaspace | None:
    """The part that puts spaces before texts as the class does (`TokenizerConfig.prepend_scheme`), and not as
    tokenizer.json says; None where that is the same, and for byte-level tokenizers, whatever class is named for them.
    """
    before = backend.pre_tokenizer
    is_byte_level = any(type(part).__name__ == "ByteLevel" for part in (*flat_parts(before), backend.decoder))
    if prepend_scheme is None or is_byte_level:
        return None
    part = pre_tokenizers.Metaspace(SPACE_MARK, prepend_scheme, split=False)
    return part if backend.normalizer is not None or part_state(before) != part_state(part) else None


def flat_parts(part: Any) -> Iterator[Any]:
    """The simple parts of a normaliser or pre-tokenizer that may be a sequence."""
    if type(part).__name__ == "Sequence":
        for child in part:
            yield from flat_parts(child)
    elif part is not None:
        yield part
