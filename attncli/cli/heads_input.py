"""The input of `attn heads`: one text, a batch of texts, random tokens, a picture or a sound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from attncli.choices import STDIN
from attncli.cli.command import Text, WholeNumber
from attncli.cli.environment import Environment
from attncli.cli.options import TextOptions, bundle, option
from attncli.errors import UsageError

if TYPE_CHECKING:
    from attncli.api.heads_many import LocatedText
    from attncli.api.heads_single import HeadsInput
    from attncli.cli.texts import TextStream


class HeadsInputOptions(NamedTuple):
    """Inputs other than one text: pictures, sounds, many texts, random tokens, and the input of a decoder."""

    image: tuple[str, ...]
    audio: str | None
    lines: bool
    probe: bool
    seed: int | None
    target: str | None
    target_ids: str | None
    generate: int | None
    columns: str | None
    needle: int | None
    qk_ov: bool

    @property
    def without_text(self) -> str | None:
        """The option that takes the place of a text, if one was given."""
        given = {"--probe": self.probe, "--needle": self.needle is not None, "--qk-ov": self.qk_ov}
        return next((flag for flag, is_given in given.items() if is_given), None)

    @property
    def has_media(self) -> bool:
        """Whether there is a picture or a sound, so that a text is optional."""
        return bool(self.image) or self.audio is not None


heads_input_options = bundle(
    "inputs",
    HeadsInputOptions,
    "Input",
    option(
        "--image FILE",
        "A picture, for models of pictures; TEXT is its caption, or what is asked about it.",
        multiple=True,
    ),
    option("--audio FILE", "A sound, for models of sounds; TEXT is its transcript."),
    option("--lines", "Each line is a text of its own; the metrics of all are averaged."),
    option("--probe", "Random tokens that are repeated instead of a text: what finds earlier copies?"),
    option("--columns NAMES", "What tab-separated fields of --lines are, with --effect: text,answer,contrast."),
    option(
        "--needle",
        "A needle in N random tokens instead of a text: which heads find it again (retrieval heads)?",
        type=WholeNumber(example=256),
    ),
    option("--qk-ov", "No text: copying, matching and composition of heads by their weights alone."),
    option("--seed", "Random seed of --probe and --needle. [default: 0]", type=WholeNumber(least=0)),
    option("--target TEXT", "What an encoder-decoder's decoder is given.", type=Text()),
    option("--target-ids IDS", "The same as ids, from its start token on."),
    option(
        "--generate N",
        "Let the model write N tokens at most (greedily), and look at those too.",
        type=WholeNumber(),
    ),
)


def read_heads_input(
    source: TextOptions, inputs: HeadsInputOptions, environment: Environment
) -> tuple[HeadsInput, tuple[str, ...]]:
    """The input, and notes on how it was understood: one text is read whole, many one after another as they are used.

    Raises UsageError for two kinds of input or none, FailedError for what can't be read.
    """
    from attncli.cli.texts import read_ids

    if inputs.columns is not None and not inputs.lines:
        raise UsageError("--columns names the fields of lines", hint="add --lines, or leave --columns out")
    if inputs.seed is not None and not (inputs.probe or inputs.needle is not None):
        raise UsageError("--seed chooses random tokens, and there are none", hint="add --probe, or leave --seed out")
    if environment.process.world_size > 1 and _reads_stdin(source, inputs):
        raise UsageError("several processes can't share stdin", hint="name a file with -f")
    ids = None if inputs.target_ids is None else read_ids(inputs.target_ids, environment, flag="--target-ids")
    given, notes = _main_input(source, inputs, environment)
    return given._replace(target=inputs.target, target_ids=ids, generate=inputs.generate), notes


def _reads_stdin(source: TextOptions, inputs: HeadsInputOptions) -> bool:
    sources = (*source.text, *source.file, *([] if source.input_ids is None else [source.input_ids]))
    return STDIN in sources if sources else not (inputs.without_text or inputs.has_media)


def _main_input(
    source: TextOptions, inputs: HeadsInputOptions, environment: Environment
) -> tuple[HeadsInput, tuple[str, ...]]:
    """All but the input of a decoder."""
    from attncli.api.heads_single import HeadsInput
    from attncli.cli.texts import open_texts, read_one_text

    has_text = source.text or source.file or source.input_ids is not None
    several = inputs.lines or len(source.file) > 1
    image = next(iter(inputs.image), None)
    if len(inputs.image) > 1:
        raise UsageError(
            f"--image was given {len(inputs.image)} times", hint="give one picture: several can't be shown"
        )
    flag = inputs.without_text
    if inputs.has_media and (flag or several):
        name = "--image" if inputs.image else "--audio"
        raise UsageError(f"{name} goes with one text, or none", hint=f"give one text, or leave {name} out")
    if inputs.has_media and not has_text:  # stdin is read only where `-` is written
        return HeadsInput(image=image, audio=inputs.audio), ()
    if flag is not None:
        if has_text or inputs.lines:
            raise UsageError(f"{flag} takes the place of a text", hint=f"leave {flag} out, or the text")
        seed = inputs.seed or 0
        return HeadsInput(probe=inputs.probe, needle=inputs.needle, qk_ov=inputs.qk_ov, seed=seed), ()
    if several:
        stream = open_texts(source, environment, lines=inputs.lines)
        return HeadsInput(_batch_items(stream), columns=inputs.columns), stream.notes
    text, ids, notes = read_one_text(source, environment)
    return HeadsInput(text, ids, image=image, audio=inputs.audio), notes


def _batch_items(stream: TextStream) -> Iterator[LocatedText]:
    """The texts of a stream, each with its name for error messages."""
    from attncli.api.heads_many import LocatedText
    from attncli.cli.stdin_text import lines

    for number, ids in enumerate(stream.ids or (), 1):
        yield LocatedText(f"list {number} of ids", ids=ids)
    names = [*stream.literal, *stream.files]
    called = ["stdin" if name == STDIN else "the text" if place < len(stream.literal) else name
              for place, name in enumerate(names)]  # fmt: skip
    for name, blocks in zip(called, stream.blocks(), strict=True):
        if stream.lines:
            yield from (LocatedText(f"line {number} of {name}", line) for number, line in enumerate(lines(blocks), 1))
        else:
            yield LocatedText(name, "".join(blocks))
