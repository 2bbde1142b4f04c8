"""The text of --needle, and the metric that it has."""

from __future__ import annotations

import pytest
import torch

import attncli
from attncli.attention.effects.retrieval import NEEDLE_TEXTS, choose_needle, needle_texts
from attncli.errors import UsageError
from attncli.models.loading.loaded_model import wrap_model
from attncli.results.heads import HeadsResult
from tests import tiny


def test_the_needle_stands_twice_and_its_tokens_nowhere_else() -> None:
    needle = choose_needle(64, 200, None, before=1, seed=3)
    texts = list(needle_texts(needle, range(100, 300), first=7))
    assert len(texts) == NEEDLE_TEXTS and len({text.ids for text in texts}) == NEEDLE_TEXTS
    for text in texts:
        words = text.ids[text.first : text.first + 8]
        assert len(text.ids) == 65 and text.ids[0] == 7 and text.first >= 1
        assert text.second == 57 and text.ids[57:] == words
        assert len(set(words)) == 8 and all(text.ids.count(word) == 2 for word in words)


def test_the_seed_decides() -> None:
    one = choose_needle(64, 99, None, before=0, seed=0)
    assert list(needle_texts(one, range(99))) == list(needle_texts(one, range(99)))
    assert list(needle_texts(one, range(99))) != list(needle_texts(one._replace(seed=1), range(99)))


@pytest.mark.parametrize(
    ("length", "ordinary", "limit", "message"),
    [
        (15, 99, None, "--needle 15 is too short: the two copies of the needle alone take 16 tokens"),
        (600, 99, 512, "--needle 600 is too long: the model takes 512 tokens"),
        (64, 9, None, "the model has 9 ordinary tokens, too few for a needle and filler"),
    ],
)
def test_what_there_is_no_room_for(length: int, ordinary: int, limit: int | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        choose_needle(length, ordinary, limit, before=0, seed=0)


def values(result: HeadsResult, stack: str) -> list[float | None]:
    (found,) = (each for each in result.stacks if each.stack == stack)
    return [head.values["retrieval"] for head in found.metrics]


def naive(ids: tuple[int, ...], first: int, second: int, weights: torch.Tensor, shift: tuple[int, int]) -> torch.Tensor:
    """Of one text, the share of every head by its weights, (layers, heads)."""
    hits = []
    for number in range(1, 8):
        assert ids[first + number] == ids[second + number]
        row = weights[:, :, second + number - 1 + shift[0]]
        hits.append(row.argmax(-1) == first + number + shift[1])
    return torch.stack(hits).double().mean(0)


@pytest.mark.parametrize(("family", "stack"), [("gpt2", "decoder"), ("bert", "encoder"), ("t5", "cross")])
def test_every_head_by_its_whole_weights(family: str, stack: str) -> None:
    loaded = tiny.loaded(family)
    result = attncli.heads(model=loaded.module, needle=40, seed=5)
    assert result.needle is not None and result.metric == "retrieval" and result.texts == NEEDLE_TEXTS
    shares = []
    for text in needle_texts(result.needle, range(99)):
        given = {"input_ids": torch.tensor([text.ids])}
        shift = (0, 0)
        if family == "t5":
            given["decoder_input_ids"] = torch.tensor([(loaded.decoder_start, *text.ids)])
            shift = (1, 0)
        found = tiny.reference(loaded.module, dict(given))["cross" if family == "t5" else "only"]
        shares.append(naive(text.ids, text.first, text.second, torch.cat(found), shift))
    expected = torch.stack(shares).mean(0).flatten().tolist()
    assert values(result, stack) == pytest.approx(expected, abs=1e-9)


def test_chance_is_one_of_the_visible_keys() -> None:
    result = attncli.heads(model=tiny.loaded("gpt2").module, needle=32)
    (stack,) = result.stacks
    expected = sum(1 / (row + 1) for row in range(24, 31)) / 7
    assert stack.baselines[0]["retrieval"] == pytest.approx(expected)
    assert result.to_dict()["stacks"][0]["metrics"][0]["retrieval"] is not None


def test_induction_heads_find_the_needle() -> None:
    near, far = (attncli.heads(model="builtin:induction", needle=tokens) for tokens in (64, 512))
    assert all(0.9 < (value or 0) <= 1 for value in values(near, "decoder")[4:])
    assert all(0.3 < (value or 0) < 0.75 for value in values(far, "decoder")[4:])
    assert all((value or 0) < 0.2 for value in values(near, "decoder")[:4])


def test_the_metric_of_a_needle_needs_one() -> None:
    model = wrap_model(tiny.build(tiny.gpt2()), "gpt2").module
    with pytest.raises(UsageError, match="retrieval is measured with a needle in random tokens"):
        attncli.heads(input_ids=[5, 6, 7], model=model, metric="retrieval")
    with pytest.raises(UsageError, match="--needle can't be combined with a text"):
        attncli.heads(input_ids=[5, 6, 7], model=model, needle=64)
    with pytest.raises(UsageError, match="--needle and --qk-ov can't be combined"):
        attncli.heads(model=model, needle=64, qk_ov=True)
