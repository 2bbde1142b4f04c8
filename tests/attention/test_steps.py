"""The steps of one head from one query, recomputed from the JSON alone and compared with the model itself."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

import attncli
from attncli.attention.steps import _MAX_LISTED_OF_MORE, _MAX_LISTED_WHOLE
from attncli.errors import UsageError
from attncli.models.loading.loaded_model import wrap_model
from attncli.render.data import json_text
from tests import tiny
from tests.attention.test_families import tiny_model

IDS = [1, 5, 6, 7, 5, 6, 8, 9]
QUERY = 5

#: The module whose output is the sum over all heads, by family and stack.
OUTPUTS = {
    "bert": {"encoder": "encoder.layer.1.attention.output.dense"},
    "gpt2": {"decoder": "h.1.attn"},
    "llama": {"decoder": "layers.1.self_attn"},
    "gemma2": {"decoder": "layers.1.self_attn"},
    "gpt_oss": {"decoder": "layers.1.self_attn"},
    "t5": {
        "encoder": "encoder.block.1.layer.0.SelfAttention",
        "decoder": "decoder.block.1.layer.0.SelfAttention",
        "cross": "decoder.block.1.layer.1.EncDecAttention",
    },
    "bart": {
        "encoder": "encoder.layers.1.self_attn",
        "decoder": "decoder.layers.1.self_attn",
        "cross": "decoder.layers.1.encoder_attn",
    },
}
CASES = [(family, stack) for family, stacks in OUTPUTS.items() for stack in stacks]


def walks(model: nn.Module, **options: object) -> list[dict]:
    """The steps of each head, as in the JSON."""
    result = attncli.heads(input_ids=IDS, model=model, steps=True, **options)
    return json.loads(json_text(result))["steps"]


def outputs(model: transformers.PreTrainedModel, path: str) -> Tensor:
    """The output of the module at a path in a plain run of the model."""
    # Other kernels leave the softcap out in some versions.
    eager = transformers.AutoModel.from_config(model.config, attn_implementation="eager").eval()
    eager.load_state_dict(model.state_dict())
    seen = []
    handle = eager.get_submodule(path).register_forward_hook(lambda _m, _i, output: seen.append(output))
    given = {"input_ids": torch.tensor([IDS])}
    if model.config.is_encoder_decoder:
        given["decoder_input_ids"] = torch.tensor([[wrap_model(model).decoder_start]])
    with torch.no_grad():
        eager(**given)
    handle.remove()
    (first,) = seen
    return (first[0] if isinstance(first, tuple) else first)[0].double()


def recomputed(walk: dict) -> tuple[np.ndarray, np.ndarray]:
    """Weights and weighted sum from q, k, v, scale, softcap, bias, mask and sink."""
    scores = np.array(walk["key_vectors"]) @ np.array(walk["query_vector"]) * walk["scale"]
    if walk["softcap"] is not None:
        scores = walk["softcap"] * np.tanh(scores / walk["softcap"])
    if walk["bias"] is not None:
        scores = scores + np.array(walk["bias"])
    scores = np.exp(np.where(walk["visible"], scores, -np.inf))
    weights = scores / (scores.sum() + (0 if walk["sink"] is None else np.exp(walk["sink"])))
    return weights, weights @ np.array(walk["values"])


@pytest.mark.parametrize(("family", "stack"), CASES)
def test_every_step_can_be_computed_again_and_all_heads_make_the_output_of_the_module(family: str, stack: str) -> None:
    model = tiny.build(tiny.FAMILIES[family]())
    query = 0 if stack in ("decoder", "cross") and model.config.is_encoder_decoder else QUERY
    found = walks(model, layer=1, head=[0, 1, 2, 3], stack=stack, query=query)
    for walk in found:
        weights, weighted_sum = recomputed(walk)
        np.testing.assert_allclose(walk["weights"], weights, atol=1e-12)
        np.testing.assert_allclose(walk["weighted_sum"], weighted_sum, atol=1e-12)
        assert walk["passed_on"] is None
        assert walk["norms"]["output"] == pytest.approx(np.linalg.norm(walk["output"]))
    total = sum(np.array(walk["output"]) for walk in found) + np.array(found[0]["output_bias"] or 0)
    expected = outputs(model, OUTPUTS[family][stack])[query].numpy()
    np.testing.assert_allclose(total, expected, atol=1e-4)
    scale = found[0]["residual"]["scale"]
    assert found[0]["residual"]["added_by_all_heads"] == pytest.approx(np.linalg.norm(expected), rel=1e-5)
    # A norm stands between the attention of Gemma 2 and the residual stream.
    assert scale == (None if family == "gemma2" else 1)


@pytest.mark.parametrize("family", ["bert", "llama", "gemma2", "gpt_oss", "t5"])
def test_weights_are_those_that_the_model_hands_out(family: str) -> None:
    model = tiny.build(tiny.FAMILIES[family]())
    given: dict[str, object] = {"input_ids": torch.tensor([IDS])}
    if model.config.is_encoder_decoder:
        given["decoder_input_ids"] = torch.tensor([[0]])
    expected = next(iter(tiny.reference(model, given).values()))
    for walk in walks(model, layer=[0, 1, 2], head=2, query=QUERY):
        np.testing.assert_allclose(walk["weights"], expected[walk["layer"]][0, 2, QUERY], atol=1e-5)


def test_the_residual_is_what_entered_the_block_or_what_stands_before_the_cross_attention() -> None:
    gpt2, bert = (tiny.build(tiny.FAMILIES[family]()) for family in ("gpt2", "bert"))
    for model in (gpt2, bert):
        with torch.no_grad():
            states = model(torch.tensor([IDS]), output_hidden_states=True).hidden_states
        (walk,) = walks(model, head="1.2", query=QUERY)
        assert walk["residual"]["before"] == pytest.approx(float(states[1][0, QUERY].norm()), rel=1e-5)
    bart = tiny.build(tiny.bart())
    seen = []
    layer = bart.decoder.layers[1].encoder_attn
    handle = layer.register_forward_pre_hook(lambda _m, _i, named: seen.append(named), with_kwargs=True)
    (walk,) = walks(bart, head="cross.1.2")
    handle.remove()
    before = next(states for named in seen[-1:] for states in named.values() if isinstance(states, Tensor))
    assert walk["residual"]["before"] == pytest.approx(float(before[0, 0].detach().norm()), rel=1e-5)


def test_parallel_branches_factors_and_norms_in_between() -> None:
    def residual(kind: str) -> dict:
        loaded = tiny_model(kind)
        (walk,) = walks(loaded.module, head="1.1", query=QUERY)
        with torch.no_grad():
            states = loaded.module(torch.tensor([IDS]), output_hidden_states=True).hidden_states[1][0, QUERY]
        assert walk["residual"]["before"] == pytest.approx(float(states.norm()), rel=1e-4)
        return walk

    assert residual("gpt_neox")["passed_on"] is None
    # A norm over all heads stands before BitNet's output matrix.
    assert residual("bitnet")["passed_on"] is not None
    every = walks(tiny_model("bitnet").module, layer=1, head=[0, 1, 2, 3], query=QUERY)
    total = np.linalg.norm(sum(np.array(walk["output"]) for walk in every))
    assert total == pytest.approx(every[0]["residual"]["added_by_all_heads"], rel=1e-4)
    granite = tiny.build(transformers.GraniteConfig(**tiny.GROUPED, residual_multiplier=0.25))
    (walk,) = walks(granite, head="1.1")
    assert walk["residual"]["scale"] == 0.25
    assert walk["residual"]["added_by_head"] == pytest.approx(walk["norms"]["output"] / 4)
    # Its two attentions are subtracted from one another: no rows of the output matrix are one head's own.
    (walk,) = walks(tiny_model("diffllama").module, head="1.1")
    assert (walk["output"], walk["residual"]) == (None, None)


def test_what_it_says_of_positions_and_shared_keys() -> None:
    def walk(family: str) -> dict:
        (found,) = walks(tiny.build(tiny.FAMILIES[family]()), head="1.3")
        return found

    assert [walk(family)["rotated"] for family in ("llama", "gpt2", "t5")] == [True, False, False]
    llama, t5 = walk("llama"), walk("t5")
    assert (llama["key_head"], llama["sharing"], llama["scale"]) == (1, 2, pytest.approx(8**-0.5))
    assert (t5["key_head"], t5["sharing"], t5["scale"]) == (3, 1, 1)
    assert t5["bias"] is not None and t5["name"] == "encoder.1.3"
    # Between its stacks T5 adds nothing.
    (cross,) = walks(tiny.build(tiny.t5()), head="cross.1.3")
    assert cross["bias"] is None
    assert walk("gpt_oss")["sink_weight"] == pytest.approx(1 - sum(walk("gpt_oss")["weights"]))
    # The window of Mistral's three tokens.
    assert walk("mistral")["visible"] == [False] * 5 + [True] * 3
    assert walk("mistral")["scores"][:6].count(None) == 5


def projected(walk: dict, model: nn.Module, name: str = "query") -> np.ndarray:
    """x W + b from the JSON's input and the weights of the module that it names."""
    projection = walk["projections"][name]
    module = model.get_submodule(projection["module"])
    weight = module.weight if isinstance(module, nn.Linear) else module.weight.T
    start, stop = projection["columns"]
    product = np.array(walk["input"]) @ weight[start:stop].T.double().detach().numpy()
    assert projection["bias"] == (module.bias is not None)
    return (product + (module.bias[start:stop].double().detach().numpy() if projection["bias"] else 0)) * projection[
        "factor"
    ]


