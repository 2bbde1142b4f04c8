"""What a model writes of a sound, with the times of its words, and sounds longer than the model's window."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import attncli
from attncli.errors import UsageError
from attncli.results.heads import HeadsResult
from tests import senses, tiny
from tests.cli.conftest import attn
from tests.tokens.vocabularies import byte_bpe

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("soxr")

HEADS = [[1, 0], [1, 3], [0, 2]]
RATE = 16_000
#: The tokens that the decoder begins with, beside its start: a language, a task, and the one against timestamps.
TOLD = {"lang_to_id": {"<|en|>": 5}, "task_to_id": {"transcribe": 6}, "no_timestamps_token_id": 7,
        "is_multilingual": True, "language": "en", "task": "transcribe"}  # fmt: skip


def save(folder: Path, name: str) -> str:
    """A tiny Whisper that writes words with spaces. `told`: with forced first tokens; `plain`: without alignment heads;
    else a family of transformers."""
    torch.manual_seed(5)
    if name == "moonshine":
        sides = {f"{side}_{field}": 2 for side in ("encoder", "decoder") for field in ("num_hidden_layers",)}
        config: Any = transformers.MoonshineConfig(
            vocab_size=330, hidden_size=32, intermediate_size=48, encoder_num_attention_heads=4,
            decoder_num_attention_heads=4, decoder_start_token_id=2, **sides,
        )  # fmt: skip
        model: Any = transformers.MoonshineForConditionalGeneration(config)
        settings = senses.RAW
    else:
        config = transformers.WhisperConfig(**{**senses.SPEECH, "vocab_size": 330, "max_target_positions": 40})
        model, settings = transformers.WhisperForConditionalGeneration(config), senses.EARS
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if "norm" not in path and parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape) * (2.5 / parameter[0].numel() ** 0.5))
    model.save_pretrained(folder)
    fields = {"decoder_start_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    fields |= {} if name in ("plain", "moonshine") else {"alignment_heads": HEADS}
    fields |= TOLD if name == "told" else {}
    (folder / "generation_config.json").write_text(json.dumps(fields))
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    byte_bpe().save(str(folder / "tokenizer.json"))
    return str(folder)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tiny.Folders:
    return tiny.Folders(tmp_path_factory.mktemp("heard"), save)


def noise(seconds: float) -> np.ndarray:
    return (np.random.default_rng(1).standard_normal(int(seconds * RATE)) * 0.3).astype(np.float32)


@pytest.fixture
def sound(tmp_path: Path) -> str:
    path = tmp_path / "short.wav"
    soundfile.write(path, noise(0.8), RATE, subtype="FLOAT")
    return str(path)


@pytest.fixture
def long_sound(tmp_path: Path) -> str:
    path = tmp_path / "long.wav"
    soundfile.write(path, noise(2.6), RATE, subtype="FLOAT")
    return str(path)


def told_by_transformers(folder: str, samples: np.ndarray, count: int) -> tuple[list[int], list[float]]:
    """The new ids and their times, by transformers' own `generate`."""
    model = transformers.WhisperForConditionalGeneration.from_pretrained(folder, attn_implementation="eager").eval()
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(folder)
    heard = extractor(samples, sampling_rate=RATE, return_tensors="pt", return_attention_mask=True)
    given = {"do_sample": False, "num_beams": 1, "max_new_tokens": count, "return_token_timestamps": True}
    output = model.generate(
        heard.input_features, attention_mask=heard.attention_mask, return_dict_in_generate=True, **given
    )
    ids = output["sequences"][0].tolist()
    times = output["token_timestamps"][0].tolist()
    # It leaves out the tokens that the decoder began with in some of its answers.
    first = len(ids) - len(output["segments"][0][0]["tokens"]) if "segments" in output else len(ids) - count
    return ids[first:], times[first:]


def seen(result: HeadsResult) -> tuple[list[int], list[float | None]]:
    assert result.generated is not None
    return list(result.generated.ids), [token.start for token in result.generated.tokens]


@pytest.mark.parametrize("name", ["whisper", "told"])
def test_tokens_and_times_are_those_of_transformers(name: str, saved: tiny.Folders, sound: str) -> None:
    result = attncli.heads(audio=sound, model=saved[name], generate=12)
    ids, times = told_by_transformers(saved[name], noise(0.8), 12)
    assert seen(result)[0] == ids
    np.testing.assert_allclose(seen(result)[1], times, atol=1e-4)
    assert len(set(times)) > 2  # so that the comparison means something
    (decoder,) = (stack for stack in result.stacks if stack.stack == "decoder")
    assert [token.id for token in decoder.queries][: -len(ids)] == ([2, 5, 6, 7] if name == "told" else [2])


