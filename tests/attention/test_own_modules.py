"""Modules of users, given as objects or as `file.py:function`: their attention against what they compute themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import attncli
from attncli.errors import UsageError
from attncli.results.heads import Stack
from tests.attention import own_modules
from tests.attention.own_modules import HEADS, SOURCE, TARGET, WIDTH
from tests.attention.test_own_code import multi_head_weights
from tests.cli.conftest import attn

TOLERANCE = 1e-4
CODE = Path(own_modules.__file__)


def assert_patterns(stack: Stack, expected: dict[int, Tensor]) -> None:
    """expected: by layer, (heads, queries, keys)."""
    assert {pattern.layer for pattern in stack.patterns} == set(expected)
    for pattern in stack.patterns:
        weights = expected[pattern.layer][pattern.head].detach().numpy()
        np.testing.assert_allclose(pattern.weights, weights, atol=TOLERANCE)


def test_attention_of_torch_itself() -> None:
    module, inputs = own_modules.attention()
    (stack,) = attncli.heads(model=module, inputs=inputs, patterns=True, tokens="a b c d e").stacks
    assert [token.text for token in stack.keys] == ["a", "b", "c", "d", "e"]
    assert_patterns(stack, {0: module.eval()(*inputs, average_attn_weights=False)[1][0]})


@pytest.mark.parametrize("tokens", [7, WIDTH], ids=["other", "as-many-as-dimensions"])
@pytest.mark.parametrize("batch_first", [True, False])
def test_torch_transformer(tokens: int, batch_first: bool) -> None:
    """Given a batch, the first text; also with the sequence before the batch."""
    torch.manual_seed(0)
    module = nn.Transformer(WIDTH, HEADS, 2, 2, 32, batch_first=batch_first)
    sides = [torch.randn(3, length, WIDTH) for length in (tokens, 5)]
    given = [side if batch_first else side.transpose(0, 1) for side in sides]
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    inputs: dict[str, Any] = {"src": given[0], "tgt": given[1], "tgt_mask": mask}
    stacks = {stack.stack: stack for stack in attncli.heads(model=module, inputs=inputs, patterns=True).stacks}
    assert {name: stack.causal for name, stack in stacks.items()} == {"encoder": False, "decoder": True, "cross": False}
    weights = multi_head_weights(module.eval(), inputs)
    for name, path in {"encoder": "encoder.layers.{}.self_attn", "decoder": "decoder.layers.{}.self_attn",
                       "cross": "decoder.layers.{}.multihead_attn"}.items():  # fmt: skip
        assert_patterns(stacks[name], {layer: weights[path.format(layer)][0] for layer in range(2)})


def test_a_decoder_on_ids_and_on_its_own_inputs() -> None:
    module = own_modules.gpt()
    for given in ({"input_ids": SOURCE}, {"inputs": torch.tensor([SOURCE])}):
        result = attncli.heads(model=module, patterns=True, **given)
        (stack,) = result.stacks
        assert (stack.stack, stack.causal, [token.id for token in stack.keys]) == ("decoder", True, SOURCE)
        assert "by the names of the modules: decoder is transformer.h" in result.notes
        blocks = enumerate(module.transformer["h"])
        assert_patterns(stack, {layer: block.mixer.expected[0] for layer, block in blocks})


def test_a_picture_of_one_size() -> None:
    module, picture = own_modules.vit()
    (stack,) = attncli.heads(model=module, inputs=picture, patterns=True).stacks
    assert len(stack.keys) == 16
    assert_patterns(stack, {layer: block.mixer.expected[0] for layer, block in enumerate(module.blocks)})


@pytest.mark.parametrize("make", [own_modules.additive, own_modules.multiplicative, own_modules.inline])
@pytest.mark.parametrize("as_ids", [True, False])
def test_recurrent_decoders(make: Callable[[], Any], as_ids: bool) -> None:
    """The softmax over the source at every step; the one over experts is none."""
    module, inputs = make()
    given: dict[str, Any] = {"input_ids": SOURCE, "target_ids": TARGET} if as_ids else {"inputs": inputs}
    (stack,) = attncli.heads(model=module, patterns=True, **given).stacks
    sides = [[token.id for token in side] for side in (stack.keys, stack.queries)]
    assert (stack.stack, sides) == ("cross", [SOURCE, TARGET])
    module.eval()(*inputs)
    assert_patterns(stack, {0: torch.cat(module.attention.rows)[None]})


def test_choices_among_experts_alone_are_no_attention() -> None:
    class Experts(own_modules.Recurrent):
        def attend(self, query: Tensor, states: Tensor) -> Tensor:
            return query

    model = Experts(own_modules.Additive())
    with pytest.raises(attncli.AttnError, match="Experts has no attention"):
        attncli.heads(model=model, input_ids=SOURCE, target_ids=TARGET)


# --- Commands


def test_a_function_in_commands() -> None:
    run = attn("heads", "-m", f"{CODE}:additive", "-H", "0.0", "--tokens", "one two three four five six", stdin="")
    assert run.code == 0, run.err
    assert "cross · 1 layer × 1 head · 4 decoder tokens look at 6 encoder tokens" in run.out.decode()
    assert "three" in run.out.decode()
    run = attn("heads", "The cat sat", "-m", f"{CODE}:gpt", "--tokenizer", "sentence-transformers/all-MiniLM-L6-v2")
    assert run.code == 0, run.err
    assert "[CLS] the cat sat [SEP]" in run.out.decode()


def test_compare_reads_the_states_between_the_blocks() -> None:
    name = "sentence-transformers/all-MiniLM-L6-v2"
    run = attn("compare", "cat", "The cat sat", "A cat is here", "-m", f"{CODE}:gpt", "--tokenizer", name, "--json")
    assert run.code == 0, run.err
    result = attncli.compare(
        "cat", ["The cat sat", "A cat is here"], model=own_modules.gpt(), tokenizer=name, reference=[]
    )
    vectors = []
    module = own_modules.gpt().eval()
    module.transformer["h"][-1].register_forward_hook(lambda _m, _i, out: vectors.append(out[0, 2].detach()))
    for sentence in ([101, 1996, 4937, 2938, 102], [101, 1037, 4937, 2003, 2182, 102]):
        module(torch.tensor([sentence]))
    expected = torch.cosine_similarity(*vectors, dim=0).item()
    assert result.states[-1].similarity[0, 1] == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize(
    ("function", "code", "message", "hint"),
    [
        ("number", 3, "returned a int, which is not a module", "(module, inputs) or (module, inputs, tokenizer)"),
        ("two_numbers", 3, "returned (int, int), whose first is not a module", "return a torch.nn.Module"),
        ("raises", 3, "failed with ValueError: the width is missing", "fix the function"),
        ("missing", 3, "has no function missing", "its functions are additive, attention"),
        ("without_attention", 3, "Linear has no attention", "use a model with attention"),
        ("no_tensors", 3, "the inputs of Linear hold no tensor", "give a tensor"),
        ("unfit", 3, "MultiheadAttention can't be run", "correct the module or its inputs"),
        ("gpt", 2, "gpt returned no inputs", "return (module, inputs), or give a text with --tokenizer MODEL"),
    ],
)
def test_what_is_no_own_model(function: str, code: int, message: str, hint: str) -> None:
    run = attn("heads", "-m", f"{CODE}:{function}", stdin="")
    first, second = run.err.splitlines()
    assert (run.code, run.out) == (code, b"")
    assert message in first
    assert hint in second


def test_options_that_do_not_fit() -> None:
    module, inputs = own_modules.attention()
    for options, message in [
        ({"tokens": "a b"}, "--tokens names 2 positions, and the module has 5"),
        ({"predict": True}, "--predict needs logits, and MultiheadAttention doesn't return"),
        ({"steps": True}, "--steps needs a head"),
    ]:
        with pytest.raises(UsageError, match=message):
            attncli.heads(model=module, inputs=inputs, **options)
    with pytest.raises(UsageError, match="--tokens names 2 positions, and there are 6"):
        attncli.heads(model=own_modules.gpt(), input_ids=SOURCE, tokens=["a", "b"])