@pytest.mark.parametrize(("family", "normalised"), [("bert", False), ("gpt2", True), ("llama", True), ("t5", True)])
def test_q_can_be_computed_again_from_what_enters_the_layer(family: str, normalised: bool) -> None:
    model = tiny.build(tiny.FAMILIES[family]())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "bias" in name or "norm" in name.lower() or "ln_" in name:
                parameter.normal_()
    (walk,) = walks(model, layer=1, head=2, query=QUERY)
    assert (walk["input_normalised"], walk["cross"]) == (normalised, False)
    before = walk["query_before_rotation"]
    assert (before is not None) == walk["rotated"] == (family == "llama")
    np.testing.assert_allclose(projected(walk, model), before or walk["query_vector"], atol=1e-5)
    # The keys and values of the query's own token come of the same states.
    assert walk["keys"][QUERY]["index"] == QUERY
    np.testing.assert_allclose(projected(walk, model, "value"), walk["values"][QUERY], atol=1e-5)
    if before is None:
        np.testing.assert_allclose(projected(walk, model, "key"), walk["key_vectors"][QUERY], atol=1e-5)


def test_queries_that_are_scaled_or_normalised_on_the_way() -> None:
    opt = tiny_model("opt").module
    (walk,) = walks(opt, head="1.1", query=QUERY)
    assert (walk["scale"], walk["projections"]["query"]["factor"]) == (1, pytest.approx(0.25, rel=1e-4))
    np.testing.assert_allclose(projected(walk, opt), walk["query_vector"], atol=1e-4)
    # Norms of queries and keys, head by head: no matrix makes them.
    # Nor where they have no weights of their own, whichever the token.
    for kind, query in (("qwen3", QUERY), ("llama4_text", QUERY), ("llama4_text", 0)):
        (walk,) = walks(tiny_model(kind).module, head="0.1", query=query)
        projections = walk["projections"]
        assert (projections["query"], projections["key"], walk["input_normalised"]) == (None, None, True)
        assert projections["value"]["bias"] is False and walk["query_before_rotation"] is None