def test_words_begin_and_end_with_their_tokens(saved: tiny.Folders, sound: str) -> None:
    generated = attncli.heads(audio=sound, model=saved["whisper"], generate=12).generated
    assert generated is not None and generated.words
    starts = [token.start for token in generated.tokens]
    for word, following in zip(generated.words, [*generated.words[1:], None], strict=True):
        first, after = word.tokens
        assert word.text == "".join(token.text for token in generated.tokens[first:after]).strip()
        assert word.start == starts[first]
        assert word.end == (0.8 if after >= len(starts) - 1 else starts[after])
        assert following is None or word.end <= following.start or after >= len(starts) - 1


def test_a_long_sound_is_heard_in_windows(saved: tiny.Folders, long_sound: str) -> None:
    """Each window of one second by itself, and times in the whole sound."""
    result = attncli.heads(audio=long_sound, model=saved["whisper"], generate=6)
    assert result.sound is not None and result.generated is not None
    assert result.sound.windows == ((0.0, 1.0), (1.0, 2.0), (2.0, 2.6))
    parts = [told_by_transformers(saved["whisper"], noise(2.6)[k * RATE : (k + 1) * RATE], 6) for k in range(3)]
    assert seen(result)[0] == [each for ids, _ in parts for each in ids]
    expected = [time + window for window, (_, times) in enumerate(parts) for time in times]
    np.testing.assert_allclose(np.array(seen(result)[1], dtype=float), expected, atol=1e-4)
    assert [token.window for token in result.generated.tokens] == [0] * 6 + [1] * 6 + [2] * 6


def test_a_moment_chooses_the_window(saved: tiny.Folders, long_sound: str) -> None:
    """Its frames are named by their time in the whole sound, and its numbers are those of that second alone."""
    result = attncli.heads(audio=long_sound, model=saved["whisper"], key="1.5s", stack="encoder", patterns=True)
    (stack,) = result.stacks
    assert result.sound is not None and result.sound.shown == 1
    assert [key.text for key in stack.keys] == ["1.50s"]
    model = transformers.WhisperModel.from_pretrained(saved["whisper"], attn_implementation="eager").eval()
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(saved["whisper"])
    heard = extractor(noise(2.6)[RATE : 2 * RATE], sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        weights = model.encoder(heard.input_features, output_attentions=True).attentions
    for pattern in stack.patterns:
        expected = weights[pattern.layer][0, pattern.head or 0][:, 25:26].numpy()
        np.testing.assert_allclose(pattern.weights, expected, atol=1e-5)
    assert "window 2 of 3 is shown, 1–2 s" in "".join(result.notes)


@pytest.mark.parametrize("name", ["plain", "moonshine"])
def test_models_without_alignment_heads_say_so(name: str, saved: tiny.Folders, sound: str) -> None:
    result = attncli.heads(audio=sound, model=saved[name], generate=5)
    assert result.generated is not None and not result.generated.words
    assert "words have no times: the model's files name no alignment heads" in result.notes
    kind = transformers.AutoModelForSpeechSeq2Seq.from_pretrained(saved[name]).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(saved[name])
    heard = extractor(noise(0.8), sampling_rate=RATE, return_tensors="pt")
    ids = kind.generate(**heard, do_sample=False, num_beams=1, max_new_tokens=5)[0].tolist()
    assert list(result.generated.ids) == ids[-len(result.generated.ids) :]


def test_text_table_and_page_show_the_times(saved: tiny.Folders, sound: str, tmp_path: Path) -> None:
    page = tmp_path / "x.html"
    command = ("heads", "-m", saved["whisper"], "--audio", sound, "--generate", "12")
    found = json.loads(attn(*command, "--json", "-o", str(page)).out)["generated"]
    word = found["words"][0]
    span = f"{word['start']:.2f}–{word['end']:.2f}s"
    assert span in attn(*command).text
    assert f"({span})".replace("–", "\\u2013") in page.read_text(encoding="utf-8")
    rows = attn(*command, "--format", "csv").text.splitlines()
    assert rows[0] == "window,start,end,word"
    assert len(rows) == 1 + len(found["words"])


def test_what_is_refused(saved: tiny.Folders, sound: str, long_sound: str) -> None:
    model = saved["told"]
    for given, message in (
        ({"text": "a", "audio": sound, "generate": 2}, "--generate writes the text that is heard"),
        ({"text": "a", "audio": long_sound}, "a text is what is heard in one window, and .* has 3"),
        ({"audio": sound, "generate": 37}, "--generate 37 is too much: .* at most 40 tokens, and 4 are used"),
    ):
        with pytest.raises(UsageError, match=message):
            attncli.heads(model=model, **given)  # type: ignore[arg-type]
    whole = attncli.heads("a", audio=long_sound, model=model, truncate=True)
    assert whole.sound is None and "the model reads 1 s: the first of 2.6 s" in whole.notes
