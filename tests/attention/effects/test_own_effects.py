"""Predictions and effects of users' own modules on their own inputs, against hooks on the module itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import attncli
from attncli.errors import UsageError
from attncli.results.heads import HeadsResult
from tests.attention.own_modules import HEADS, WIDTH, Block, Gpt, GptAttention, Vit, VitMixer

IDS = torch.tensor([[3, 1, 4, 1, 5, 9]])


class Language(nn.Module):
    """As nanoGPT: logits of all positions, or of the last one alone, beside a loss."""

    def __init__(self, *, last: bool) -> None:
        super().__init__()
        self.gpt, self.norm, self.lm_head, self.last = Gpt(), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 40), last

    def forward(self, idx: Tensor) -> tuple[Tensor, None]:
        x = self.gpt.words(idx) + self.gpt.places(torch.arange(idx.shape[1]))
        for block in self.gpt.transformer["h"]:
            x = block(x)
        x = self.norm(x)
        return self.lm_head(x[:, [-1]] if self.last else x), None


class Projected(VitMixer):
    """With the projection of the heads that timm has."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(super().forward(x))


class Classifier(nn.Module):
    """As timm: the logits of classes, of the first position, or of the mean over all."""

    def __init__(self, *, mean: bool) -> None:
        super().__init__()
        self.vit, self.head, self.mean = Vit(), nn.Linear(WIDTH, 7), mean
        self.vit.blocks = nn.Sequential(*(Block(Projected()) for _ in range(2)))

    def forward(self, picture: Tensor) -> Tensor:
        x = self.vit.blocks(self.vit.patches(picture).flatten(2).transpose(1, 2) + self.vit.place)
        return self.head(x.mean(1) if self.mean else x[:, 0])


def build(name: str) -> tuple[nn.Module, Tensor, list[nn.Module]]:
    """A module, its input, and the output projections of its heads."""
    torch.manual_seed(0)
    if name in ("language", "last"):
        module: Any = Language(last=name == "last").eval()
        return module, IDS, [block.mixer.c_proj for block in module.gpt.transformer["h"]]
    module = Classifier(mean=name == "mean").eval()
    return module, torch.randn(1, 3, 32, 32), [block.mixer.proj for block in module.vit.blocks]


MODULES = ("language", "last", "class", "mean")


def logits_of(module: nn.Module, given: Tensor) -> Tensor:
    """Those of the last position, or the only one."""
    with torch.no_grad():
        output = module(given)
    logits = output[0] if isinstance(output, tuple) else output
    return logits.flatten(0, -2)[-1]


def outcome(module: nn.Module, given: Tensor, answer: int) -> float:
    logits = logits_of(module, given)
    return float(logits[answer] - logits.mean())


def run(name: str, **options: Any) -> HeadsResult:
    module, given, _ = build(name)
    return attncli.heads(model=module, inputs=given, **options)


def replacing(head: int, value: Callable[[Tensor], Tensor | float]) -> Callable[[Any, tuple[Tensor]], tuple[Tensor]]:
    def change(_: Any, given: tuple[Tensor]) -> tuple[Tensor]:
        heads = given[0].unflatten(-1, (HEADS, -1)).clone()
        heads[:, :, head] = value(heads[:, :, head])
        return (heads.flatten(-2),)

    return change


@pytest.mark.parametrize("name", MODULES)
def test_heads_are_left_out_as_hooks_leave_them_out(name: str) -> None:
    result = run(name, effect="zero,mean", answer="id:5")
    module, given, projections = build(name)
    whole = outcome(module, given, 5)
    assert result.effects is not None
    assert result.effects.outcome.value == pytest.approx(whole, abs=1e-5)
    values = {"zero": lambda _: 0.0, "mean": lambda head: head.mean(1, keepdim=True)}
    for effect in result.stacks[0].effects:
        for kind, value in values.items():
            hook = projections[effect.layer].register_forward_pre_hook(replacing(effect.head, value))
            assert effect.values[kind] == pytest.approx(whole - outcome(module, given, 5), abs=1e-5)
            hook.remove()


@pytest.mark.parametrize("name", MODULES)
def test_predictions_are_the_modules_own(name: str) -> None:
    prediction = run(name, predict=True, top=3).prediction
    module, given, _ = build(name)
    probabilities = logits_of(module, given).softmax(-1)
    assert prediction is not None
    assert [token.id for token in prediction.tokens] == probabilities.topk(3).indices.tolist()
    assert prediction.tokens[0].probability == pytest.approx(float(probabilities.max()), abs=1e-5)
    # The last state of the lens is what the module returns.
    assert [token.id for token in prediction.lens[-1].tokens] == [token.id for token in prediction.tokens]


