"""TEXT, files, ids and stdin -> what a verb is to work on.

The texts of `attn tokenize`, one after another: files are read while their tokens are written.
"""

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

#: No vocabulary comes near a number of this many digits.
_MAX_DIGITS = 12


class Input(NamedTuple):
    """Texts or ids, one of them (the other is None), and notes on how they were understood.

    unquoted: the texts are several arguments of one word each, so that they may be one text without its quotes.
    """

    texts: list[str] | None = None
    ids: list[int] | None = None
    notes: tuple[str, ...] = ()
    unquoted: bool = False


def read_input(options: TextOptions, environment: Environment) -> Input:
    """Whatever the user gave, in the one kind that was used.

    Raises UsageError for two kinds of input or none, FailedError for what can't be read.
    """
    check_one_input_kind(options)
    if options.input_ids is not None:
        return Input(ids=read_ids(options.input_ids, environment))
    if options.file:
        check_one_stdin(options.file)
        return Input(texts=[_read_text(name, environment, options.errors) for name in options.file])
    if options.text:
        check_one_stdin(options.text)
        texts = [_read_text(STDIN, environment, options.errors) if text == STDIN else text for text in options.text]
        return Input(texts=texts, notes=tuple(_file_name_notes(options.text)), unquoted=_are_single_words(options.text))
    if environment.stdin_is_interactive:
        raise UsageError(
            "no text was given", hint="put it in quotes after the verb, name a file with -f, or pipe it in"
        )
    return Input(texts=[_read_text(STDIN, environment, options.errors)])


def require_one_text(given: Input) -> Input:
    """For a verb that takes one text: unquoted words are put together again.

    Raises UsageError where there are several files, or several texts that were quoted and so are meant to be apart.
    """
    if given.texts is None or len(given.texts) == 1:
        return given
    if not given.unquoted:
        raise UsageError(
            f"{len(given.texts)} texts were given where one is taken", hint="give one text in quotes, or one -f"
        )
    note = f"{len(given.texts)} words were taken as one text; quotes around it make that sure"
    return given._replace(texts=[" ".join(given.texts)], notes=(*given.notes, note))


class TextStream(NamedTuple):
    """What to cut: literal texts, files (`-` is stdin), or ids; one of them, the others are empty.

    lines: each line is a text.  errors: what to do about bytes that are no UTF-8, `strict` or `replace`.
    """

    environment: Environment
    literal: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    ids: tuple[tuple[int, ...], ...] | None = None
    lines: bool = False
    errors: str = "strict"
    notes: tuple[str, ...] = ()
    progress: Progress = silent

    @property
    def text_count(self) -> int | None:
        """How many texts there are, as far as that is known before they are read."""
        if self.ids is not None:
            return len(self.ids)
        return None if self.lines else len(self.literal) + len(self.names)

    def texts(self) -> Iterator[str]:
        """Every text in turn. Raises FailedError for what can't be read, UsageError for an empty text or file."""
        return (text for text, _ in self.texts_with_sources())

    def texts_with_sources(self) -> Iterator[tuple[str, Source | None]]:
        """Every text in turn, and where it was read: a file, a line, or both. Raises as `texts` does."""
        from attncli.results.tokenize import Source

        for index, blocks in enumerate(self.blocks()):
            file = self._file(index)
            if self.lines:
                from attncli.cli.stdin_text import lines

                yield from ((line, Source(file, number)) for number, line in enumerate(lines(blocks), start=1))
            else:
                yield "".join(blocks), Source(file) if file is not None else None

    def blocks(self, *, may_be_empty: bool = False) -> Iterator[Iterable[str]]:
        """Every text or file in turn, as the blocks that it is read in.

        Raises UsageError for an empty one, unless it may be.
        """
        sources: list[Iterable[str]] = [self._stdin_or(text) for text in self.literal]
        sources += [self._read(name) for name in self.names]
        for index, blocks in enumerate(sources):
            yield blocks if may_be_empty else _require_text(blocks, self._name(index, len(sources)))

    def _file(self, index: int) -> str | None:
        """The file that a text is read from; None for one that was given itself."""
        name = self.literal[index] if index < len(self.literal) else self.names[index - len(self.literal)]
        return "stdin" if name == STDIN else name if index >= len(self.literal) else None

    def _name(self, index: int, count: int) -> str:
        """What a text is called: by its file, by its number, or as the only one."""
        if index >= len(self.literal) and self.names[index - len(self.literal)] != STDIN:
            return self.names[index - len(self.literal)]
        return f"text {index + 1} of {count}" if count > 1 else "the text"

    def _stdin_or(self, text: str) -> Iterable[str]:
        return self._read(STDIN) if text == STDIN else (text,)

    def _read(self, name: str) -> Iterator[str]:
        from attncli.cli.stdin_text import read_blocks

        return read_blocks(name, self.environment, errors=self.errors, progress=self.progress)


