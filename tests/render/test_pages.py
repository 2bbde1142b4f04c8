"""Pages without a browser: what they hold, how exactly, how large they are, and what they allow."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from html import unescape
from importlib.resources import files

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncli.render.common.terminal import Terminal
from attncli.render.html.compare import compare_html
from attncli.render.html.heads import heads_html
from attncli.render.html.page import Packed, notebook, pack, pack_finely, page
from attncli.render.html.params import params_data, params_html
from attncli.render.html.tokenize import PageForm
from attncli.render.stream import tokenize_html
from attncli.render.tokenize.text import RecordText
from attncli.results.base import MadeBy
from attncli.results.heads import Layer
from attncli.results.tokenize import Record
from attncli.results.vocabulary import Finding
from tests.cli.samples import tokenize_result, tokenized
from tests.render import compare_samples, params_samples
from tests.render.heads_samples import even, head, on_offset, pattern, result, stack, tokens
from tests.render.patch_samples import GRID, PICTURE, looking, positions, words

MADE_BY = MadeBy("0.1.0")
PAGES = {
    "heads": heads_html(result(stack(pattern("0.0", on_offset(1))))),
    "patches": heads_html(looking()),
    "compare": compare_html(compare_samples.compare_result()),
    "params": params_html(params_samples.result()),
    "tokens": tokenize_html(tokenize_result()),
}


def data_of(document: str) -> dict[str, object]:
    (block,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', document, re.DOTALL)
    return json.loads(block)  # type: ignore[no-any-return]


def unpacked(content: str) -> bytes:
    return zlib.decompress(base64.b64decode(content))


def test_models_of_one_name_are_numbered() -> None:
    models = params_data(params_samples.compared(3))["models"]
    assert isinstance(models, list)
    assert [model["name"] for model in models] == ["org/small", "./tiny (2)", "./tiny (3)"]


@pytest.mark.parametrize("kind", PAGES)
def test_a_page_allows_its_own_script_and_style_and_nothing_else(kind: str) -> None:
    document = PAGES[kind]
    policy = unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', document)[1])  # type: ignore[index]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", document, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not re.search(r'\b(src|href)\s*=\s*["\']|@import|url\(', document)


@pytest.mark.parametrize("kind", PAGES)
def test_a_page_is_the_same_every_time_and_small(kind: str) -> None:
    limits = {"heads": 53_000, "patches": 63_000, "compare": 32_000, "params": 24_000, "tokens": 16_000}
    assert len(PAGES[kind].encode()) < limits[kind]
    again = {
        "heads": lambda: heads_html(result(stack(pattern("0.0", on_offset(1))))),
        "patches": lambda: heads_html(looking()),
        "compare": lambda: compare_html(compare_samples.compare_result()),
        "params": lambda: params_html(params_samples.result()),
        "tokens": lambda: tokenize_html(tokenize_result()),
    }
    assert again[kind]() == PAGES[kind]


@given(st.text())
def test_any_text_survives_in_a_page_and_stays_within_its_block(text: str) -> None:
    document = page("heads", {"text": text}, title=text, made_by=MADE_BY)
    assert data_of(document)["text"] == text
    assert document.count("<script") == document.count("</script>") == 2
    assert document.count("</title>") == 1


def numbers_of(packed: Packed) -> npt.NDArray[np.int64]:
    """The numbers of twelve bits, as the page's script joins them."""
    content, size = unpacked(packed.content), len(packed.scales) * packed.rows * packed.columns
    low = [content[size + (at >> 1)] >> 4 * (at & 1) & 15 for at in range(size)]
    numbers = np.frombuffer(content, dtype=np.uint8, count=size).astype(np.int64) * 16 + low
    return numbers.reshape(-1, packed.rows, packed.columns)


def test_weights_are_exact_to_one_and_a_half_steps() -> None:
    weights = np.random.default_rng(0).dirichlet(np.full(41, 0.1), size=(3, 41)).astype(np.float32)
    weights[2] *= 0.01
    packed = pack(weights)
    values = numbers_of(packed) / 4095 * np.array(packed.scales)[:, None, None]
    assert (np.abs(values - weights) <= np.array(packed.scales)[:, None, None] / 2730 * (1 + 1e-5)).all()
    assert packed.scales == pytest.approx([float(each.max()) for each in weights], rel=1e-6)


@pytest.mark.parametrize(("lowest", "highest"), [(0.0, 1.0), (0.0, 2.0), (-1.0, 1.0)])
def test_weights_are_written_with_their_own_digits(lowest: float, highest: float) -> None:
    # 0.75501 is 0.755 and 0.76; a byte of the scale would make it 0.753 and 0.75.
    weights = np.random.default_rng(1).uniform(lowest, highest, size=(1, 90, 90)).astype(np.float32)
    weights[0, 0, :3] = 0.75501, lowest, highest
    packed = pack(weights)
    zero, steps = (2048, 2047) if packed.signed else (0, 4095)
    values = (numbers_of(packed) - zero) / steps * packed.scales[0]
    for digits in (2, 3):
        written = [[f"{value:z.{digits}f}" for value in part.ravel().tolist()] for part in (values, weights)]
        assert written[0] == written[1]


