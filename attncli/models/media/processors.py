"""A model's processor makes a picture and a text ready together: it writes the picture's tokens into the text.

`load_processor` builds it from the model's files, `prepare_prompt` runs it. Where a processor takes videos as well,
transformers' own `from_pretrained` asks for torchvision; here a processor is built without that part.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from copy import copy
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli.errors import ModelError, UsageError
from attncli.models.chat.sandbox import Call, Sandbox, StoppedError
from attncli.models.chat.template import DEFAULT, loaded_format, read_format
from attncli.models.files.model_files import PREPROCESSOR_FILE, PROCESSOR_FILE
from attncli.models.files.weight_headers import read_json
from attncli.models.loading.library_errors import library_errors
from attncli.models.media.pictures import PROCESSOR_ERRORS, Photo, image_processor
from attncli.models.media.sounds import feature_extractor
from attncli.models.tokenizers.slow import suppress_warnings

if TYPE_CHECKING:
    from attncli.models.files.model_files import ModelFiles

_TOKENIZER_CONFIG = "tokenizer_config.json"

#: Stands for the user's text when a chat template is asked where a picture goes.
_TEXT_MARK = "attncli"


class PicturePrompt(NamedTuple):
    """A text and a picture as a model's input.

    arguments: everything that the processor returns, by name; `input_ids` (1, tokens) come first.
    text: as the processor was given it, with the mark where the picture goes; None where ids were given.
    """

    arguments: dict[str, Any]
    text: str | None = None

    @property
    def ids(self) -> list[int]:
        ids: list[int] = self.arguments["input_ids"][0].tolist()
        return ids


# --- Building a processor


def load_processor(files: ModelFiles) -> Any:
    """The processor of a model, without its part for videos.

    Raises ModelError if the model names none that transformers has, or its settings can't be used.
    """
    cls = _processor_class(files)
    settings = _read_settings(files, PROCESSOR_FILE)
    whose = f"the processor of {files.ref.name}"
    errors = library_errors(f"{whose} can't be built", files.repair_hint, catch=PROCESSOR_ERRORS, user=whose)
    with errors, suppress_warnings():
        parts = [_load_part(files, name) for name in cls.get_attributes()]
        processor = _without_videos(cls).from_args_and_dict(parts, settings)
    templates = read_format(files).templates
    if DEFAULT in templates:
        processor.chat_template = templates[DEFAULT].source
    return processor


def _processor_class(files: ModelFiles) -> Any:
    import transformers
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    config = read_json(files.require("config.json"), repair_hint=files.repair_hint)
    named = (
        _read_settings(files, name).get("processor_class")
        for name in (PROCESSOR_FILE, PREPROCESSOR_FILE, _TOKENIZER_CONFIG)
    )
    name = next((each for each in named if each), None) or PROCESSOR_MAPPING_NAMES.get(str(config.get("model_type")))
    cls = getattr(transformers, name, None) if isinstance(name, str) else None
    if getattr(cls, "is_dummy", False):
        raise ModelError(
            f"the processor of {files.ref.name} ({name}) needs torchvision", hint="pip install torchvision"
        )
    if not isinstance(cls, type) or not issubclass(cls, transformers.ProcessorMixin):
        raise ModelError(
            f"{files.ref.name} doesn't say which processor of transformers combines its texts and pictures",
            hint=f"add its processor_class, such as LlavaProcessor, to its {PROCESSOR_FILE}",
        )
    return cls


def _read_settings(files: ModelFiles, name: str) -> dict[str, Any]:
    path = files.find(name)
    return {} if path is None else read_json(path, repair_hint=files.repair_hint)


def _load_part(files: ModelFiles, name: str) -> Any:
    """A part of a processor by the name of its attribute."""
    if name == "video_processor":
        return None
    loaders = {"tokenizer": _load_tokenizer, "image_processor": image_processor, "feature_extractor": feature_extractor}
    if name in loaders:
        return loaders[name](files)
    raise ModelError(
        f"the processor of {files.ref.name} has an unknown part: {name}",
        hint="load it with transformers.AutoProcessor, and pass it as processor= together with model= in Python",
    )


def _load_tokenizer(files: ModelFiles) -> Any:
    """transformers' own tokenizer: processors ask it for the names of special tokens."""
    from attncli.models.tokenizers.slow import COMPANIONS, VOCABULARIES, load_with_transformers
    from attncli.models.tokenizers.types import NoTokenizerError

    found = [path for name in ("tokenizer.json", *VOCABULARIES, *COMPANIONS) if (path := files.find(name)) is not None]
    if not found or found[0].name == "config.json":
        raise NoTokenizerError(files.ref.name)
    return load_with_transformers(files.ref.name, found)


def _without_videos(cls: Any) -> Any:
    """The class, for a processor whose part for videos is None."""

    def check(processor: Any, name: str, part: Any) -> Any:
        return None if part is None else cls.check_argument_for_proper_class(processor, name, part)

    return type(cls.__name__, (cls,), {"check_argument_for_proper_class": check, "__module__": cls.__module__})


# --- Running a processor