def open_texts(
    options: TextOptions, environment: Environment, *, lines: bool = False, optional: bool = False
) -> TextStream:
    """Whatever the user gave, in the one kind that was used; nothing but ids is read yet.

    optional: nothing may be given.
    Raises UsageError for two kinds of input or none.
    """
    check_one_input_kind(options)
    check_one_stdin(options.file or options.text)
    stream = TextStream(environment, lines=lines, errors=options.errors)
    if options.input_ids is not None:
        read = read_id_lines if lines else lambda *given: [read_ids(*given)]
        return stream._replace(ids=tuple(map(tuple, read(options.input_ids, environment))))
    if options.file:
        return stream._replace(names=options.file)
    if options.text:
        return stream._replace(literal=options.text, notes=quoting_notes(options.text))
    if environment.stdin_is_interactive and optional:
        return stream
    if environment.stdin_is_interactive:
        raise UsageError(
            "no text was given", hint="put it in quotes after the verb, name a file with -f, or pipe it in"
        )
    return stream._replace(names=(STDIN,))


def quoting_notes(texts: tuple[str, ...]) -> tuple[str, ...]:
    """For a verb that takes many texts: what looks like a file, and like one text that was not quoted."""
    notes = list(_file_name_notes(texts))
    if _are_single_words(texts):
        notes.append(f"{len(texts)} texts of one word each; quotes around them make them one text")
    return tuple(notes)


def check_one_input_kind(options: TextOptions) -> None:
    given = {"TEXT": options.text, "-f": options.file, "--input-ids": options.input_ids is not None}
    kinds = [kind for kind, value in given.items() if value]
    if len(kinds) > 1:
        raise UsageError(
            f"{' and '.join(kinds)} can't be combined", hint="give the input in one way: TEXT, -f or --input-ids"
        )


def check_one_stdin(names: tuple[str, ...]) -> None:
    if names.count(STDIN) > 1:
        raise UsageError("stdin was asked for twice", hint="write - once")


def _file_name_notes(texts: tuple[str, ...]) -> Iterator[str]:
    for text in texts:
        # Path.is_file() would raise where a text is too long for a name.
        if text != STDIN and os.path.isfile(text):  # noqa: PTH113
            yield f"{text} was taken as text; -f {text} reads the file"


def _are_single_words(texts: tuple[str, ...]) -> bool:
    return len(texts) > 1 and all(text != STDIN and len(text.split()) == 1 for text in texts)


def _read_text(name: str, environment: Environment, errors: str = "strict") -> str:
    """A file or stdin as one text."""
    from attncli.cli.stdin_text import read_blocks

    return "".join(read_blocks(name, environment, errors=errors))


def _require_text(blocks: Iterable[str], which: str) -> Iterator[str]:
    found = False
    for block in blocks:
        found = found or bool(block)
        yield block
    if not found:
        raise UsageError(f"{which} is empty", hint="give some text, or numbers with --input-ids")


def read_ids(given: str, environment: Environment, *, flag: str = "--input-ids") -> list[int]:
    """Ids between spaces or commas, in brackets or not: in the argument itself, in `@file`, or on stdin (`-`).

    flag: the option that they came with, for what is said of them.
    """
    return _parse_ids(_id_text(given, environment), flag)


def read_id_lines(given: str, environment: Environment) -> list[list[int]]:
    """The same, a list of ids a line; lines without any are left out."""
    return [_parse_ids(line) for line in _id_text(given, environment).splitlines() if line.strip()] or [_parse_ids("")]


def _id_text(given: str, environment: Environment) -> str:
    if given != STDIN and not given.startswith("@"):
        return given
    return _read_text(STDIN if given == STDIN else given[1:], environment)


def _parse_ids(text: str, flag: str = "--input-ids") -> list[int]:
    ids = text.strip().removeprefix("[").removesuffix("]").replace(",", " ").split()
    for word in ids:
        if not (word.isascii() and word.isdigit() and len(word) <= _MAX_DIGITS):
            raise UsageError(f"{word!r} is no token id", hint=f'{flag} takes whole numbers, as in {flag} "5 6 7"')
    if not ids:
        raise UsageError(f"{flag} holds no ids", hint=f'write them as in {flag} "5 6 7"')
    return [int(word) for word in ids]


def resolve_models(named: tuple[str, ...], environment: Environment) -> list[str] | None:
    """The models of `-m`, else the one of $ATTN_MODEL (spaces and all), else None: the default model.

    Raises UsageError for a name that is empty, as from a variable of a script that isn't set.
    """
    if any(not name.strip() for name in named):
        raise UsageError("-m names no model", hint="give a name or a path, or leave -m out for the default model")
    variable = environment.variables.get("ATTN_MODEL")
    return list(named) or ([variable] if variable else None)


def require_one_model(named: tuple[str, ...], environment: Environment) -> str | None:
    """For a verb that takes one model. Raises UsageError where several are named."""
    if len(named) > 1:
        raise UsageError(f"{len(named)} models were named where one is taken", hint="write -m once")
    models = resolve_models(named, environment)
    return models[0] if models else None


def require_one_or_two_models(named: tuple[str, ...], environment: Environment) -> str | list[str] | None:
    """For a verb that can compare two models. Raises UsageError where more are named."""
    if len(named) > 2:
        raise UsageError(f"{len(named)} models were named where two are compared", hint="write -m once or twice")
    models = resolve_models(named, environment)
    return models if models is None or len(models) == 2 else models[0]
