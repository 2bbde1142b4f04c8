"""What wrote a score: each part of either side against runs that lack it, and pairs against products by hand."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

import attncli
from attncli.attention import score_sources as sources_of
from attncli.attention.score_sources import _without_the_least
from attncli.models.loading.loaded_model import wrap_model
from attncli.render.data import json_text
from attncli.results.heads import HeadsResult
from attncli.results.steps import ScoreSources, Steps
from tests import tiny
from tests.attention import own_modules
from tests.attention.effects.predicting import PREDICTING, build
from tests.attention.effects.replay import Family, naive_shares
from tests.attention.test_families import tiny_model

IDS, QUERY, HEAD, LAYER = [5, 17, 33, 8, 33, 8, 60], 5, 1, 2
#: The position from which a decoder with an encoder beside it looks: it has one token.
FIRST = 0

#: Query and key norms; another than those of `PREDICTING`.
_QWEN3 = (tiny.config_of("Qwen3", **tiny.GROUPED, head_dim=8), Family(r"self_attn\.o_proj", r"mlp"))
KINDS = {
    **{name: PREDICTING[name] for name in PREDICTING if name not in ("gptj", "bloom", "falcon", "mpt")},
    "qwen3": _QWEN3,
}
CASES = [
    (name, stack)
    for name in KINDS
    for stack in (("encoder", "decoder", "cross") if name in ("t5", "bart") else (None,))
]


@cache
def model_of(name: str) -> transformers.PreTrainedModel:
    return build(KINDS[name][0]())


def walk(model: nn.Module, **options: Any) -> tuple[Steps, HeadsResult]:
    """The steps of one head, and the result that holds them."""
    result = attncli.heads(input_ids=IDS, model=model, steps=True, head=options.pop("head", HEAD), **options)
    assert result.steps is not None
    return result.steps[0], result


def sources(model: nn.Module, **options: Any) -> ScoreSources:
    found = walk(model, **options)[0].sources
    assert found is not None
    return found


def own_names(parts: Any) -> dict[str, float]:
    """The contributions by name, without the stack's name before that of a head."""
    return {part.name.removeprefix("encoder.").removeprefix("decoder."): part.contribution for part in parts}


class Recorder:
    """Keeps the queries and keys of every call of a module's own attention function."""

    def __init__(self, eager: Callable[..., Any]) -> None:
        self._eager, self.states = eager, dict[int, tuple[Tensor, Tensor]]()

    def __call__(self, module: nn.Module, query: Tensor, key: Tensor, *args: Any, **kwargs: Any) -> Any:
        self.states[id(module)] = query, key
        return self._eager(module, query, key, *args, **kwargs)


