"""The input of `tokenize` and `heads` (TEXT, files, ids or stdin), and the models named with `-m`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from attncli.choices import STDIN
from attncli.cli.environment import Environment
from attncli.cli.options import TextOptions
from attncli.errors import UsageError
from attncli.progress import Progress, silent

if TYPE_CHECKING:
    from attncli.results.tokenize import Source

#: Digits of the largest accepted token id; real vocabularies are far smaller.
_MAX_DIGITS = 12


class TextStream(NamedTuple):
    """The texts of `attn tokenize`, read while their tokens are written: literal texts, files (`-` is stdin), or ids.

    One of these three; the others are empty.  lines: each line is a text.  errors: how to treat invalid UTF-8,
    `strict` or `replace`.
    """

    environment: Environment
    literal: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    ids: tuple[tuple[int, ...], ...] | None = None
    lines: bool = False
    errors: str = "strict"
    notes: tuple[str, ...] = ()
    progress: Progress = silent

    @property
    def text_count(self) -> int | None:
        """The number of texts; None where it is unknown before they are read."""
        if self.ids is not None:
            return len(self.ids)
        return None if self.lines else len(self.literal) + len(self.files)

    def texts(self) -> Iterator[str]:
        """Every text in turn. Raises FailedError for unreadable files, UsageError for an empty text or file."""
        return (text for text, _ in self.texts_with_sources())

    def texts_with_sources(self) -> Iterator[tuple[str, Source | None]]:
        """Every text in turn with its source: a file, a line, or both. Raises as `texts` does."""
        from attncli.results.tokenize import Source

        for index, blocks in enumerate(self.blocks()):
            file = self._file(index)
            if self.lines:
                from attncli.cli.stdin_text import lines

                yield from ((line, Source(file, number)) for number, line in enumerate(lines(blocks), start=1))
            else:
                yield "".join(blocks), Source(file) if file is not None else None

    def blocks(self, *, may_be_empty: bool = False) -> Iterator[Iterable[str]]:
        """Every text or file in turn, in the blocks that it is read in.

        Raises UsageError for an empty one, unless `may_be_empty`.
        """
        sources = [self._read(STDIN) if text == STDIN else (text,) for text in self.literal]
        sources += map(self._read, self.files)
        for index, blocks in enumerate(sources):
            yield blocks if may_be_empty else _require_text(blocks, self._name(index, len(sources)))

    def _file(self, index: int) -> str | None:
        """The file that a text is read from; None for a literal text."""
        name = self.literal[index] if index < len(self.literal) else self.files[index - len(self.literal)]
        return "stdin" if name == STDIN else name if index >= len(self.literal) else None

    def _name(self, index: int, count: int) -> str:
        """The text's name in error messages: its file, its number, or `the text`."""
        if index >= len(self.literal) and self.files[index - len(self.literal)] != STDIN:
            return self.files[index - len(self.literal)]
        return f"text {index + 1} of {count}" if count > 1 else "the text"

    def _read(self, name: str) -> Iterable[str]:
        from attncli.cli.stdin_text import read_blocks

        return read_blocks(name, self.environment, errors=self.errors, progress=self.progress)


def open_texts(
    options: TextOptions, environment: Environment, *, lines: bool = False, optional: bool = False
) -> TextStream:
    """The input as a stream; only ids are read yet.

    optional: whether there may be no input.
    Raises UsageError for two kinds of input or none.
    """
    given = {"TEXT": options.text, "-f": options.file, "--input-ids": options.input_ids is not None}
    kinds = [kind for kind, value in given.items() if value]
    if len(kinds) > 1:
        raise UsageError(f"{' and '.join(kinds)} can't be combined", hint="give only one of TEXT, -f and --input-ids")
    check_one_stdin(options.file or options.text)
    stream = TextStream(environment, lines=lines, errors=options.errors)
    if options.input_ids is not None:
        read = read_id_lines if lines else lambda *arguments: [read_ids(*arguments)]
        return stream._replace(ids=tuple(map(tuple, read(options.input_ids, environment))))
    if options.file:
        return stream._replace(files=options.file)
    if options.text:
        notes = _file_name_notes(options.text)
        if _are_single_words(options.text):
            notes += (
                f"{len(options.text)} words were taken as separate texts; put quotes around them to make them one text",
            )
        return stream._replace(literal=options.text, notes=notes)
    if environment.stdin_is_interactive and optional:
        return stream
    if environment.stdin_is_interactive:
        raise UsageError(
            "there is no text", hint="write it in quotes after the verb, give a file with -f FILE, or pipe it in"
        )
    return stream._replace(files=(STDIN,))


