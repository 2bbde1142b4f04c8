"""The texts of `attn tokenize`, one after another: files are read while their tokens are written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from attncli.cli.environment import Environment
from attncli.cli.options import TextOptions
from attncli.cli.texts import STDIN, check_one_kind, check_one_stdin, notes_on, read_id_lines, read_ids
from attncli.errors import UsageError
from attncli.progress import Progress, silent

if TYPE_CHECKING:
    from attncli.results.tokenize import Source


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
    def texts_known(self) -> int | None:
        """How many texts there are, as far as that is known before they are read."""
        if self.ids is not None:
            return len(self.ids)
        return None if self.lines else len(self.literal) + len(self.names)

    def texts(self) -> Iterator[str]:
        """Every text in turn. Raises FailedError for what can't be read, UsageError for an empty text or file."""
        return (text for text, _ in self.sourced_texts())

    def sourced_texts(self) -> Iterator[tuple[str, Source | None]]:
        """Every text in turn, and where it was read: a file, a line, or both. Raises as `texts` does."""
        from attncli.results.tokenize import Source

        for index, blocks in enumerate(self.blocks()):
            file = self._file(index)
            if self.lines:
                from attncli.cli.reading import lines

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
            yield blocks if may_be_empty else _not_empty(blocks, self._name(index, len(sources)))

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
        from attncli.cli.reading import read_blocks

        return read_blocks(name, self.environment, errors=self.errors, progress=self.progress)


def open_texts(
    options: TextOptions, environment: Environment, *, lines: bool = False, optional: bool = False
) -> TextStream:
    """Whatever the user gave, in the one kind that was used; nothing but ids is read yet.

    optional: nothing may be given.
    Raises UsageError for two kinds of input or none.
    """
    check_one_kind(options)
    check_one_stdin(options.file or options.text)
    stream = TextStream(environment, lines=lines, errors=options.errors)
    if options.input_ids is not None:
        read = read_id_lines if lines else lambda *given: [read_ids(*given)]
        return stream._replace(ids=tuple(map(tuple, read(options.input_ids, environment))))
    if options.file:
        return stream._replace(names=options.file)
    if options.text:
        return stream._replace(literal=options.text, notes=notes_on(options.text))
    if environment.types_input and optional:
        return stream
    if environment.types_input:
        raise UsageError(
            "no text was given", hint="put it in quotes after the verb, name a file with -f, or pipe it in"
        )
    return stream._replace(names=(STDIN,))


def _not_empty(blocks: Iterable[str], which: str) -> Iterator[str]:
    found = False
    for block in blocks:
        found = found or bool(block)
        yield block
    if not found:
        raise UsageError(f"{which} is empty", hint="give some text, or numbers with --input-ids")