def test_cross_attention_and_the_causal_mask_are_told() -> None:
    bart, t5 = tiny.build(tiny.bart()), tiny.build(tiny.t5())
    for model, normalised in ((bart, False), (t5, True)):
        (walk,) = walks(model, head="cross.1.2")
        assert (walk["cross"], walk["input_normalised"], walk["causal"]) == (True, normalised, False)
        np.testing.assert_allclose(projected(walk, model), walk["query_vector"], atol=1e-5)
        encoded = model.encoder(torch.tensor([IDS])).last_hidden_state[0, 3].double().detach().numpy()
        again = {**walk, "input": encoded}
        np.testing.assert_allclose(projected(again, model, "key"), walk["key_vectors"][3], atol=1e-5)
    causal = {family: walks(tiny.build(tiny.FAMILIES[family]()))[0]["causal"] for family in ("bert", "gpt2", "llama")}
    assert causal == {"bert": False, "gpt2": True, "llama": True}


def test_where_no_stack_is_named_the_others_are() -> None:
    t5 = tiny.build(tiny.t5())

    def notes(**options: object) -> list[str]:
        result = attncli.heads(input_ids=IDS, model=t5, steps=True, **options)
        return [note for note in result.notes if note.startswith("the steps")]

    (walked,) = attncli.heads(input_ids=IDS, model=t5, steps=True).steps or ()
    other = f"{walked.layer}.{walked.head}"
    said = f"the steps are in the encoder; -H decoder.{other} or -H cross.{other} shows another stack"
    assert walked.stack == "encoder" and notes() == [said]
    assert "-H decoder.1.3 or -H cross.1.3 shows" in notes(head="1.3")[0]
    # The decoder is given one token.
    assert notes(query=QUERY) == notes(head="cross.1.3") == notes(stack="decoder") == []


