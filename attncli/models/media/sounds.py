"""Reading sounds from files, and preparing them (mono, resampled) with a model's feature extractor."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from attncli.errors import FailedError, ModelError, UsageError, reason_of
from attncli.models.files.model_files import PREPROCESSOR_FILE, processor_settings
from attncli.models.loading.library_errors import library_errors

if TYPE_CHECKING:
    from attncli.models.files.model_files import ModelFiles

#: The maximum number of samples of all channels (1 GiB); models take half a minute at 16 kHz.
MAX_SAMPLES = 1 << 28

Wave = npt.NDArray[np.float32]


class Recording(NamedTuple):
    """A sound from a file. samples: mono, float32 (samples,) between −1 and 1.  rate: samples per second."""

    name: str
    samples: Wave
    rate: int
    channels: int = 1

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


class SoundWindow(NamedTuple):
    """A part of a sound that a model reads at once. samples: at the model's rate.  start: of the part, in seconds.

    seconds: what the model reads, with the silence that fills it.  end: of the sound in it.
    """

    samples: Wave
    start: float
    seconds: float
    end: float

    def frames(self, extractor: Any) -> int:
        """How many frames of features are sound; 0 for models of raw waveforms."""
        hop = getattr(extractor, "hop_length", None)
        return -(-len(self.samples) // hop) if hop else 0


def read_recording(path: str | Path) -> Recording:
    """Read a sound; several channels are averaged.

    Raises FailedError if a package is missing, and if the file can't be read, is no sound, or is empty.
    """
    absent = [package for package in ("soundfile", "soxr") if find_spec(package) is None]
    if absent:
        needed = f"the package{'s' if len(absent) > 1 else ''} {' and '.join(absent)}"
        raise FailedError(f"reading sounds needs {needed}", hint="pip install 'attncli[audio]'")
    name = str(path)
    samples, rate = _read_samples(name)
    if not len(samples):
        raise FailedError(f"{name} is empty: its length is 0", hint="use a recording that is not empty")
    if not np.isfinite(samples).all():
        raise FailedError(f"{name} is broken: some samples are not numbers", hint="record or convert it again")
    return Recording(name, samples.mean(axis=1, dtype=np.float32), rate, samples.shape[1])


def _read_samples(name: str) -> tuple[Wave, int]:
    """The samples of all channels, (samples, channels), and the rate."""
    import soundfile

    try:
        # Opened first, as libsndfile doesn't say why a file can't be opened.
        open(name, "rb").close()
        with soundfile.SoundFile(name) as sound:
            if sound.frames * sound.channels > MAX_SAMPLES:
                raise FailedError(
                    f"{name} is too long: {sound.frames / sound.samplerate / 60:,.0f} minutes",
                    hint="cut out the part that you need",
                )
            return sound.read(dtype="float32", always_2d=True), int(sound.samplerate)
    except OSError as error:
        reason = (error.strerror or reason_of(error)).lower()
        raise FailedError(f"{name} can't be read: {reason}", hint="check the path after --audio") from error
    except (soundfile.LibsndfileError, ValueError, RuntimeError, TypeError) as error:
        raise FailedError(
            f"{name} is not a readable sound file", hint="use a WAV, FLAC, OGG, MP3 or AIFF file"
        ) from error


def feature_extractor(files: ModelFiles) -> Any:
    """The feature extractor of a model. Raises ModelError if it has none, or one that can't be built."""
    import transformers

    settings = processor_settings(files, "feature_extractor")
    name = settings.get("feature_extractor_type")
    cls = getattr(transformers, name, None) if isinstance(name, str) else None
    if cls is None or getattr(cls, "is_dummy", False):
        raise ModelError(
            f"{files.ref.name} doesn't say which feature extractor of transformers it needs",
            hint=f"add a feature_extractor_type, such as WhisperFeatureExtractor, to its {PREPROCESSOR_FILE}",
        )
    what, invalid = f"the feature extractor of {files.ref.name} can't be built", (TypeError, ValueError, KeyError)
    with library_errors(what, files.repair_hint, catch=(*invalid, AttributeError, ImportError)):
        return cls.from_dict(settings)


def cut_windows(
    recording: Recording, extractor: Any, *, truncate: bool
) -> tuple[tuple[SoundWindow, ...], tuple[str, ...]]:
    """A sound in the windows of a model, and notes on the conversion; with `truncate`, the first window alone.

    extractor: from `feature_extractor`, or one that the user has loaded.
    """
    rate = int(extractor.sampling_rate)
    samples, notes = recording.samples, list[str]()
    if recording.channels > 1:
        notes.append(f"the {recording.channels} channels of {recording.name} were mixed down to one")
    if recording.rate != rate:
        import soxr

        notes.append(f"{recording.name} was resampled from {recording.rate:,} to {rate:,} Hz")
        samples = soxr.resample(samples, recording.rate, rate).astype(np.float32)
    # Whisper's name for the length of its window; other models take any length.
    size = getattr(extractor, "n_samples", None)
    if size is None:
        return (SoundWindow(samples, 0.0, len(samples) / rate, len(samples) / rate),), tuple(notes)
    starts = range(0, size if truncate else max(len(samples), 1), size)
    parts = (samples[start : start + size] for start in starts)
    windows = tuple(
        SoundWindow(part, start / rate, size / rate, (start + len(part)) / rate)
        for start, part in zip(starts, parts, strict=True)
    )
    return windows, (*notes, *_window_note(recording, size / rate, truncate=truncate))


def prepare_window(window: SoundWindow, extractor: Any, name: str) -> dict[str, Any]:
    """The tensors that the feature extractor makes of a window. name: of the sound.

    Raises UsageError for one that it can't use.
    """
    failures = (TypeError, ValueError, ArithmeticError, RuntimeError, LookupError)
    what = f"{name} can't be preprocessed for the model"
    with library_errors(what, "use a longer recording", raised=UsageError, catch=failures):
        found = extractor(window.samples, sampling_rate=int(extractor.sampling_rate), return_tensors="pt")
    return dict(found)


def _window_note(recording: Recording, window: float, *, truncate: bool) -> Iterator[str]:
    if recording.seconds <= window:
        silence = window - recording.seconds
        yield f"the model reads {window:g} s: {recording.seconds:.2f} s of sound, then {silence:.2f} s of silence"
    elif truncate:
        yield f"the model reads {window:g} s: the first of {recording.seconds:.1f} s"
