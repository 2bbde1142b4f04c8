"""A model's processor makes a picture and a text ready together: it writes the picture's tokens into the text.

`load_processor` builds it from the model's files, `prepare_prompt` runs it. Where a processor takes videos as well,
transformers' own `from_pretrained` asks for torchvision; here a processor is built without that part.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from attncli.errors import AttnError, ModelError, UsageError, broken_package
from attncli.models.chat.sandbox import Call, Rendering, Sandbox, StoppedError
from attncli.models.chat.template import DEFAULT, ChatFormat, loaded_format, parse_conversation, read_format
from attncli.models.files.model_files import PREPROCESSOR_FILE, PROCESSOR_FILE
from attncli.models.files.weight_headers import read_json
from attncli.models.loading.library_errors import library_errors
from attncli.models.media.pictures import PROCESSOR_ERRORS, Photo, image_processor
from attncli.models.media.sounds import feature_extractor
from attncli.models.media.videos import Video, video_processor
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
    chat: whether the chat template wrote it.
    """

    arguments: dict[str, Any]
    text: str | None = None
    chat: bool = False

    @property
    def ids(self) -> list[int]:
        ids: list[int] = self.arguments["input_ids"][0].tolist()
        return ids


# --- Building a processor


def load_processor(files: ModelFiles, *, videos: bool = False) -> Any:
    """The processor of a model. videos: with its part for them.

    Raises ModelError if the model names none that transformers has, or its settings can't be used.
    """
    cls = _processor_class(files)
    settings = _read_settings(files, PROCESSOR_FILE)
    whose = f"the processor of {files.ref.name}"
    errors = library_errors(f"{whose} can't be built", files.repair_hint, catch=PROCESSOR_ERRORS, user=whose)
    with errors, suppress_warnings(), _named_packages(whose):
        names = cls.get_attributes()
        if videos and "video_processor" not in names:
            raise UsageError(f"{files.ref.name} reads no videos", hint="give frames as pictures: --image for each")
        parts = [_load_part(files, name, videos=videos) for name in names]
        processor = _without_videos(cls).from_args_and_dict(parts, settings)
    templates = read_format(files).templates
    if DEFAULT in templates:
        processor.chat_template = templates[DEFAULT].source
    return processor


@contextmanager
def _named_packages(whose: str) -> Iterator[None]:
    """Raise ModelError with the package to install, where transformers says that one is missing."""
    try:
        yield
    except ImportError as error:
        named = re.search(r"pip install ([\w.-]+)", str(error))
        if named is None:
            raise
        package = named[1].rstrip(".")
        raise ModelError(f"{whose} needs the package {package}", hint=f"pip install {package}") from error


def _processor_class(files: ModelFiles) -> Any:
    import transformers
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    config = read_json(files.require("config.json"), repair_hint=files.repair_hint)
    named = (
        _read_settings(files, name).get("processor_class")
        for name in (PROCESSOR_FILE, PREPROCESSOR_FILE, _TOKENIZER_CONFIG)
    )
    name = next((each for each in named if each), None) or PROCESSOR_MAPPING_NAMES.get(str(config.get("model_type")))
    try:
        cls = getattr(transformers, name, None) if isinstance(name, str) else None
    except Exception as error:
        # transformers imports torchvision where it is installed, and that may not fit torch.
        broken = broken_package(error)
        if broken is None:
            raise
        raise broken from error
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


