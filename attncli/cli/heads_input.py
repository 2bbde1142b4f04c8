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
    from attncli.api.heads_input import HeadsInput
    from attncli.api.heads_many import LocatedText
    from attncli.cli.texts import TextStream


class HeadsInputOptions(NamedTuple):
    """Inputs other than one text: pictures, sounds, many texts, random tokens, and the input of a decoder."""

    image: tuple[str, ...]
    video: str | None
    chat: bool
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
    tokens: str | None

    @property
    def without_text(self) -> str | None:
        """The option that takes the place of a text, if one was given."""
        given = {"--probe": self.probe, "--needle": self.needle is not None, "--qk-ov": self.qk_ov}
        return next((flag for flag, is_given in given.items() if is_given), None)

    @property
    def has_media(self) -> bool:
        """Whether there is a picture, a video or a sound, so that a text is optional."""
        return self.medium_flag is not None

    @property
    def medium_flag(self) -> str | None:
        """The option that gives a picture, a video or a sound, if one was given."""
        given = {"--image": self.image, "--video": self.video is not None, "--audio": self.audio is not None}
        return next((flag for flag, is_given in given.items() if is_given), None)


heads_input_options = bundle(
    "inputs",
    HeadsInputOptions,
    "Input",
    option(
        "--image FILE",
        "An image file, for models that read images; TEXT is its caption or a question about it.",
        multiple=True,
    ),
    option(
        "--video FILE",
        "A video, for models that chat about videos: an animated GIF, PNG or WebP, or a folder of frames.",
    ),
    option("--chat", "TEXT is a question, or JSON messages, for the model's chat template. [default with --image]"),
    option("--audio FILE", "A sound file, for models that read audio; TEXT is its transcript."),
    option(
        "--tokens NAMES",
        'Names for the positions of --input-ids, or of the inputs of your own code: "a b c".',
        type=Text(),
    ),
    option("--lines", "Treat each line as a separate text, and average the metrics over the texts."),
    option("--probe", "Instead of a text, run random tokens that repeat, to find induction heads."),
    option(
        "--columns NAMES",
        "The tab-separated fields of a line: text,answer,contrast for --effect; source,target to align words.",
    ),
    option(
        "--needle",
        "Instead of a text, run N random tokens that end with a copy of a few (the needle), to find retrieval heads.",
        type=WholeNumber(example=256),
    ),
    option(
        "--qk-ov",
        "QK and OV circuits from the weights alone, without a text: copying, matching and composition of heads.",
    ),
    option("--seed", "Random seed of --probe and --needle. [default: 0]", type=WholeNumber(least=0)),
    option("--target TEXT", "The text for the decoder of an encoder-decoder.", type=Text()),
    option("--target-ids IDS", "The decoder's input as token ids, beginning with its start token."),
    option(
        "--generate N",
        "Let the model generate at most N tokens (greedily), and include them.",
        type=WholeNumber(),
    ),
)


def read_heads_input(
    source: TextOptions, inputs: HeadsInputOptions, models: str | list[str] | None, environment: Environment
) -> tuple[HeadsInput, tuple[str, ...]]:
    """The input, and notes on how it was understood: one text is read whole, many one after another as they are used.

    models: a function of the user's own may bring its inputs, and then stdin is read only where `-` is written.

    Raises UsageError for two kinds of input or none, FailedError for what can't be read.
    """
    from attncli.api.heads_input import HeadsInput
    from attncli.cli.texts import read_ids

    if inputs.columns is not None and not inputs.lines:
        raise UsageError("--columns names the fields of lines", hint="add --lines, or leave --columns out")
    if inputs.seed is not None and not (inputs.probe or inputs.needle is not None):
        raise UsageError("--seed has no effect without random tokens", hint="add --probe, or leave --seed out")
    if environment.process.world_size > 1 and _reads_stdin(source, inputs):
        raise UsageError("several processes can't read stdin", hint="give a file with -f FILE")
    ids = None if inputs.target_ids is None else read_ids(inputs.target_ids, environment, flag="--target-ids")
    given, notes = HeadsInput(), tuple[str, ...]()
    if _has_text(source) or inputs.without_text or inputs.has_media or not _has_own_code(models):
        given, notes = _main_input(source, inputs, environment)
    names = () if inputs.tokens is None else tuple(inputs.tokens.split())
    given = given._replace(tokens=names, target=inputs.target, target_ids=ids)
    return given._replace(generate=inputs.generate, chat=inputs.chat or None), notes


def _has_text(source: TextOptions) -> bool:
    return bool(source.text or source.file or source.input_ids is not None)


def _has_own_code(models: str | list[str] | None) -> bool:
    """Whether a model is a `file.py:function`."""
    from attncli.models.files.reference import Kind, parse_reference

    names = [models] if isinstance(models, str) else models or []
    return any(".py:" in name and parse_reference(name).kind is Kind.FUNCTION for name in names)


def _reads_stdin(source: TextOptions, inputs: HeadsInputOptions) -> bool:
    sources = (*source.text, *source.file, *([] if source.input_ids is None else [source.input_ids]))
    return STDIN in sources if sources else not (inputs.without_text or inputs.has_media)


def _main_input(
    source: TextOptions, inputs: HeadsInputOptions, environment: Environment
) -> tuple[HeadsInput, tuple[str, ...]]:
    """All but the input of a decoder."""
    from attncli.api.heads_input import HeadsInput
    from attncli.cli.texts import open_texts, read_one_text

    has_text = _has_text(source)
    several = inputs.lines or len(source.file) > 1
    image = inputs.image if len(inputs.image) > 1 else next(iter(inputs.image), None)
    flag = inputs.without_text
    if inputs.has_media and (flag or several):
        name = inputs.medium_flag
        other = "--probe" if inputs.probe else "--lines" if inputs.lines else "several files"
        raise UsageError(f"{name} can't be combined with {other}", hint=f"leave {other} or {name} out")
    if inputs.has_media and not has_text:  # stdin is read only where `-` is written
        return HeadsInput(image=image, video=inputs.video, audio=inputs.audio), ()
    if flag is not None:
        if has_text or inputs.lines:
            given = "--lines" if not has_text else "--input-ids" if source.input_ids is not None else "a text"
            why = "it needs no text" if inputs.qk_ov else "it runs random tokens instead of a text"
            raise UsageError(
                f"{flag} can't be combined with {given}: {why}",
                hint=f"leave {flag} or {given.replace('a text', 'the text')} out",
            )
        seed = inputs.seed or 0
        return HeadsInput(probe=inputs.probe, needle=inputs.needle, qk_ov=inputs.qk_ov, seed=seed), ()
    if several:
        stream = open_texts(source, environment, lines=inputs.lines)
        return HeadsInput(_batch_items(stream), columns=inputs.columns), stream.notes
    text, ids, notes = read_one_text(source, environment)
    return HeadsInput(text, ids, image=image, video=inputs.video, audio=inputs.audio), notes


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
