"""What a class of transformers does to a tokenizer.json that names it: it builds some parts anew, and adds tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tokenizers import AddedToken, pre_tokenizers
from tokenizers import Tokenizer as Backend

from attncli.models.tokenizers.config import TokenizerConfig

#: What stands for a space.
_SPACE = "▁"


def follow_class(backend: Backend, config: TokenizerConfig) -> None:
    """Change what the file says as the class does that the configuration names, with the configuration's settings."""
    _rebuild(backend, config.rebuilt)
    rebuild_spaces(backend, config.prepend_scheme)
    _add_tokens(backend, config)
    backend.encode_special_tokens = config.split_special_tokens


def _rebuild(backend: Backend, settings: Mapping[str, object]) -> None:
    """Let the settings that a tokenizer_config.json spells out outrank the parts of tokenizer.json."""
    for part in flat_parts(backend.normalizer):
        if type(part).__name__ == "BertNormalizer":
            _set(part, "lowercase", settings.get("do_lower_case"))
            _set(part, "handle_chinese_chars", settings.get("tokenize_chinese_chars"))
            if "strip_accents" in settings:
                part.strip_accents = settings["strip_accents"]
    for part in flat_parts(backend.pre_tokenizer):
        if type(part).__name__ == "ByteLevel":
            _set(part, "add_prefix_space", settings.get("add_prefix_space"))


def rebuild_spaces(backend: Backend, prepend_scheme: str | None) -> None:
    """Put spaces before texts as the class does (`TokenizerConfig.prepend_scheme`), and not as the file says.

    Vocabularies of bytes are left alone, whatever class is named for them.
    """
    byte_level = any(type(part).__name__ == "ByteLevel" for part in flat_parts(backend.pre_tokenizer))
    if prepend_scheme is None or byte_level:
        return
    backend.normalizer = None
    backend.pre_tokenizer = pre_tokenizers.Metaspace(_SPACE, prepend_scheme, split=False)


def _add_tokens(backend: Backend, config: TokenizerConfig) -> None:
    """Add the tokens that only the configuration names; one that the vocabulary spells already keeps its id."""
    if config.numbered:
        backend.add_tokens([AddedToken(**token._asdict()) for token in config.numbered])
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    missing = {token.content: token for token in reversed(config.named) if token.content not in known}
    if missing:
        backend.add_tokens([AddedToken(**token._asdict()) for token in reversed(missing.values())])


def flat_parts(part: Any) -> Iterator[Any]:
    """A normaliser or pre-tokenizer as its simple parts."""
    if type(part).__name__ == "Sequence":
        for child in part:
            yield from flat_parts(child)
    elif part is not None:
        yield part


def _set(part: Any, name: str, value: object) -> None:
    if isinstance(value, bool):
        setattr(part, name, value)