def _load_part(files: ModelFiles, name: str, *, videos: bool) -> Any:
    """A part of a processor by the name of its attribute."""
    if name == "video_processor":
        return video_processor(files) if videos else None
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
    shown: Sequence[Photo] | Video,
    processor: Any,
    picture_id: int,
    text: str | Sequence[int],
    *,
    special: bool = True,
    chat: bool | None = None,
) -> PicturePrompt:
    """Run the processor on pictures or a video and a text, or on ids that hold the pictures' tokens already.

    picture_id: the id of the tokens that the model replaces by what is shown.  special: add special tokens.
    chat: write the text as a user's question by the chat template; None: where there is one that places pictures.
    A text that says where the pictures go stays as it is. Any other gets them where the processor puts them by itself,
    or else before the text, as the chat template writes them or as the processor's own token.

    Raises UsageError for a text with another number of places for pictures or with one for a video, ids without the
    pictures' tokens, and a picture that the processor can't use.
    """
    mark = mark_of(processor, shown)
    if mark is None:
        what = "videos" if isinstance(shown, Video) else "pictures"
        raise UsageError(
            f"a {type(processor).__name__} doesn't combine texts and {what}, which this model needs",
            hint="pass the model's whole processor as processor=, for instance from transformers.AutoProcessor",
        )
    names = [shown.name] if isinstance(shown, Video) else [photo.name for photo in shown]
    what = f"{' and '.join(names)} can't be preprocessed for the model"
    errors = library_errors(what, "try another file", raised=UsageError, catch=PROCESSOR_ERRORS)
    if not isinstance(text, str):
        with errors:
            return _prepare_ids(shown, processor, picture_id, text)
    _check_marks(text, processor, shown)
    if mark not in text and chat is not False:
        written = write_question(processor, text, shown, required=chat is True)
        if written is not None:
            begins = str(processor.tokenizer.bos_token or "")
            special = special and not (begins and written.startswith(begins))
            with errors:
                return PicturePrompt(run_processor(shown, processor, written, special=special), written, chat=True)
    if mark not in text:
        # Most processors refuse a text without a place for the picture; the others put it there themselves.
        with suppress(*PROCESSOR_ERRORS):
            by_itself = PicturePrompt(run_processor(shown, processor, text, special=special), text)
            if picture_id in by_itself.ids:
                return by_itself
        text = _written_picture(processor, shown) * _count(shown) + text
    with errors:
        return PicturePrompt(run_processor(shown, processor, text, special=special), text)


def mark_of(processor: Any, shown: Sequence[Photo] | Video) -> str | None:
    """What stands in a text where a picture or the video goes; None for a processor that doesn't take any."""
    mark = getattr(processor, "video_token" if isinstance(shown, Video) else "image_token", None)
    return None if mark is None else str(mark)


def _count(shown: Sequence[Photo] | Video) -> int:
    """How many places in a text are needed."""
    return 1 if isinstance(shown, Video) else len(shown)


def _check_marks(text: str, processor: Any, shown: Sequence[Photo] | Video) -> None:
    """Raise UsageError for a text with places for more or fewer pictures than were given, or for something else."""
    mark, pictures = mark_of(processor, shown), _count(shown)
    word, flag = ("video", "--video") if isinstance(shown, Video) else ("picture", "--image")
    for name, what in (("image_token", "picture"), ("video_token", "video"), ("audio_token", "sound")):
        other = getattr(processor, name, None)
        if other is not None and str(other) != mark and str(other) in text:
            raise UsageError(
                f"the text has a placeholder for a {what}: {other}", hint=f"leave it out: {flag} gives a {word}"
            )
    count = text.count(str(mark))
    if count not in (0, pictures):
        places = f"{count} placeholder{'s' * (count > 1)} for {word}s ({mark})"
        given = f"1 {word} was given" if pictures == 1 else f"{pictures} {word}s were given"
        more = f"give {flag} once for each {mark}" if word == "picture" else f"leave one {mark}"
        raise UsageError(f"the text has {places}, and {given}", hint=f"{more}, or leave {mark} out")


def _prepare_ids(shown: Sequence[Photo] | Video, processor: Any, picture_id: int, ids: Sequence[int]) -> PicturePrompt:
    marks = str(mark_of(processor, shown)) * _count(shown)
    # A copy, as the processor may be the user's.
    given = copy(processor)
    given.tokenizer = _GivenIds(processor.tokenizer, ids)
    expected = PicturePrompt(run_processor(shown, processor, marks)).ids.count(picture_id)
    count = ids.count(picture_id)
    if count != expected:
        word = "video" if isinstance(shown, Video) else "picture"
        needs = f"this {word} needs" if _count(shown) == 1 else f"these {_count(shown)} pictures need"
        raise UsageError(
            f"the token ids contain {count} {word} tokens ({picture_id}), and {needs} {expected}",
            hint="give the text instead of token ids, or the token ids of the model's processor",
        )
    prompt = PicturePrompt(run_processor(shown, given, marks))
    if prompt.ids != list(ids):
        raise UsageError(
            f"a {type(processor).__name__} changes the token ids", hint="give the text instead of token ids"
        )
    return prompt