def test_the_lens_is_the_rest_of_the_module_on_each_state() -> None:
    for name in ("language", "last"):
        prediction = run(name, predict=True, top=5).prediction
        module, given, _ = build(name)
        states = []
        hook = module.gpt.transformer["h"][0].register_forward_hook(
            lambda _, __, output, kept=states: kept.append(output)
        )
        module(given)
        hook.remove()
        with torch.no_grad():
            expected = module.lm_head(module.norm(states[0][0, -1])).softmax(-1)
        assert prediction is not None
        assert [token.id for token in prediction.lens[1].tokens] == expected.topk(5).indices.tolist()


@pytest.mark.parametrize("name", ["language", "last", "class"])
def test_direct_effects_sum_to_the_outcome(name: str) -> None:
    result = run(name, effect="direct", answer=5)
    assert result.effects is not None and result.effects.unexplained is not None
    assert abs(result.effects.unexplained) < 1e-4
    module, given, projections = build(name)
    kept: list[Tensor] = []
    hook = projections[1].register_forward_pre_hook(lambda _, args: kept.append(args[0]))
    logits_of(module, given)
    hook.remove()
    if name != "class":
        return
    # No norm stands behind the last block: a head's share is what it writes at the first position.
    written = kept[0][0, 0].unflatten(-1, (HEADS, -1))
    matrix = projections[1].weight.unflatten(1, (HEADS, -1))
    toward = module.head.weight[5] - module.head.weight.mean(0)
    for effect in result.stacks[0].effects[HEADS:]:
        share = float((toward @ (matrix[:, effect.head] @ written[effect.head])).detach())
        assert effect.values["direct"] == pytest.approx(share, abs=1e-5)


def test_ids_instead_of_inputs() -> None:
    """The same numbers where the ids come from `--input-ids`."""
    module, given, _ = build("language")
    own = run("language", effect="zero,direct", answer=5)
    ids = attncli.heads(model=module, input_ids=given[0].tolist(), effect="zero,direct", answer=5)
    for one, other in zip(own.stacks[0].effects, ids.stacks[0].effects, strict=True):
        assert one.values == pytest.approx(other.values, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("last", {"effect": "zero", "query": 2}, "returns the logits of one position, and --query chooses another"),
        ("language", {"effect": "zero", "answer": 99}, "the id 99 is not in the model's vocabulary"),
        ("language", {"effect": "patch", "patch_from": "a"}, "--patch-from needs a text or token ids"),
        ("language", {"generate": 2}, "--generate needs a text or token ids"),
        ("language", {"target": "a"}, "--target needs a text or token ids"),
    ],
)
def test_what_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(name, **options)


def test_modules_without_logits_and_heads_without_a_projection() -> None:
    torch.manual_seed(0)
    picture = torch.randn(1, 3, 32, 32)
    with pytest.raises(UsageError, match="--predict needs logits, and Vit doesn't return the output of a linear layer"):
        attncli.heads(model=Vit(), inputs=picture, predict=True)
    module = Classifier(mean=False)
    module.vit.blocks = nn.Sequential(*(Block(VitMixer()) for _ in range(2)))
    effects = attncli.heads(model=module.eval(), inputs=picture, effect="zero").stacks[0].effects
    assert [effect.values["zero"] for effect in effects] == [None] * 8


class Beyond(nn.Module):
    """A language model whose states, or whose probabilities, are returned in the place of logits."""

    def __init__(self, end: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.words, self.head, self.end = nn.Embedding(40, WIDTH), nn.Linear(WIDTH, WIDTH), end
        self.blocks: nn.Module = nn.Sequential(*(Block(GptAttention()) for _ in range(2)))

    def forward(self, ids: Tensor) -> Tensor:
        return self.end(self.head(self.blocks(self.words(ids))))


@pytest.mark.parametrize("end", [lambda output: output.softmax(-1), lambda output: output + output.flip(-1)])
def test_what_has_the_shape_of_logits_and_is_none(end: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    with pytest.raises(UsageError, match="--predict needs logits"):
        attncli.heads(model=Beyond(end).eval(), inputs=(IDS,), predict=True)
    capped = Beyond(lambda output: 3 * torch.tanh(output / 3)).eval()
    assert attncli.heads(model=capped, inputs=(IDS,), predict=True).prediction is not None
    capped.blocks = nn.TransformerEncoderLayer(WIDTH, 2, WIDTH, batch_first=True)
    with pytest.raises(UsageError, match="Beyond has no list of layers with attention"):
        attncli.heads(model=capped, inputs=(IDS,), predict=True)