def test_differences_keep_their_sign_and_zero() -> None:
    packed = pack(np.array([[[0.5, -0.25], [0.0, np.nan]]]))
    assert packed.signed
    assert numbers_of(packed).tolist() == [[[4095, 1024], [2048, 2048]]]


def test_nothing_but_zeros_can_be_packed() -> None:
    packed = pack(np.zeros((1, 2, 2)))
    assert (packed.scales, unpacked(packed.content)) == ([0.0], bytes(6))


def test_similarities_take_two_bytes() -> None:
    packed = pack_finely(np.array([[1.0, -0.5], [0.25, 0.0]]))
    numbers = np.frombuffer(unpacked(str(packed["content"])), dtype="<i2")
    assert numbers.tolist() == [32767, -16384, 8192, 0]


def test_a_page_holds_the_picture_and_where_its_patches_are() -> None:
    data = data_of(heads_html(looking(caption=words("a", "mole"))))
    picture, (stack,) = data["picture"], data["stacks"]  # type: ignore[misc]
    assert (picture["height"], picture["width"]) == PICTURE.pixels.shape[:2]  # type: ignore[index]
    assert unpacked(picture["content"]) == PICTURE.pixels.tobytes()  # type: ignore[index]
    assert stack["patches"] == {"keys": GRID.to_dict(), "queries": None}  # type: ignore[index]
    assert stack["columns"]["texts"] == [token.text for token in positions()]  # type: ignore[index]
    assert stack["meanings"]["next"] == "weight on the patch to the right"  # type: ignore[index]
    assert ("class PatchMap" in PAGES["heads"], "class PatchMap" in PAGES["patches"]) == (False, True)


@pytest.mark.parametrize(
    ("layers", "heads", "size"), [(12, 12, 6), (12, 12, 64), (12, 12, 2), (32, 32, 16), (2, 4, 300)]
)
def test_a_page_takes_less_than_two_bytes_a_weight_and_64_kilobytes(layers: int, heads: int, size: int) -> None:
    names = [f"{layer}.{index}" for layer in range(layers) for index in range(heads)]
    random = np.random.default_rng(1)
    words = tokens(*(f"token{index}" for index in range(size)))
    weights = random.dirichlet(np.ones(size), size=size).astype(np.float32)
    made = stack(
        *(pattern(name, random.permutation(weights)) for name in names),
        heads=tuple(
            head(name, "previous", previous=float(random.random()), entropy=float(random.random())) for name in names
        ),
        layers=tuple(Layer(layer, heads) for layer in range(layers)),
        queries=words,
        keys=words,
    )
    assert len(heads_html(result(made)).encode()) < 2 * layers * heads * size**2 + 64_000


def test_a_page_of_bins_names_them_and_not_every_token() -> None:
    from attncli.results.patterns import Bins, Pattern

    words = tokens(*(f"t{index}" for index in range(5000)))
    spans = tuple((start, start + 1000) for start in range(0, 5000, 1000))
    pooled = Pattern(0, 0, even(5), Bins(spans, spans))
    document = heads_html(result(stack(pooled, queries=words, keys=words)))
    (shown,) = data_of(document)["stacks"]  # type: ignore[misc]
    assert shown["rows"]["texts"][:2] == ["t0 … t999", "t1000 … t1999"]
    assert shown["rows"]["places"][1] == [1000, 2000]
    assert "25,000,000" not in document
    assert "5,000 × 5,000 weights in 5 × 5 cells: rows averaged, columns summed" in shown["pooling"]


def test_a_frame_holds_the_page_and_may_do_nothing_but_run_its_script() -> None:
    frame = notebook(PAGES["heads"])
    assert frame.startswith('<iframe title="attncli" sandbox="allow-scripts"')
    inner = re.search(r'srcdoc="([^"]*)"', frame)
    assert inner is not None
    assert unescape(inner[1]) == PAGES["heads"]


def test_a_page_of_very_many_tokens_says_how_many_it_leaves_out() -> None:
    text = tokenized()._replace(tokens=tokens(*["x"] * 15_000))
    form = PageForm(RecordText(Terminal(100)))
    for number in range(3):
        assert form.record(Record(number, (text,))) == ""
    data = data_of("".join(map(str, form.end(tokenize_result()))))
    assert [len(each["tokens"]) for each in data["texts"]] == [15_000, 5_000]  # type: ignore[attr-defined]
    assert data["notes"] == ["25,000 more tokens are left out; -o FILE.json holds them all"]


def test_what_explains_tokens_stands_beneath_them() -> None:
    finding = Finding("trailing_space", "warning", "the text ends in a space", "leave it out", 0, 1)
    data = data_of(tokenize_html(tokenize_result(tokenized()._replace(findings=(finding,)))))
    assert "the text ends in a space" in str(data["said"])


def test_no_script_writes_markup_or_runs_text() -> None:
    scripts = [path.read_text("utf-8") for path in (files("attncli.render.html") / "assets").iterdir()]
    assert len(scripts) > 10
    assert not [
        s for s in scripts if re.search(r"innerHTML|outerHTML|insertAdjacentHTML|\.write\(|\beval\b|Function\(", s)
    ]