def run_processor(shown: Sequence[Photo] | Video, processor: Any, text: str, *, special: bool = True) -> dict[str, Any]:
    """Everything that the processor returns for pictures or a video and a text, `input_ids` first."""
    from PIL import Image

    options: dict[str, Any] = {} if special else {"add_special_tokens": False}
    if isinstance(shown, Video):
        frames = np.stack([frame.pixels for frame in shown.frames])
        options |= {"videos": [frames], "video_metadata": [shown.metadata], "return_metadata": True}
    else:
        # A list within a list: these pictures are of one text.
        options["images"] = [[Image.fromarray(photo.pixels) for photo in shown]]
    with suppress_warnings():
        found = processor(text=[text], return_tensors="pt", **options)
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


def write_question(processor: Any, text: str, shown: Sequence[Photo] | Video, *, required: bool = False) -> str | None:
    """A question about pictures or a video as the chat template writes it: they stand before the text, and the
    generation prompt follows. text: may be JSON messages, whose pictures stand where they say, or else before their
    first text.

    Returns None where no template places as many pictures. required: raise UsageError then.
    Raises ModelError for a template that takes too long.
    """
    form = _chat_form(processor)
    if DEFAULT not in form.templates:
        if required:
            raise UsageError(
                f"a {type(processor).__name__} has no chat template", hint="leave --chat out, or use a chat model (-m)"
            )
        return None
    parts, mark = _parts(shown), str(mark_of(processor, shown))
    messages = _messages(text, parts)
    found = _render(form, processor, messages, [Call(range(len(messages)), generation=True)])[0]
    if found.text is not None and found.text.count(mark) == len(parts):
        return found.text
    if required:
        why = found.message or f"it writes {(found.text or '').count(mark)} of {len(parts)}"
        raise UsageError(f"the chat template places no {parts[0]['type']}s: {why}", hint="leave --chat out")
    return None


def _parts(shown: Sequence[Photo] | Video) -> list[dict[str, str]]:
    """Pictures or a video as parts of a message."""
    return [{"type": "video" if isinstance(shown, Video) else "image"}] * _count(shown)


def _messages(text: str, parts: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """JSON messages, or a question as one message, with these parts in them."""
    if text.lstrip().startswith(("[{", '{"')):
        with suppress(AttnError):
            messages = [dict(message) for message in parse_conversation(text).messages]
            return _with_pictures(messages, parts)
    words = [{"type": "text", "text": text}] if text else []
    return [{"role": "user", "content": [*parts, *words]}]


def _with_pictures(messages: list[dict[str, Any]], shown: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """The messages with contents as lists of parts, and what is shown before the first of a user that has none."""
    for message in messages:
        if isinstance(message.get("content"), str):
            message["content"] = [{"type": "text", "text": message["content"]}]
    parts = [part for message in messages for part in message.get("content") or ()]
    if not any(isinstance(part, dict) and part.get("type") == shown[0]["type"] for part in parts):
        asked = next((message for message in messages if message.get("role") == "user"), messages[0])
        asked["content"] = [*shown, *asked["content"]]
    return messages


def _written_picture(processor: Any, shown: Sequence[Photo] | Video) -> str:
    """A picture or a video as the chat template writes it, with its surroundings (`<|vision_start|>` …), or its token
    alone.

    Raises ModelError for a template that takes too long.
    """
    form, mark = _chat_form(processor), str(mark_of(processor, shown))
    if DEFAULT not in form.templates:
        return mark
    words = {"type": "text", "text": _TEXT_MARK}
    messages = [{"role": "user", "content": [*parts, words]} for parts in ([], _parts(shown)[:1])]
    plain, full = _render(form, processor, messages, [Call([0]), Call([1])])
    before, written = ((each.text or "").partition(_TEXT_MARK)[0] for each in (plain, full))
    around = written.removeprefix(before) if written.startswith(before) else ""
    return around if around.count(mark) == 1 else mark


def _chat_form(processor: Any) -> ChatFormat:
    form = loaded_format(processor, type(processor).__name__)
    return form if DEFAULT in form.templates else loaded_format(processor.tokenizer, type(processor).__name__)


def _render(form: ChatFormat, processor: Any, messages: Sequence[object], calls: Sequence[Call]) -> Sequence[Rendering]:
    variables = {**processor.tokenizer.special_tokens_map, "tools": None, "documents": None}
    variables = {name: value for name, value in variables.items() if value is None or isinstance(value, str)}
    try:
        with Sandbox() as sandbox:
            return sandbox.render(form.templates[DEFAULT].source, messages, variables, calls)
    except StoppedError as error:
        raise ModelError(
            f"the chat template, which places the picture, {'takes too long' if error.slow else 'failed'}",
            hint=f"write {processor.image_token} in the text where the picture belongs",
        ) from error