def prepare_prompt(
    photo: Photo, processor: Any, picture_id: int, text: str | Sequence[int], *, special: bool = True
) -> PicturePrompt:
    """Run the processor on a picture and a text, or on ids that hold the picture's tokens already.

    picture_id: the id of the tokens that the model replaces by the picture.
    A text that doesn't say where the picture goes gets it where the processor puts it by itself, or else before the
    text, as the chat template writes it or as the processor's own token.  special: add special tokens.

    Raises UsageError for a text with several places for pictures or one for a video, ids without the picture's tokens,
    and a picture that the processor can't use.
    """
    mark = getattr(processor, "image_token", None)
    if mark is None:
        raise UsageError(
            f"a {type(processor).__name__} doesn't combine texts and pictures, which this model needs",
            hint="pass the model's whole processor as processor=, for instance from transformers.AutoProcessor",
        )
    what = f"{photo.name} can't be preprocessed for the model"
    errors = library_errors(what, "try another picture", raised=UsageError, catch=PROCESSOR_ERRORS)
    if not isinstance(text, str):
        with errors:
            return _prepare_ids(photo, processor, picture_id, text)
    _check_marks(text, processor)
    if str(mark) not in text:
        # Most processors refuse a text without a place for the picture; the others put it there themselves.
        with suppress(*PROCESSOR_ERRORS):
            by_itself = PicturePrompt(_run(photo, processor, text, special=special), text)
            if picture_id in by_itself.ids:
                return by_itself
        text = _written_picture(processor, str(mark)) + text
    with errors:
        return PicturePrompt(_run(photo, processor, text, special=special), text)


def _check_marks(text: str, processor: Any) -> None:
    """Raise UsageError for a text with places for two pictures, a video or a sound."""
    for name, what in (("video_token", "video"), ("audio_token", "sound")):
        mark = getattr(processor, name, None)
        if mark is not None and str(mark) in text:
            raise UsageError(
                f"the text has a placeholder for a {what}: {mark}", hint="leave it out: --image gives a picture"
            )
    mark = str(processor.image_token)
    if text.count(mark) > 1:
        raise UsageError(
            f"the text has {text.count(mark)} placeholders for pictures ({mark}), and one picture was given",
            hint=f"leave {mark} out, or write it once",
        )


def _prepare_ids(photo: Photo, processor: Any, picture_id: int, ids: Sequence[int]) -> PicturePrompt:
    mark = str(processor.image_token)
    # A copy, as the processor may be the user's.
    given = copy(processor)
    given.tokenizer = _GivenIds(processor.tokenizer, ids)
    expected, count = PicturePrompt(_run(photo, processor, mark)).ids.count(picture_id), ids.count(picture_id)
    if count != expected:
        raise UsageError(
            f"the token ids contain {count} picture tokens ({picture_id}), and this picture needs {expected}",
            hint="give the text instead of token ids, or the token ids of the model's processor",
        )
    prompt = PicturePrompt(_run(photo, given, mark))
    if prompt.ids != list(ids):
        raise UsageError(
            f"a {type(processor).__name__} changes the token ids", hint="give the text instead of token ids"
        )
    return prompt


def _run(photo: Photo, processor: Any, text: str, *, special: bool = True) -> dict[str, Any]:
    """Everything that the processor returns, `input_ids` first."""
    from PIL import Image

    options = {} if special else {"add_special_tokens": False}
    with suppress_warnings():
        found = processor(images=Image.fromarray(photo.pixels), text=text, return_tensors="pt", **options)
    return {"input_ids": found["input_ids"], **found}


class _GivenIds:
    """Stands in for a processor's tokenizer, and makes given ids of any text."""

    def __init__(self, tokenizer: Any, ids: Sequence[int]) -> None:
        self._tokenizer, self._ids = tokenizer, list(ids)

    def __call__(self, text: object = None, **options: Any) -> Any:
        import torch

        rows = {
            "input_ids": self._ids,
            "attention_mask": [1] * len(self._ids),
            "token_type_ids": [0] * len(self._ids),
        }
        # Idefics3 asks the encoding how many tokens a picture takes, which is the same in any text.
        encoding = self._tokenizer(text, **options)
        for name in rows.keys() & encoding.keys():
            encoding[name] = [rows[name]] if options.get("return_tensors") is None else torch.tensor([rows[name]])
        return encoding

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


# --- Where a picture goes


def _written_picture(processor: Any, mark: str) -> str:
    """A picture as the chat template writes it, with its surroundings (`<|vision_start|>` …), or the token alone.

    Raises ModelError for a template that takes too long.
    """
    form = loaded_format(processor, type(processor).__name__)
    if DEFAULT not in form.templates:
        form = loaded_format(processor.tokenizer, type(processor).__name__)
    if DEFAULT not in form.templates:
        return mark
    words = {"type": "text", "text": _TEXT_MARK}
    messages = [{"role": "user", "content": [*parts, words]} for parts in ([], [{"type": "image"}])]
    variables = {**processor.tokenizer.special_tokens_map, "tools": None, "documents": None}
    try:
        with Sandbox() as sandbox:
            plain, shown = sandbox.render(form.templates[DEFAULT].source, messages, variables, [Call([0]), Call([1])])
    except StoppedError as error:
        raise ModelError(
            f"the chat template, which places the picture, {'takes too long' if error.slow else 'failed'}",
            hint=f"write {mark} in the text where the picture belongs",
        ) from error
    before, written = ((each.text or "").partition(_TEXT_MARK)[0] for each in (plain, shown))
    around = written.removeprefix(before) if written.startswith(before) else ""
    return around if around.count(mark) == 1 else mark