@pytest.mark.parametrize(("name", "stack"), CASES)
def test_a_part_gives_what_the_score_lacks_without_it(
    name: str, stack: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, (_, family) = model_of(name), KINDS[name]
    layer = 1 if name == "hybrid" else LAYER
    query = FIRST if stack in ("decoder", "cross") else QUERY
    steps, _ = walk(model, layer=layer, query=query, stack=stack)
    found = steps.sources
    assert found is not None
    exact = copy.deepcopy(model).double()
    exact.set_attn_implementation("eager")
    exact.set_experts_implementation("eager")
    module = target_module(exact, steps, stack)
    code = sys.modules[type(module).__module__]
    recorder = Recorder(code.eager_attention_forward)
    monkeypatch.setattr(code, "eager_attention_forward", recorder)
    arguments = {"input_ids": torch.tensor([IDS])}
    if model.config.is_encoder_decoder:
        arguments["decoder_input_ids"] = torch.tensor([[wrap_model(model).decoder_start]])
    paths = [each.path for each in wrap_model(exact).lists]
    for side in ("query", "key"):

        def score(_: Tensor, side: str = side) -> Tensor:
            queries, keys = recorder.states[id(module)]
            row, column = queries[:, HEAD, query], keys[:, HEAD * keys.shape[1] // queries.shape[1], found.key.index]
            return steps.scale * (row @ column[0] if side == "query" else column @ row[0])

        # The encoder's list comes first.
        encoder = stack == "encoder" or (stack == "cross" and side == "key")
        value, expected = naive_shares(
            exact, family, arguments, score, heads=4, stack=paths[0] if encoder else paths[-1]
        )
        shares = own_names(found.query_parts if side == "query" else found.key_parts)
        tolerance = 1e-4 * max(1, abs(value))
        assert found.score == pytest.approx(value, abs=tolerance)
        assert {part for part, share in expected.items() if abs(share) > 1e-9} <= shares.keys()
        for part, share in expected.items():
            assert shares.get(part, 0.0) == pytest.approx(share, abs=tolerance), (side, part)
        # What the replay leaves as it is: the bias of the projection itself.
        assert shares.keys() - expected.keys() <= {f"{side}.{layer}.bias"}
        assert sum(shares.values()) == pytest.approx(value, abs=tolerance)
    assert abs(found.unexplained) <= 1e-4 * max(1, abs(found.score))


def target_module(model: nn.Module, steps: Steps, stack: str | None) -> nn.Module:
    """The module that attends in the layer and the stack of the steps, in another copy of the model."""
    loaded = wrap_model(model)
    seen: list[str] = []
    loaded.run_attention(
        {"input_ids": torch.tensor([IDS]), **({"decoder_input_ids": torch.tensor([[0]])} if stack else {})},
        lambda path, _: seen.append(path),
    )
    for path in seen:
        site = loaded.site_of(path)
        word = "cross" if site.cross else site.block_list.word if site.block_list else None
        if site.block == steps.layer and word == (stack or word):
            return model.get_submodule(path)
    raise AssertionError("no such attention module")


# --- By hand


def centred(norm: nn.LayerNorm, states: Tensor) -> Callable[[Tensor], Tensor]:
    """A LayerNorm of one state with the 1/σ that it has there, before its bias."""
    sigma = (states.var(unbiased=False) + norm.eps).sqrt()
    return lambda part: (part - part.mean()) / sigma * norm.weight


def recorded(model: nn.Module, *paths: str) -> dict[str, tuple[Tensor, Tensor]]:
    """What modules took and gave in a run: (tokens, width) each."""
    found: dict[str, tuple[Tensor, Tensor]] = {}

    def hook(path: str) -> Any:
        def keep(_: nn.Module, given: Any, output: Any) -> None:
            first = output if isinstance(output, Tensor) else output[0]
            found[path] = given[0].reshape(-1, given[0].shape[-1]), first.reshape(-1, first.shape[-1])

        return keep

    handles = [model.get_submodule(path).register_forward_hook(hook(path)) for path in paths]
    with torch.no_grad():
        model(torch.tensor([IDS]))
    for handle in handles:
        handle.remove()
    return found


def heads_of(z: Tensor, matrix: Tensor, layer: int) -> dict[str, Tensor]:
    """What each of four heads writes at a position. z: (width,).  matrix: (width, d_model)."""
    size = len(z) // 4
    return {
        f"{layer}.{head}": z[head * size : (head + 1) * size] @ matrix[head * size : (head + 1) * size]
        for head in range(4)
    }


def expect(found: ScoreSources, scale: float, queries: dict[str, Tensor], keys: dict[str, Tensor]) -> None:
    """The terms are the products of what the parts give to q and to k, by hand."""
    assert {part.name for part in found.query_parts} == queries.keys()
    assert {part.name for part in found.key_parts} == keys.keys()
    for row, one in enumerate(found.query_parts):
        for column, other in enumerate(found.key_parts):
            expected = scale * float(queries[one.name].detach() @ keys[other.name].detach())
            assert found.terms[row, column] == pytest.approx(expected, abs=1e-4), (one.name, other.name)
    assert [part.contribution for part in found.query_parts] == pytest.approx(found.terms.sum(1).tolist())
    assert [part.contribution for part in found.key_parts] == pytest.approx(found.terms.sum(0).tolist())


def test_gpt2_by_hand() -> None:
    model = model_of("gpt2")
    found = sources(model, layer=1, query=QUERY)
    seen = recorded(model, "transformer.wte", "transformer.wpe", "transformer.h.0.attn.c_proj",
                    "transformer.h.0.mlp", "transformer.h.1.ln_1")  # fmt: skip
    block, target = model.transformer.h[0], model.transformer.h[1]

    def vectors(position: int, start: int, bias: str) -> dict[str, Tensor]:
        written = {
            "embedding.token": seen["transformer.wte"][1][position],
            "embedding.position": model.transformer.wpe.weight[position],
            **heads_of(seen["transformer.h.0.attn.c_proj"][0][position], block.attn.c_proj.weight, 0),
            "attention.0.bias": block.attn.c_proj.bias,
            "mlp.0": seen["transformer.h.0.mlp"][1][position],
        }
        normed = centred(target.ln_1, seen["transformer.h.1.ln_1"][0][position])
        columns = slice(start + HEAD * 8, start + HEAD * 8 + 8)
        matrix = target.attn.c_attn.weight[:, columns]
        return {
            **{name: normed(part) @ matrix for name, part in written.items()},
            "norm.1.bias": target.ln_1.bias @ matrix,
            bias: target.attn.c_attn.bias[columns],
        }

    expect(found, 8**-0.5, vectors(QUERY, 0, "query.1.bias"), vectors(found.key.index, 32, "key.1.bias"))


def test_llama_by_hand() -> None:
    """With keys that two heads share, and rotated vectors."""
    model = model_of("llama")
    found = sources(model, layer=1, query=QUERY)
    seen = recorded(model, "model.embed_tokens", "model.layers.0.self_attn.o_proj", "model.layers.0.mlp",
                    "model.layers.1.input_layernorm")  # fmt: skip
    target = model.model.layers[1]
    frequencies = 10_000 ** (-torch.arange(4) / 4)

    def rotated(vector: Tensor, position: int) -> Tensor:
        cos, sin = (position * frequencies).cos(), (position * frequencies).sin()
        first, second = vector[:4], vector[4:]
        return torch.cat([first * cos - second * sin, second * cos + first * sin])

    def vectors(position: int, matrix: Tensor) -> dict[str, Tensor]:
        given = seen["model.layers.1.input_layernorm"][0][position]
        scale = (given.square().mean() + target.input_layernorm.variance_epsilon).rsqrt()
        written = {
            "embedding.token": seen["model.embed_tokens"][1][position],
            **heads_of(
                seen["model.layers.0.self_attn.o_proj"][0][position], model.model.layers[0].self_attn.o_proj.weight.T, 0
            ),
            "mlp.0": seen["model.layers.0.mlp"][1][position],
        }
        return {
            name: rotated(matrix @ (part * scale * target.input_layernorm.weight), position)
            for name, part in written.items()
        }

    attention = target.self_attn
    query = vectors(QUERY, attention.q_proj.weight[HEAD * 8 : HEAD * 8 + 8])
    expect(found, 8**-0.5, query, vectors(found.key.index, attention.k_proj.weight[:8]))


def test_bert_by_hand() -> None:
    """The norms stand behind each sum, so that a part goes through all later ones."""
    model = model_of("bert")
    found = sources(model, layer=1, query=QUERY)
    layer = "bert.encoder.layer.0"
    tables = {"token": "word_embeddings", "position": "position_embeddings", "segment": "token_type_embeddings"}
    norms = ["bert.embeddings.LayerNorm", f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    seen = recorded(model, *norms, f"{layer}.attention.output.dense", f"{layer}.output.dense")
    embeddings, target = model.bert.embeddings, model.bert.encoder.layer[1].attention.self
    output = model.bert.encoder.layer[0].attention.output.dense

    def vectors(position: int, linear: nn.Linear, bias: str) -> dict[str, Tensor]:
        rows = {"token": IDS[position], "position": position, "segment": 0}
        steps = [
            {f"embedding.{name}": getattr(embeddings, table).weight[rows[name]] for name, table in tables.items()},
            {
                **heads_of(seen[f"{layer}.attention.output.dense"][0][position], output.weight.T, 0),
                "attention.0.bias": output.bias,
            },
            {"mlp.0": seen[f"{layer}.output.dense"][1][position]},
        ]
        parts: dict[str, Tensor] = {}
        for path, written in zip(norms, steps, strict=True):
            module: Any = model.get_submodule(path)
            normed = centred(module, seen[path][0][position])
            parts = {name: normed(part) for name, part in {**parts, **written}.items()}
            name = "norm.embedding.bias" if "embeddings" in path else "norm.0.bias"
            parts[name] = parts.get(name, 0) + module.bias
        chosen = slice(HEAD * 8, HEAD * 8 + 8)
        return {**{name: linear.weight[chosen] @ part for name, part in parts.items()}, bias: linear.bias[chosen]}

    query = vectors(QUERY, target.query, "query.1.bias")
    expect(found, 8**-0.5, query, vectors(found.key.index, target.key, "key.1.bias"))


# --- What else there is


@pytest.mark.parametrize("kind", ["gptj", "gpt_neox", "albert", "phi", "stablelm"])
def test_other_kinds_sum_to_the_score(kind: str) -> None:
    model = build(PREDICTING["gptj"][0]()) if kind == "gptj" else tiny_model(kind).module
    found = sources(model, layer=1, query=QUERY)
    assert abs(found.unexplained) <= 1e-4 * max(1, abs(found.score))
    assert {"embedding.token", "mlp.0", "0.0", "0.3"} <= {part.name for part in found.query_parts}


def test_the_key_is_the_chosen_one_or_that_with_the_largest_weight() -> None:
    model = model_of("gemma2")
    steps, _ = walk(model, layer=LAYER, query=QUERY)
    assert steps.sources is not None and steps.sources.key.index == int(steps.weights.argmax())
    # The score is that before the cap.
    assert steps.capped is not None
    assert steps.sources.score == pytest.approx(steps.scaled[steps.sources.key.index])
    assert abs(steps.sources.score) > abs(steps.capped[steps.sources.key.index])
    chosen, _ = walk(model, layer=LAYER, query=QUERY, key=3)
    assert chosen.sources is not None and chosen.sources.key.index == 3
    assert chosen.sources.score == pytest.approx(chosen.scaled[0])
    several, _ = walk(model, layer=LAYER, query=QUERY, key="3:5")
    assert several.sources is not None
    assert several.sources.key == several.keys[int(several.weights.argmax())]


class FusedAttention(own_modules.GptAttention):
    """With torch's own function, whose queries and keys are known."""

    def forward(self, x: Tensor) -> Tensor:
        states = (each.unflatten(-1, (4, -1)).transpose(1, 2) for each in self.c_attn(x).chunk(3, -1))
        read = nn.functional.scaled_dot_product_attention(*states, is_causal=True)
        return self.c_proj(read.transpose(1, 2).flatten(2))


def test_a_module_of_ones_own_runs_twice() -> None:
    """Its first run, over a text of another length, tells which axes count tokens, and is not followed."""
    torch.manual_seed(0)
    model = own_modules.Gpt().eval()
    for block in model.transformer["h"]:
        block.mixer = FusedAttention()
    found = sources(model, layer=1, query=QUERY)
    assert abs(found.unexplained) <= 1e-4 * max(1, abs(found.score))
    assert {"embedding.token", "mlp.0", "0.0", "0.1", "query.1.bias"} <= {part.name for part in found.query_parts}


def test_each_head_of_several_has_its_own() -> None:
    result = attncli.heads(input_ids=IDS, model=model_of("llama"), steps=True, head=["0.0", "2.3"])
    assert result.steps is not None
    first, last = (each.sources for each in result.steps)
    assert first is not None and [part.name for part in first.query_parts] == ["embedding.token"]
    assert last is not None and {"0.0", "1.3", "mlp.1"} <= {part.name for part in last.key_parts}


@pytest.mark.parametrize("kind", ["gemma3n_text", "mobilebert"])
def test_a_way_that_is_unknown_gives_no_split_but_a_note(kind: str) -> None:
    """Keys of another layer; queries and keys made outside of the attention module."""
    steps, result = walk(tiny_model(kind).module, layer=-1, query=QUERY)
    assert steps.sources is None
    (note,) = [note for note in result.notes if "what wrote the score" in note]
    assert note.startswith(f"what wrote the score of head {steps.name} can't be told: q or k comes from")
    assert json.loads(json_text(result))["steps"][0]["sources"] is None


def test_a_part_that_is_lost_gives_no_split(monkeypatch: pytest.MonkeyPatch) -> None:
    follow = sources_of.follow_score

    def without_one(*given: Any) -> Any:
        written = follow(*given)
        assert written is not None
        return written._replace(query={part: vector for part, vector in written.query.items() if part != "mlp.1"})

    monkeypatch.setattr(sources_of, "follow_score", without_one)
    assert walk(model_of("llama"), layer=LAYER, query=QUERY)[0].sources is None


def test_a_long_text_and_a_short_one_give_the_same() -> None:
    """Only two positions are followed, whichever they are; a text of one token has no others."""
    model = model_of("llama")
    whole = sources(model, layer=LAYER, query=2, key=1)
    cut = attncli.heads(input_ids=IDS[:3], model=model, steps=True, head=HEAD, layer=LAYER, query=2, key=1).steps
    assert cut is not None and cut[0].sources is not None
    np.testing.assert_allclose(cut[0].sources.terms, whole.terms, atol=1e-5)
    single = attncli.heads(input_ids=IDS[:1], model=model, steps=True, head=HEAD, layer=LAYER).steps
    assert single is not None and single[0].sources is not None
    assert abs(single[0].sources.unexplained) < 1e-4


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-5), (torch.float16, 0.02), (torch.bfloat16, 0.1)])
def test_other_precisions(dtype: torch.dtype, tolerance: float) -> None:
    """The norms of OLMo 2 compute in float32 in each of them."""
    whole = sources(model_of("olmo2"), layer=LAYER, query=QUERY)
    other = sources(copy.deepcopy(model_of("olmo2")).to(dtype), layer=LAYER, query=QUERY)
    np.testing.assert_allclose(other.terms, whole.terms, atol=tolerance)