def read_one_text(
    options: TextOptions, environment: Environment
) -> tuple[str | None, list[int] | None, tuple[str, ...]]:
    """The text or the ids of a verb that takes one, and notes on how they were understood: unquoted words are joined.

    Raises UsageError for two kinds of input or none, for several files, and for several texts of more than one word;
    FailedError for what can't be read.
    """
    stream = open_texts(options, environment)
    if stream.ids is not None:
        return None, list(stream.ids[0]), ()
    texts, notes = ["".join(blocks) for blocks in stream.blocks(may_be_empty=True)], _file_name_notes(stream.literal)
    if len(texts) == 1:
        return texts[0], None, notes
    if not _are_single_words(stream.literal):
        raise UsageError(
            f"{len(texts)} texts were given, and one is possible here",
            hint="put quotes around one text, or give one file with -f",
        )
    note = f"{len(texts)} words were taken as one text; put quotes around a text to be sure"
    return " ".join(texts), None, (*notes, note)


def check_one_stdin(names: tuple[str, ...]) -> None:
    if names.count(STDIN) > 1:
        raise UsageError("stdin (-) was given twice", hint="write - only once")


def _file_name_notes(texts: tuple[str, ...]) -> tuple[str, ...]:
    # Path.is_file() would raise where a text is too long for a name.
    named = (text for text in texts if text != STDIN and os.path.isfile(text))  # noqa: PTH113
    return tuple(f"{text} was taken as text; to read the file of this name, write -f {text}" for text in named)


def _are_single_words(texts: tuple[str, ...]) -> bool:
    return len(texts) > 1 and all(text != STDIN and len(text.split()) == 1 for text in texts)


def _require_text(blocks: Iterable[str], name: str) -> Iterator[str]:
    found = False
    for block in blocks:
        found = found or bool(block)
        yield block
    if not found:
        raise UsageError(f"{name} is empty", hint="give a text, or token ids with --input-ids")


def read_ids(value: str, environment: Environment, *, flag: str = "--input-ids") -> list[int]:
    """Token ids, separated by spaces or commas, with or without brackets: in `value`, in `@file`, or on stdin (`-`).

    flag: the option's name for error messages.
    """
    return _parse_ids(_id_text(value, environment), flag)


def read_id_lines(value: str, environment: Environment) -> list[list[int]]:
    """Lists of token ids, one a line; empty lines are left out."""
    return [_parse_ids(line) for line in _id_text(value, environment).splitlines() if line.strip()] or [_parse_ids("")]


def _id_text(value: str, environment: Environment) -> str:
    if value != STDIN and not value.startswith("@"):
        return value
    from attncli.cli.stdin_text import read_blocks

    return "".join(read_blocks(value.removeprefix("@"), environment))


def _parse_ids(text: str, flag: str = "--input-ids") -> list[int]:
    ids = text.strip().removeprefix("[").removesuffix("]").replace(",", " ").split()
    for word in ids:
        if not (word.isascii() and word.isdigit() and len(word) <= _MAX_DIGITS):
            raise UsageError(f"{flag}: {word!r} is not a token id", hint=f'write whole numbers: {flag} "5 6 7"')
    if not ids:
        raise UsageError(f"{flag} has no token ids", hint=f'write for instance {flag} "5 6 7"')
    return [int(word) for word in ids]


def resolve_models(names: tuple[str, ...], environment: Environment) -> list[str] | None:
    """The models of `-m`, else the one in $ATTN_MODEL, else None: the default model.

    Raises UsageError for an empty name, as from an unset variable of a script.
    """
    if any(not name.strip() for name in names):
        raise UsageError(
            "-m is empty", hint="give the name or the path of a model, or leave -m out to use the default one"
        )
    variable = environment.variables.get("ATTN_MODEL")
    return list(names) or ([variable] if variable else None)


def require_one_model(names: tuple[str, ...], environment: Environment) -> str | None:
    """The model for a verb that takes one. Raises UsageError if there are several."""
    if len(names) > 1:
        raise UsageError(f"-m was given {len(names)} times, and one model is possible here", hint="give -m once")
    return next(iter(resolve_models(names, environment) or ()), None)


def require_one_or_two_models(names: tuple[str, ...], environment: Environment) -> str | list[str] | None:
    """The models for a verb that can compare two. Raises UsageError if there are more."""
    if len(names) > 2:
        raise UsageError(
            f"-m was given {len(names)} times, and at most two models can be compared", hint="give -m once or twice"
        )
    models = resolve_models(names, environment)
    return models if models is None or len(models) == 2 else models[0]
