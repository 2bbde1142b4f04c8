"""`attncli.tokenize`: how models cut texts into tokens.

The input becomes a list of `TextInput`, which `TextTokenizer` in `tokenizing` turns into records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attncli.api.loading import id_lists
from attncli.api.requests import EncodingRequest, LoadingRequest, TokenizeRequest
from attncli.api.tokenizing import TextInput, open_text_tokenizer
from attncli.errors import UsageError
from attncli.progress import Progress, silent
from attncli.results.tokenize import Source, TokenizeResult
from attncli.tokens.spans import split_lines


def tokenize(
    text: Any = None,
    *,
    model: str | Path | Sequence[str | Path] | None = None,
    input_ids: Sequence[int] | Sequence[Sequence[int]] | None = None,
    pair: str | None = None,
    lines: bool = False,
    chat: bool = False,
    template: str | None = None,
    generation_prompt: bool = False,
    no_special: bool = False,
    truncate: bool = False,
    special_as_text: bool = False,
    why: bool = False,
    lint: bool = False,
    stats: bool = False,
    vocab: bool = False,
    check: str | Sequence[str] = (),
    revision: str | None = None,
    refresh: bool = False,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    tokenizer: Any = None,
    progress: Progress = silent,
) -> TokenizeResult:
    """Split texts into tokens, each with its id and its offsets in characters and UTF-8 bytes, and count them.

    text: one text or several; `pair` is a second segment for each of them. Or `input_ids`: one list of ids or several,
    which are looked up in the vocabulary. With `lines` each line of a text is tokenized as a text.
    model: a hub name or a path, or several to compare; None is all-MiniLM-L6-v2. No weights are read.
    tokenizer: a loaded tokenizer of `transformers` or `tokenizers`, instead of a model's own.
    chat: the text is a conversation, as JSON or as Python objects: a list of messages, or an object with `messages`,
    `tools` and anything else that the model's chat template uses; `template` chooses among several, `generation_prompt`
    adds the tokens that begin the model's answer.
    no_special: add no special tokens.  truncate: shorten to the number of tokens that the model accepts.
    special_as_text: treat special tokens in a text, such as `<|endoftext|>` in code, as ordinary text (the
    `split_special_tokens` of transformers); for a text, not for a conversation or ids.
    why: the tokenizer's steps for each text (`.why`).  lint: what is unusual about it (`.findings`), and the entries of
    the vocabulary that no text encodes to (`unreachable`).  stats: counts over all texts (`statistics`, `parity`).
    vocab: describe the vocabulary (`vocabularies`) and search it for every text, instead of tokenizing.
    check: `same`, all models give the same tokens, or `lint`, no warnings; `failures` lists what fails.
    allow_pickle: has no effect, as no tokenizer is read from a pickle; every verb takes it.

        >>> result = attncli.tokenize("Take a biopsy of the mole")
        >>> result.texts[0].ids
        [101, 2202, 1037, 16012, 18075, 1997, 1996, 16709, 102]

    Raises UsageError for an empty text and for ids that the vocabulary does not have, ModelError for a tokenizer that
    can't be loaded, FailedError for a conversation that the template refuses.
    """
    inputs = [] if vocab else _inputs(text, input_ids, pair, lines=lines, chat=chat)
    request = TokenizeRequest(
        model, tokenizer, input_ids is None, EncodingRequest(pair, no_special, truncate), chat, template,
        generation_prompt, special_as_text, why, lint, stats, (check,) if isinstance(check, str) else tuple(check),
        LoadingRequest(revision, refresh, trust_remote_code, allow_pickle),
    )  # fmt: skip
    with open_text_tokenizer(request, progress) as tokenizing:
        if vocab:
            return tokenizing.vocabulary_summary([] if text is None else _texts(text, None))
        records = list(tokenizing.records(inputs))
        return tokenizing.summary().with_records(records)


def _inputs(text: Any, ids: Any, pair: str | None, *, lines: bool, chat: bool) -> list[TextInput]:
    if chat:
        return _conversations(text, ids, pair, lines)
    if (text is None) == (ids is None):
        raise UsageError("a text or token ids are missing", hint="give a text, or token ids with --input-ids")
    if text is not None:
        texts = _texts(text, pair)
        if lines:
            return [
                TextInput(line, pair, source=Source(None, number))
                for each in texts
                for number, line in enumerate(split_lines(each), start=1)
            ]
        return [TextInput(each, pair) for each in texts]
    if pair is not None:
        raise UsageError("--pair and --input-ids can't be combined", hint="leave one of them out; --pair needs a text")
    return [TextInput(ids=each) for each in id_lists(ids)]


def _conversations(text: Any, ids: Any, pair: str | None, lines: bool) -> list[TextInput]:
    from attncli.api.text_details import parse_conversations, read_conversation

    if text is None or ids is not None or pair is not None:
        raise UsageError("a conversation can't be combined with token ids or a pair", hint="give only the conversation")
    if not lines or not isinstance(text, str):
        return [TextInput(conversation=read_conversation(text))]
    return [TextInput(conversation=each) for each in parse_conversations(split_lines(text), lines=True)]


def _texts(text: Any, pair: str | None) -> list[str]:
    if isinstance(text, Mapping):
        raise UsageError("a dictionary is not a text", hint="add chat=True for a conversation")
    texts = list(text) if isinstance(text, Iterable) and not isinstance(text, str | bytes) else [text]
    if not all(isinstance(each, str) for each in texts):
        raise UsageError("the text has to be a string", hint="give one string, or a list of strings")
    if not isinstance(pair, str | None):
        raise UsageError("pair= has to be a string", hint="give one string, which is added to every text")
    if not texts or "" in texts or pair == "":
        which = f"text {texts.index('') + 1} of {len(texts)}" if "" in texts and len(texts) > 1 else "the text"
        raise UsageError(f"{which} is empty", hint="give a text, or token ids with --input-ids")
    return texts