def test_gradients_in_several_turns_are_those_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("bert")
    whole = sources(model, layer=LAYER, query=QUERY)
    monkeypatch.setattr("attncli.models.capture.score_path._MAX_GRADIENTS", 1)
    np.testing.assert_allclose(sources(model, layer=LAYER, query=QUERY).terms, whole.terms, atol=1e-5)


def test_of_very_many_parts_the_least_are_added_up() -> None:
    terms = torch.arange(1200.0).reshape(600, 2).double()
    kept, names = _without_the_least(terms, [f"part {row}" for row in range(600)])
    assert len(kept) == len(names) == 512
    assert names[:2] == ["part 89", "part 90"] and names[-1] == "others"
    torch.testing.assert_close(kept[-1], terms[:89].sum(0))
    torch.testing.assert_close(kept.sum(0), terms.sum(0))


def test_sources_survive_a_round_trip() -> None:
    _, result = walk(model_of("bart"), layer=1, stack="cross")
    again = HeadsResult.from_dict(json.loads(json_text(result)))
    assert json_text(again) == json_text(result)
    assert again.steps is not None and again.steps[0].sources is not None
    found = again.steps[0].sources.to_dict()
    with pytest.raises(ValueError, match="not one for each pair of its parts"):
        ScoreSources.from_dict({**found, "terms": found["terms"][1:]})