def test_without_a_choice_it_is_the_head_that_stands_out_most_from_the_last_ordinary_token() -> None:
    text = "The cat sat on the mat"
    result = attncli.heads(text, steps=True)
    (steps,) = result.steps or ()
    assert (steps.query.text, [key.text for key in steps.keys[:2]]) == ("mat", ["[CLS]", "the"])
    # Of all heads, [CLS], [SEP] and the token itself left out.
    patterns = attncli.heads(text, patterns=True).stacks[0].patterns
    largest = {f"{each.layer}.{each.head}": float(each.weights[6, 1:6].max()) for each in patterns}
    assert steps.name == max(largest, key=lambda name: largest[name])
    place = 1 + int(
        next(each for each in patterns if f"{each.layer}.{each.head}" == steps.name).weights[6, 1:6].argmax()
    )
    weight = f"weight {largest[steps.name]:.2f} on {steps.keys[place].text} (token {place}), uniform attention 0.12"
    assert f"from mat (token 6), head {steps.name} stands out most: {weight}; " in " ".join(result.notes)
    (of_layer,) = attncli.heads(text, steps=True, layer=2).steps or ()
    assert of_layer.name == max((name for name in largest if name.startswith("2.")), key=lambda name: largest[name])
    # Of a word in several pieces it is the last.
    (pieces,) = attncli.heads("moles and embeddings", steps=True, query="embeddings").steps or ()
    assert pieces.query.token == "##s"


def test_keys_that_are_not_listed_stand_together() -> None:
    model = tiny.build(tiny.gpt2())
    (whole,) = walks(model, head="1.2", query=QUERY)
    (some,) = walks(model, head="1.2", query=QUERY, key="2:4")
    assert [key["index"] for key in some["keys"]] == [2, 3]
    assert some["others"]["visible"] == 4 and some["others"]["hidden"] == 2
    assert some["others"]["weight"] == pytest.approx(1 - sum(whole["weights"][2:4]))
    read = np.array(some["weights"]) @ np.array(some["values"]) + np.array(some["others"]["weighted_sum"])
    np.testing.assert_allclose(read, whole["weighted_sum"], atol=1e-12)
    np.testing.assert_allclose(some["weights"], np.exp(np.array(some["scores"]) - some["log_sum"]), atol=1e-12)


def test_a_long_text_lists_the_keys_with_the_largest_weights() -> None:
    config = transformers.LlamaConfig(**tiny.GROUPED, max_position_embeddings=4096)
    ids = [token % 90 + 3 for token in range(_MAX_LISTED_WHOLE + 300)]
    (walk,) = attncli.heads(input_ids=ids, model=tiny.build(config), steps=True, head="0.1").steps or ()
    assert len(walk.keys) == _MAX_LISTED_OF_MORE and walk.others.visible == len(ids) - _MAX_LISTED_OF_MORE
    assert walk.weights.sum() + walk.others.weight == pytest.approx(1)
    assert [key.index for key in walk.keys] == sorted(key.index for key in walk.keys)
    assert walk.weights.min() >= walk.others.weight / walk.others.visible


def test_what_can_not_be_walked() -> None:
    with pytest.raises(UsageError, match=r"of head 1.1 this model exposes only") as caught:
        walks(tiny.build(tiny.bloom()))
    assert caught.value.hint == "-H 1.1 --query P shows the weights of one query; or use another model (-m)"
    with pytest.raises(UsageError, match="exposes only the attention weights"):
        walks(tiny_model("big_bird").module)
    # Its decoder reads its own tokens and the encoder's at once.
    with pytest.raises(UsageError, match=r"of head cross.1.1 this model exposes only"):
        walks(tiny_model("t5gemma2").module, head="cross.1.1")
    bert = tiny.build(tiny.bert())
    with pytest.raises(UsageError, match="--steps shows one query, and --query 1:3 is 2 tokens") as caught:
        walks(bert, query="1:3")
    assert caught.value.hint == "choose one of them, for instance --query 1"
    for option in ({"by": "word"}, {"hide_special": True}, {"norm_weighted": True}, {"bins": 3}):
        flag = f"--{next(iter(option)).replace('_', '-')}"
        with pytest.raises(UsageError, match=f"{flag}.* changes how a pattern is drawn") as caught:
            walks(bert, **option)
        assert caught.value.hint is not None and caught.value.hint.startswith(f"leave {flag}")
    with pytest.raises(UsageError, match="with several texts, only averaged metrics are shown"):
        attncli.heads(input_ids=[IDS, IDS], model=bert, steps=True)
