"""Circuits by the whole matrices, vocabulary × vocabulary, on tiny models whose parts are known by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch

import attncli
from attncli.attention.effects.circuits import measure_circuits
from attncli.attention.selection import HeadsRequest, parse_selection
from attncli.models.loading.loaded_model import wrap_model
from attncli.render.heads.tables import heads_arrays
from attncli.render.html.heads import heads_data
from attncli.results.circuits import Circuits
from tests.attention.effects.predicting import PREDICTING, build
from tests.cli.conftest import attn

Matrix = npt.NDArray[np.float64]
HEADS = 4


class Parts(NamedTuple):
    """Of a head: query, key, value (width, d) and output (d, width), with norms; and embedding, unembedding."""

    heads: list[list[tuple[Matrix, Matrix, Matrix, Matrix]]]
    embedding: Matrix
    unembedding: Matrix | None


def circuits_of(family: str, **selection: Any) -> tuple[Circuits, Any]:
    module = build(PREDICTING[family][0]())
    request = HeadsRequest(parse_selection(**selection), metrics=())
    return measure_circuits(wrap_model(module, family), request)[0], module


def array(tensor: torch.Tensor) -> Matrix:
    return tensor.detach().double().numpy()


def centring(width: int) -> Matrix:
    return np.eye(width) - 1 / width


def columns(matrix: Matrix, head: int, size: int) -> Matrix:
    return matrix[:, head * size : (head + 1) * size]


def gpt2_parts(model: Any) -> Parts:
    layers = []
    for block in model.transformer.h:
        read = centring(32) @ np.diag(array(block.ln_1.weight))
        qkv, out = array(block.attn.c_attn.weight), array(block.attn.c_proj.weight) @ centring(32)
        q, k, v = (read @ qkv[:, start : start + 32] for start in (0, 32, 64))
        layers.append([(columns(q, h, 8), columns(k, h, 8), columns(v, h, 8), out[h * 8 : h * 8 + 8])
                       for h in range(HEADS)])  # fmt: skip
    way_out = centring(32) @ np.diag(array(model.transformer.ln_f.weight))
    return Parts(layers, array(model.transformer.wte.weight), way_out @ array(model.lm_head.weight).T)


def llama_parts(model: Any, plus: float = 0, *, post: bool = False) -> Parts:
    layers = []
    for block in model.model.layers:
        attn, read = block.self_attn, np.diag(plus + array(block.input_layernorm.weight))
        after = np.diag(plus + array(block.post_attention_layernorm.weight)) if post else np.eye(32)
        q, k, v = (read @ array(part.weight).T for part in (attn.q_proj, attn.k_proj, attn.v_proj))
        out = array(attn.o_proj.weight).T @ after
        layers.append([(columns(q, h, 8), columns(k, h // 2, 8), columns(v, h // 2, 8), out[h * 8 : h * 8 + 8])
                       for h in range(HEADS)])  # fmt: skip
    way_out = np.diag(plus + array(model.model.norm.weight))
    return Parts(layers, array(model.model.embed_tokens.weight), way_out @ array(model.lm_head.weight).T)


def bert_parts(model: Any) -> Parts:
    layers = []
    for block in model.bert.encoder.layer:
        attn = block.attention.self
        q, k, v = (array(part.weight).T for part in (attn.query, attn.key, attn.value))
        out = array(block.attention.output.dense.weight).T
        layers.append([(columns(q, h, 8), columns(k, h, 8), columns(v, h, 8), out[h * 8 : h * 8 + 8])
                       for h in range(HEADS)])  # fmt: skip
    tables = model.bert.embeddings
    into = centring(32) @ np.diag(array(tables.LayerNorm.weight))
    return Parts(layers, array(tables.word_embeddings.weight) @ into, None)


PARTS: dict[str, Callable[[Any], Parts]] = {
    "gpt2": gpt2_parts,
    "llama": llama_parts,
    "gemma2": lambda model: llama_parts(model, 1, post=True),
    "bert": bert_parts,
}


def share(matrix: Matrix) -> float:
    """Σ Re λ / Σ |λ| of a matrix, without the mean of each row over its columns: those of the vocabulary."""
    values = np.linalg.eigvals(matrix - matrix.mean(1, keepdims=True))
    return float(values.real.sum() / np.abs(values).sum())


@pytest.mark.parametrize("family", PARTS)
def test_one_head(family: str) -> None:
    circuits, model = circuits_of(family)
    parts = PARTS[family](model)
    found = {head.name: head for head in circuits.heads}
    assert [*found] == [f"{layer}.{head}" for layer in range(3) for head in range(HEADS)]
    for layer, heads in enumerate(parts.heads):
        for head, (q, k, v, out) in enumerate(heads):
            one = found[f"{layer}.{head}"]
            matching = share(parts.embedding @ q @ k.T @ parts.embedding.T)
            assert one.matching == pytest.approx(matching, abs=1e-4)
            if parts.unembedding is None:
                assert one.copying is None
            else:
                copying = share(parts.embedding @ v @ out @ parts.unembedding)
                assert one.copying == pytest.approx(copying, abs=1e-4)


@pytest.mark.parametrize("family", PARTS)
def test_two_heads(family: str) -> None:
    circuits, model = circuits_of(family)
    heads = PARTS[family](model).heads

    def ov(name: str) -> Matrix:
        layer, head = map(int, name.split("."))
        return heads[layer][head][2] @ heads[layer][head][3]

    def qk(name: str) -> Matrix:
        layer, head = map(int, name.split("."))
        return heads[layer][head][0] @ heads[layer][head][1].T

    assert {each.kind for each in circuits.compositions} == {"query", "key", "value"}
    assert len(circuits.compositions) == 3 * 3 * HEADS * HEADS
    for each in circuits.compositions:
        first = ov(each.earlier)
        second = {"query": qk, "key": lambda name: qk(name).T, "value": ov}[each.kind](each.later)
        norms = np.linalg.norm(first) * np.linalg.norm(second)
        assert each.score == pytest.approx(np.linalg.norm(first @ second) / norms, abs=1e-4)
        assert int(each.earlier[0]) < int(each.later[0])


def test_chance_is_that_of_random_matrices() -> None:
    circuits, _ = circuits_of("llama")
    random = np.random.default_rng(0)

    def low_rank() -> Matrix:
        return random.normal(size=(32, 8)) @ random.normal(size=(8, 32))

    pairs = [(low_rank(), low_rank()) for _ in range(200)]
    mean = np.mean([np.linalg.norm(a @ b) / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs])
    assert {each.chance for each in circuits.compositions} == {circuits.compositions[0].chance}
    assert circuits.compositions[0].chance == pytest.approx(mean, rel=0.1)


def test_the_strongest_come_first() -> None:
    circuits, _ = circuits_of("gpt2")
    scores = [each.score for each in circuits.compositions if each.kind == "key"]
    assert scores == sorted(scores, reverse=True)


def test_chosen_heads_and_what_they_compose_with() -> None:
    circuits, _ = circuits_of("llama", head="1.2")
    assert [head.name for head in circuits.heads] == ["1.2"]
    assert all("1.2" in (each.earlier, each.later) for each in circuits.compositions)
    assert len(circuits.compositions) == 3 * 2 * HEADS


def test_an_encoder_copies_nothing_and_cross_attention_reads_it() -> None:
    circuits, _ = circuits_of("t5")
    by_stack = {head.stack: head for head in circuits.heads}
    assert by_stack["encoder"].copying is None and by_stack["encoder"].matching is not None
    assert by_stack["cross"].copying is not None and by_stack["decoder"].copying is not None
    pairs = {(each.kind, each.earlier.split(".")[0], each.later.split(".")[0]) for each in circuits.compositions}
    assert ("key", "encoder", "cross") in pairs and ("query", "decoder", "cross") in pairs
    assert ("query", "encoder", "cross") not in pairs and ("key", "decoder", "cross") not in pairs


def test_low_rank_keys_are_one_matrix_of_the_stream() -> None:
    circuits, _ = circuits_of("latent")
    assert all(head.copying is not None and head.matching is not None for head in circuits.heads)


def test_the_induction_circuit_of_the_builtin_model() -> None:
    result = attncli.heads(model="builtin:induction", qk_ov=True)
    circuits = result.qk_ov
    assert circuits is not None
    copying = {head.name: head.copying or 0 for head in circuits.heads}
    assert all(copying[f"1.{head}"] > 0.9 and abs(copying["0.0"]) < 0.2 for head in range(4))
    by_keys = [each for each in circuits.compositions if each.kind == "key"][:4]
    assert {each.earlier for each in by_keys} == {"0.0"}
    assert {each.later for each in by_keys} == {f"1.{head}" for head in range(4)}
    assert all(each.score > 2 * each.chance for each in by_keys)


def test_weights_alone_as_arrays_a_page_and_a_figure(tmp_path: Path) -> None:
    result = attncli.heads(model="builtin:induction", qk_ov=True)
    assert result.qk_ov is not None
    arrays = dict(heads_arrays(result))
    assert {name: array.shape for name, array in arrays.items()} == {
        "decoder.qk_ov.copying": (2, 4), "decoder.qk_ov.matching": (2, 4),
    }  # fmt: skip
    for head in result.qk_ov.heads:
        assert arrays["decoder.qk_ov.copying"][head.layer, head.head] == head.copying
        assert arrays["decoder.qk_ov.matching"][head.layer, head.head] == head.matching
    page = heads_data(result)
    assert (page["metric"], [metric["name"] for metric in page["metrics"]]) == ("copying", ["copying", "matching"])
    first, copying = page["stacks"][0]["heads"][4], result.qk_ov.heads[4].copying
    assert first[:2] == [1, 0] and first[2][0] == pytest.approx(copying, abs=1e-5)
    tables = {table["title"]: table["rows"] for table in page["tables"]}
    assert tables["by keys"][0][0] == "0.0→1.3" and tables["match (QK)"][0] == ["0.3", "0.99"]
    saved, wanted = tmp_path / "saved.json", [tmp_path / name for name in ("x.npz", "x.html")]
    done = attn(
        "heads", "--qk-ov", "-m", "builtin:induction", *(x for path in (saved, *wanted) for x in ("-o", str(path)))
    )
    assert done.code == 0, done.err
    for path in wanted:
        again = path.with_stem("again")
        assert attn("heads", "--result", str(saved), "-o", str(again)).code == 0
        assert again.read_bytes() == path.read_bytes()


def test_a_figure_of_weights_alone_has_both_maps_and_the_compositions() -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra figures)")
    from attncli.render.figures.heads import heads_figure

    drawn = heads_figure(attncli.heads(model="builtin:induction", qk_ov=True), "svg").decode()
    for said in ("copying: from −1 to 1", "matching: from −1 to 1", ">by keys<", ">0.0→1.3<", "chance 0.09"):
        assert said in drawn
    width, height = (float(drawn.split(f'{side}="')[1].split("pt")[0]) for side in ("width", "height"))
    assert width / height == pytest.approx(16 / 9, abs=0.01)
