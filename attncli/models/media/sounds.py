"""A sound's file -> what a model of sounds takes, by its own feature extractor: one channel, at its own rate."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from attncli.errors import FailedError, ModelError, UsageError, reason_of
from attncli.models.files.model_files import SETTINGS, processor_settings

if TYPE_CHECKING:
    from attncli.models.files.model_files import ModelFiles

#: Samples of all channels beyond which a file isn't read (1 GiB): models take half a minute of 16,000 a second.
MOST_SAMPLES = 1 << 28

Wave = npt.NDArray[np.float32]


class Recording(NamedTuple):
    """A sound as it was read: one channel, float32 (samples,) between −1 and 1; rate: samples a second."""

    name: str
    samples: Wave
    rate: int
    channels: int = 1

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


class PreparedSound(NamedTuple):
    """What a model is given.

    arguments: tensors by the names of its forward pass.  seconds: what they stand for, silence at the end included.
    notes: how the sound became that.
    """

    arguments: dict[str, Any]
    seconds: float
    notes: tuple[str, ...]


def read_recording(path: str | Path) -> Recording:
    """A sound from a file; several channels become their mean.

    Raises FailedError where a package is missing, and where the file can't be read, is no sound, or is empty.
    """
    absent = [package for package in ("soundfile", "soxr") if find_spec(package) is None]
    if absent:
        needed = f"the package{'s' if len(absent) > 1 else ''} {' and '.join(absent)}"
        raise FailedError(f"reading sounds needs {needed}", hint="pip install 'attncli[audio]'")
    name = str(path)
    samples, rate = _samples(name)
    if not len(samples):
        raise FailedError(f"{name} holds no sound: its length is 0", hint="give a recording of at least a moment")
    if not np.isfinite(samples).all():
        raise FailedError(f"{name} is broken: it holds samples that are no numbers", hint="record or convert it again")
    return Recording(name, samples.mean(axis=1, dtype=np.float32), rate, samples.shape[1])


def _samples(name: str) -> tuple[Wave, int]:
    """All channels: (samples, channels)."""
    import soundfile

    try:
        # libsndfile says no more of a file that it can't open than that.
        open(name, "rb").close()
        with soundfile.SoundFile(name) as sound:
            if sound.frames * sound.channels > MOST_SAMPLES:
                raise FailedError(
                    f"{name} is too long: {sound.frames / sound.samplerate / 60:,.0f} minutes",
                    hint="cut out the seconds to be looked at",
                )
            return sound.read(dtype="float32", always_2d=True), int(sound.samplerate)
    except OSError as error:
        said = (error.strerror or reason_of(error)).lower()
        raise FailedError(f"{name} can't be read: {said}", hint="name the file of a sound with --audio") from error
    except (soundfile.LibsndfileError, ValueError, RuntimeError, TypeError) as error:
        raise FailedError(
            f"{name} is no sound that can be read", hint="--audio takes WAV, FLAC, OGG, MP3 or AIFF; convert it to one"
        ) from error


def feature_extractor(files: ModelFiles) -> Any:
    """The feature extractor of a model. Raises ModelError where it has none, or one that can't be built."""
    import transformers

    settings = processor_settings(files, "feature_extractor")
    name = settings.get("feature_extractor_type")
    cls = getattr(transformers, name, None) if isinstance(name, str) else None
    if cls is None or getattr(cls, "is_dummy", False):
        raise ModelError(
            f"{files.ref.name} doesn't say which feature extractor of transformers makes sounds ready for it",
            hint=f"add a feature_extractor_type, such as WhisperFeatureExtractor, to its {SETTINGS}",
        )
    try:
        return cls.from_dict(settings)
    except (TypeError, ValueError, KeyError, AttributeError, ImportError) as error:
        message = f"the feature extractor of {files.ref.name} can't be built: {reason_of(error)}"
        raise ModelError(message, hint=files.repair_hint) from error


def prepare_sound(recording: Recording, extractor: Any, *, truncate: bool) -> PreparedSound:
    """The sound as a model takes it. extractor: `feature_extractor`'s, or one that a user has loaded.

    Raises UsageError for a sound that is longer than the model's window and may not be cut.
    """
    extractor = getattr(extractor, "feature_extractor", extractor)
    rate = int(extractor.sampling_rate)
    samples, notes = _resampled(recording, rate)
    # Whisper's own name for the length of its window; other models take whatever comes.
    window = getattr(extractor, "n_samples", None)
    if window is not None:
        notes.append(_window_note(recording, window / rate, truncate=truncate))
        samples = samples[:window]
    try:
        made = extractor(samples, sampling_rate=rate, return_tensors="pt")
    except (TypeError, ValueError, ArithmeticError, RuntimeError, LookupError) as error:
        raise UsageError(
            f"{recording.name} can't be made ready for the model: {reason_of(error)}", hint="try a longer sound"
        ) from error
    seconds = (window if window is not None else len(samples)) / rate
    return PreparedSound(
        {name: value for name, value in made.items() if name != "attention_mask"}, seconds, tuple(notes)
    )


def _resampled(recording: Recording, rate: int) -> tuple[Wave, list[str]]:
    notes = []
    if recording.channels > 1:
        notes.append(f"the {recording.channels} channels of {recording.name} were mixed to one")
    if recording.rate == rate:
        return recording.samples, notes
    import soxr

    notes.append(f"{recording.name} was resampled from {recording.rate:,} to {rate:,} samples a second")
    resampled: Wave = soxr.resample(recording.samples, recording.rate, rate).astype(np.float32)
    return resampled, notes


def _window_note(recording: Recording, window: float, *, truncate: bool) -> str:
    if recording.seconds <= window:
        silence = window - recording.seconds
        return (
            f"the model hears {window:g} s at a time: {recording.seconds:.2f} s of sound, then {silence:.2f} of silence"
        )
    if not truncate:
        raise UsageError(
            f"{recording.name} lasts {recording.seconds:.1f} s and the model hears {window:g} s at a time",
            hint=f"--truncate takes the first {window:g} s",
        )
    return f"the model hears {window:g} s at a time: the first of {recording.seconds:.1f} s"
