"""Effects of heads on what a model says of pictures, against runs of transformers' own eager model in which hooks
replace the part of a head in what its output projection takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attncli.api.heads import heads
from attncli.results.heads import HeadsResult, Stack
from tests import picture_chats, senses
from tests.picture_chats import FAMILIES, Chat

pytest.importorskip("PIL")

TEXT, OTHER = "a cat on the mat", "the mole dug a mat"
TOLERANCE = 1e-4
SIZES = ((16, 24), (40, 20))
#: The names of the layers that take the outputs of all heads.
PROJECTIONS = ("o_proj", "out_proj", "proj", "projection_layer")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("picture-effects")


@pytest.fixture(scope="module")
def chat(place: Path) -> Callable[[str], Chat]:
    return picture_chats.opener(place)


def projections(model: nn.Module) -> dict[str, list[nn.Linear]]:
    """The output projections of all attention modules in the order of their layers, by the names of their stacks."""
    found: dict[str, list[nn.Linear]] = {}
    for path, module in model.named_modules():
        # The pooling heads of towers, which nothing reads, have another class of projection.
        name = next((each for each in PROJECTIONS if type(getattr(module, each, None)) is nn.Linear), None)
        if name is None or "Attention" not in type(module).__name__:
            continue
        stack = (
            "vision" if re.search("vision|visual", path) else "cross" if "Cross" in type(module).__name__ else "text"
        )
        found.setdefault(stack, []).append(getattr(module, name))
    return found


def layers_of(stacks: Sequence[Stack], name: str) -> list[tuple[str, int, int]]:
    """The layers of the stacks whose name begins so: stack, number, heads; in order."""
    return [
        (stack.stack, number, sum(each.layer == number for each in stack.effects))
        for stack in stacks if stack.stack.startswith(name) for number in sorted({each.layer for each in stack.effects})
    ]  # fmt: skip


@contextmanager
def replaced(projection: nn.Module, columns: slice, value: Tensor) -> Iterator[None]:
    """The body with another output of one head. value: broadcast to it, or of the same numbers."""

    def change(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        states = args[0].clone()
        states[..., columns] = value if value.ndim < 2 else value.reshape(states[..., columns].shape)
        return (states, *args[1:])

    handle = projection.register_forward_pre_hook(change)
    try:
        yield
    finally:
        handle.remove()


class Naive:
    """Runs of the reference, a forward pass each. answer, contrast: the outcome, at the last position."""

    def __init__(self, model: Chat, text: str, pictures: int, answer: int, contrast: int | None) -> None:
        self.module = model.reference
        self.inputs: Mapping[str, Tensor] = model.inputs(model.prompt(text, pictures), SIZES[:pictures])
        self.answer, self.contrast = answer, contrast
        self.written: dict[nn.Module, Tensor] = {}
        self.base = self.outcome()

    def outcome(self) -> float:
        with torch.no_grad():
            logits = self.module(**self.inputs, use_cache=False).logits[0, -1].double()
        other = logits.mean() if self.contrast is None else logits[self.contrast]
        return float(logits[self.answer] - other)

    def record(self, modules: Sequence[nn.Module]) -> None:
        """Keep what output projections take."""

        def keep(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            self.written[module] = args[0].detach().clone()

        handles = [module.register_forward_pre_hook(keep) for module in modules]
        self.outcome()
        for handle in handles:
            handle.remove()

    def changed(self, projection: nn.Module, columns: slice, value: Tensor) -> float:
        with replaced(projection, columns, value):
            return self.outcome()


def effects_of(result: HeadsResult) -> dict[tuple[str, int, int], Mapping[str, float | None]]:
    return {(stack.stack, each.layer, each.head): each.values for stack in result.stacks for each in stack.effects}


def each_head(model: Chat, result: HeadsResult) -> Iterator[tuple[tuple[str, int, int], nn.Linear, slice]]:
    for kind, modules in projections(model.reference).items():
        layers = layers_of(result.stacks, kind)
        assert len(layers) == len(modules)
        for (stack, number, count), projection in zip(layers, modules, strict=True):
            width = projection.in_features // count
            for head in range(count):
                yield (stack, number, head), projection, slice(head * width, (head + 1) * width)


def ordinary(result: HeadsResult, name: str) -> Tensor:
    """Which queries of a stack aren't special."""
    queries = next(stack for stack in result.stacks if stack.stack == name).queries
    return torch.tensor([not token.special for token in queries])


@pytest.fixture(scope="module")
def paths(place: Path) -> list[Path]:
    return [senses.save_picture(place / f"{height}.png", height, width) for height, width in SIZES]


@pytest.mark.parametrize("pictures", [1, 2])
@pytest.mark.parametrize("name", FAMILIES)
def test_effects_equal_runs_with_hooks(
    name: str, pictures: int, chat: Callable[[str], Chat], paths: Sequence[Path]
) -> None:
    model = chat(name)
    given: dict[str, Any] = {"image": paths[:pictures], "model": model.folder}
    result = heads(TEXT, **given, effect="direct,zero,mean", predict=True)
    assert result.effects is not None and result.effects.outcome.answer is not None and result.prediction is not None
    naive = Naive(model, TEXT, pictures, result.effects.outcome.answer.id, None)
    assert result.effects.outcome.value == pytest.approx(naive.base, abs=TOLERANCE)
    assert abs(result.effects.unexplained or 0.0) < TOLERANCE
    found, all_heads = effects_of(result), list(each_head(model, result))
    assert {place for place, *_ in all_heads} == set(found)
    shares = [part.values["direct"] for part in result.effects.parts] + [each["direct"] for each in found.values()]
    assert sum(share or 0.0 for share in shares) == pytest.approx(naive.base, abs=TOLERANCE)
    naive.record([projection for _, projection, _ in all_heads])
    # Every other head.
    for head, projection, columns in all_heads[::2]:
        states = naive.written[projection][..., columns].reshape(-1, columns.stop - columns.start)
        for kind, value in (("zero", torch.tensor(0.0)), ("mean", states[ordinary(result, head[0])].mean(0))):
            expected = naive.base - naive.changed(projection, columns, value)
            assert found[head][kind] == pytest.approx(expected, abs=TOLERANCE), (kind, head)


@pytest.mark.parametrize("name", FAMILIES)
def test_patching_equals_runs_with_hooks(name: str, chat: Callable[[str], Chat], paths: Sequence[Path]) -> None:
    model = chat(name)
    patched = heads(TEXT, image=list(paths), model=model.folder, effect="patch", patch_from=OTHER)
    assert patched.effects is not None and patched.effects.outcome.answer is not None
    contrast = patched.effects.outcome.contrast
    ids = patched.effects.outcome.answer.id, None if contrast is None else contrast.id
    to, source = (Naive(model, text, 2, *ids) for text in (TEXT, OTHER))
    all_heads = list(each_head(model, patched))
    source.record([projection for _, projection, _ in all_heads])
    for head, projection, columns in all_heads[::2]:
        value = to.changed(projection, columns, source.written[projection][..., columns])
        expected = (value - to.base) / (source.base - to.base)
        assert effects_of(patched)[head]["patch"] == pytest.approx(expected, abs=TOLERANCE), head
