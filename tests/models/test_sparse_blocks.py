"""BigBird's block-sparse attention, against the same attention written out with the number of times a key is seen."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

import attncli
from attncli.errors import ModelError
from attncli.models.capture import sparse_blocks
from tests import tiny

BLOCK = 4


def bigbird(random: int) -> transformers.PreTrainedModel:
    config = transformers.BigBirdConfig(
        **tiny.COMMON, block_size=BLOCK, num_random_blocks=random, max_position_embeddings=128
    )
    return tiny.build(config)


def pegasus(random: int) -> transformers.PreTrainedModel:
    sides = {f"{side}_{name}": value for side in ("encoder", "decoder")
             for name, value in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 48))}  # fmt: skip
    config = transformers.BigBirdPegasusConfig(
        d_model=32, vocab_size=99, block_size=BLOCK, num_random_blocks=random, max_position_embeddings=128, **sides
    )
    return tiny.build(config)


def ids_of(length: int) -> list[int]:
    return torch.randint(3, 90, (length,), generator=torch.Generator().manual_seed(length)).tolist()


def times_seen(blocks: int, random: int) -> Tensor:
    """How often a query of one block sees a key of another: its neighbours, the first and last, and random ones.

    In evaluation mode every random block is the first one.
    """
    seen = torch.zeros(blocks, blocks)
    for row in range(blocks):
        if row in (0, blocks - 1):
            seen[row] = 1
            continue
        seen[row, [row - 1, row, row + 1]] = 1
        seen[row, [0, blocks - 1]] = 1
        seen[row, 0] += random
    return seen


def reference(module: nn.Module, states: Tensor, length: int, random: int) -> tuple[Tensor, Tensor]:
    """The weights, (heads, length, length), and weights times values, (length, d_model)."""
    query, key, value = (part(states)[0].unflatten(-1, (4, -1)).transpose(0, 1) for part in
                         (module.query, module.key, module.value))  # fmt: skip
    scores = query @ key.transpose(1, 2) / query.shape[-1] ** 0.5
    seen = times_seen(states.shape[1] // BLOCK, random).repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)
    seen[:, length:] = 0
    weights = seen * (scores - scores.amax()).exp()
    weights = weights / weights.sum(-1, keepdim=True)
    return weights[:, :length, :length], (weights @ value).transpose(0, 1).flatten(1)[:length]


@pytest.mark.parametrize(("random", "length"), [(1, 48), (1, 61), (3, 78)])
@pytest.mark.parametrize("build", [bigbird, pegasus], ids=["bigbird", "pegasus"])
def test_weights_count_a_block_as_often_as_it_is_seen(
    build: Callable[[int], transformers.PreTrainedModel], random: int, length: int
) -> None:
    model, found = build(random), []
    # The encoder's: the decoder is never sparse.
    modules = [module for module in model.modules() if hasattr(module, "num_random_blocks") and hasattr(module, "key")]
    for module in modules:
        module.register_forward_hook(
            lambda module, args, kwargs, output: found.append(
                (*reference(module, args[0] if args else kwargs["hidden_states"], length, random), output[0][0])
            ),
            with_kwargs=True,
        )
    stack = attncli.heads(input_ids=ids_of(length), model=model, patterns=True).stacks[0]
    assert len(found) == len(stack.layers) == len(modules) > 1
    for pattern in stack.patterns:
        expected, mixed, output = found[pattern.layer]
        assert torch.allclose(mixed, output[:length], atol=1e-4)
        np.testing.assert_allclose(pattern.weights, expected[pattern.head].numpy(), atol=1e-4)
        np.testing.assert_allclose(pattern.weights.sum(1), 1, atol=1e-4)


def test_long_and_short_texts_are_read_in_any_order() -> None:
    """A short text has full attention, beside a long one in a batch it would not have."""
    model, texts = bigbird(1), [ids_of(44), ids_of(12)]
    singles = [attncli.heads(input_ids=text, model=model).stacks[0].metrics for text in texts]
    for order in (texts, texts[::-1]):
        for index, head in enumerate(attncli.heads(input_ids=order, model=model).stacks[0].metrics):
            expected = statistics.mean(single[index].values["entropy"] for single in singles)
            assert head.values["entropy"] == pytest.approx(expected, abs=1e-4)


def test_what_does_not_give_the_output_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    read = sparse_blocks.read_weights
    monkeypatch.setattr(sparse_blocks, "read_weights", lambda *given: read(*given).flip(-1))
    with pytest.raises(ModelError, match="can't be read"):
        attncli.heads(input_ids=ids_of(48), model=bigbird(1))
