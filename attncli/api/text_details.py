"""Conversations, and what options add to a tokenized text: message boundaries, `--why`, `--lint`, comparisons, checks.

The modules that compute each are imported when they are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from attncli.errors import AttnError
from attncli.results.tokenize import Record, TokenizedText

if TYPE_CHECKING:
    from attncli.api.loading import LoadedTokenizer
    from attncli.api.requests import TokenizeRequest
    from attncli.models.chat.chat_text import ChatText
    from attncli.models.chat.sandbox import Sandbox
    from attncli.models.chat.template import Conversation
    from attncli.models.tokenizers.types import Tokenizer
    from attncli.results.comparison import Comparison
    from attncli.tokens.explain import Explainer


# --- Conversations


def chat_renderer(
    tokenizers: Sequence[LoadedTokenizer], sandbox: Sandbox, request: TokenizeRequest
) -> Callable[[Conversation, LoadedTokenizer], ChatText]:
    """A function that renders conversations with the chat template of a model, in a child process.

    It raises as `render_chat` does.
    """
    from attncli.models.chat.chat_text import render_chat
    from attncli.models.chat.template import loaded_format, read_format

    formats = {
        id(loaded): loaded_format(loaded.user_object, loaded.model)
        if loaded.files is None
        else read_format(loaded.files, request.template)
        for loaded in tokenizers
    }

    def render(conversation: Conversation, loaded: LoadedTokenizer) -> ChatText:
        return render_chat(
            conversation,
            formats[id(loaded)],
            sandbox,
            template=request.template,
            generation_prompt=request.generation_prompt,
        )

    return render


def read_conversation(given: Any) -> Conversation:
    """A conversation from JSON or Python objects: a list of messages, or an object with them.

    Raises AttnError for anything else.
    """
    from attncli.models.chat.template import build_conversation, parse_conversation

    return parse_conversation(given) if isinstance(given, str) else build_conversation(given)


def parse_conversations(texts: Iterable[str], *, lines: bool) -> Iterator[Conversation]:
    """A conversation from each text; with `lines`, each is a line of JSON Lines, and blank ones are skipped.

    Raises as `read_conversation` does, with the number of the line.
    """
    for number, text in enumerate(texts, start=1):
        if lines and not text.strip():
            continue
        try:
            yield read_conversation(text)
        except AttnError as error:
            if lines:
                error.message = f"line {number}: {error.message}"
            raise


# --- Details


def add_details(
    text: TokenizedText,
    tokenizer: Tokenizer,
    chat: ChatText | None,
    request: TokenizeRequest,
    explainers: dict[int, Explainer],
) -> TokenizedText:
    """A text with everything that a request asks for besides its tokens.

    chat: the conversation that a chat template rendered as the text.  explainers: those made so far, by the
    tokenizer's id: making one reads the whole vocabulary.
    """
    if chat is not None:
        from attncli.tokens.chat_roles import assign_messages, has_double_bos

        text = text._replace(chat=assign_messages(text, chat, double_bos=has_double_bos(text, tokenizer)))
    if request.why and text.text is not None:
        from attncli.tokens.explain import Explainer

        if id(tokenizer) not in explainers:
            explainers[id(tokenizer)] = Explainer(tokenizer)
        text = text._replace(why=explainers[id(tokenizer)].explain(text.text, special=request.special and chat is None))
    if request.lint or "lint" in request.check:
        from attncli.tokens.lint import lint

        text = text._replace(findings=lint(tokenizer, text))
    return text


def compare_models(texts: Sequence[TokenizedText]) -> Comparison | None:
    """Where several models tokenize one text differently; None for one model, for ids, and for texts that differ."""
    first = texts[0]
    if len(texts) == 1 or first.text is None or any(text.text != first.text for text in texts):
        return None
    from attncli.tokens.tokenizer_comparison import compare_tokenizations

    return compare_tokenizations(texts)


def failed_checks(record: Record, checks: Sequence[str]) -> Iterator[str]:
    """A sentence for each difference of models, for the check `same`, and for each warning, for `lint`."""
    place, first, several = f"text {record.record + 1}: ", record.texts[0], len(record.texts) > 1
    if "same" in checks and record.comparison is not None:
        from attncli.tokens.tokenizer_comparison import failures as differences

        yield from (f"same: {place}{sentence}" for sentence in differences(record.comparison, first.source))
    elif "same" in checks and len({tuple(text.ids) for text in record.texts}) > 1:
        yield f"same: {place}the models were given different texts"
    if "lint" in checks:
        from attncli.tokens.lint import failures

        for text in record.texts:
            file = text.source and text.source.file
            before = f"{place if file is None else ''}{f'{text.model}: ' if several else ''}"
            yield from (f"lint: {before}{sentence}" for sentence in failures(text.findings or (), file))
