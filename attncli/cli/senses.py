"""The options of `attn heads` for what isn't text."""

from __future__ import annotations

from typing import NamedTuple

from attncli.cli.options import bundle, option


class SenseOptions(NamedTuple):
    """The file of a picture or of a sound; the names are the keywords of the verb."""

    image: str | None
    audio: str | None

    @property
    def given(self) -> bool:
        return self.image is not None or self.audio is not None


_INPUT = "Input"
sense_options = bundle(
    "senses",
    SenseOptions,
    option("--image", group=_INPUT, metavar="FILE", help="A picture, for models of pictures; TEXT is its caption."),
    option("--audio", group=_INPUT, metavar="FILE", help="A sound, for models of sounds; TEXT is its transcript."),
)
