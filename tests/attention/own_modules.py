"""Modules of users: what `file.py:function` may return. This file itself is named by commands of the tests."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

WIDTH, HEADS = 16, 4
SOURCE, TARGET = [1, 2, 3, 4, 5, 6], [0, 7, 8, 9]


class GptAttention(nn.Module):
    """As nanoGPT has it: a softmax over masked scores, which then multiplies the values."""

    def __init__(self) -> None:
        super().__init__()
        self.c_attn, self.c_proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.register_buffer("mask", torch.tril(torch.ones(64, 64)))
        self.expected = torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (each.unflatten(-1, (HEADS, -1)).transpose(1, 2) for each in self.c_attn(x).chunk(3, -1))
        scores = query @ key.transpose(-2, -1) / math.sqrt(WIDTH // HEADS)
        self.expected = F.softmax(scores.masked_fill(self.mask[: x.shape[1], : x.shape[1]] == 0, -math.inf), dim=-1)
        return self.c_proj((self.expected @ value).transpose(1, 2).flatten(2))


class VitMixer(nn.Module):
    """As timm has it, in a class whose name doesn't say what it does."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.expected = nn.Linear(WIDTH, 3 * WIDTH), torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        self.expected = (query @ key.transpose(-2, -1) / math.sqrt(WIDTH // HEADS)).softmax(-1)
        return (self.expected @ value).transpose(1, 2).flatten(2)


class Block(nn.Module):
    def __init__(self, mixer: nn.Module) -> None:
        super().__init__()
        self.norm, self.mixer, self.mlp = nn.LayerNorm(WIDTH), mixer, nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mixer(self.norm(x))
        return x + self.mlp(x)


class Gpt(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(30522, WIDTH), nn.Embedding(64, WIDTH)
        self.transformer = nn.ModuleDict({"h": nn.ModuleList([Block(GptAttention()) for _ in range(2)])})

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, None]:
        x = self.words(idx) + self.places(torch.arange(idx.shape[1]))
        for block in self.transformer["h"]:
            x = block(x)
        return x[:, [-1]], None  # for the last position alone


class Vit(nn.Module):
    """A picture of one size; its blocks are in a `Sequential`."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.place = nn.Conv2d(3, WIDTH, 8, 8), nn.Parameter(torch.randn(1, 16, WIDTH))
        self.blocks = nn.Sequential(*(Block(VitMixer()) for _ in range(2)))

    def forward(self, picture: Tensor) -> Tensor:
        return self.blocks(self.patches(picture).flatten(2).transpose(1, 2) + self.place)[:, 0]


class Additive(nn.Module):
    """Bahdanau et al. (2015), whose context is a product of matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.score = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 1)
        self.rows: list[Tensor] = []

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        scores = self.score(torch.tanh(self.query(query) + self.key(keys) * 3)).transpose(1, 2)
        weights = F.softmax(scores * 9, dim=-1)
        self.rows.append(weights[0])
        return torch.bmm(weights, keys)


class Multiplicative(Additive):
    """Luong et al. (2015), whose context is a sum, element by element."""

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        weights = F.softmax((self.query(query) * keys * 9).sum(2, keepdim=True), dim=1)
        self.rows.append(weights[0].T)
        return (weights * keys).sum(dim=1, keepdim=True)


class Recurrent(nn.Module):
    """An encoder–decoder that attends at every step, over a choice among experts, which is no attention."""

    def __init__(self, attention: Additive) -> None:
        super().__init__()
        self.words, self.attention = nn.Embedding(50, WIDTH), attention
        self.encoder = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.decoder = nn.GRU(2 * WIDTH, WIDTH, batch_first=True)
        self.gate, self.experts = nn.Linear(WIDTH, 3), nn.Parameter(torch.randn(3, WIDTH))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        self.attention.rows.clear()
        states, hidden = self.encoder(self.words(source))
        for step in range(target.shape[1]):
            context = self.attend(hidden.transpose(0, 1), states)
            given = self.words(target[:, step : step + 1])
            output, hidden = self.decoder(torch.cat([given, context], 2), hidden)
            output = output + self.gate(output).softmax(-1) @ self.experts
        return output

    def attend(self, query: Tensor, states: Tensor) -> Tensor:
        return self.attention(query, states)


class Inline(Recurrent):
    """All in one forward pass, on vectors without a batch."""

    def attend(self, query: Tensor, states: Tensor) -> Tensor:
        weights = torch.softmax(states[0] @ query[0, 0] * 9, 0)
        self.attention.rows.append(weights[None])
        return (weights @ states[0])[None, None]


def of_ids(module: nn.Module) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    return module, (torch.tensor([SOURCE]), torch.tensor([TARGET]))


def gpt() -> nn.Module:
    torch.manual_seed(0)
    return Gpt()


def vit() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return Vit(), torch.randn(2, 3, 32, 32)


def additive() -> Any:
    torch.manual_seed(0)
    return of_ids(Recurrent(Additive()))


def multiplicative() -> Any:
    torch.manual_seed(0)
    return of_ids(Recurrent(Multiplicative()))


def inline() -> Any:
    torch.manual_seed(0)
    return of_ids(Inline(Additive()))


def attention() -> Any:
    torch.manual_seed(0)
    return nn.MultiheadAttention(WIDTH, HEADS, batch_first=True), (torch.randn(1, 5, WIDTH),) * 3


def without_attention() -> Any:
    return nn.Linear(4, 4), torch.randn(1, 5, 4)


def number() -> int:
    return 5


def two_numbers() -> tuple[int, int]:
    return 5, 6


def raises() -> nn.Module:
    raise ValueError("the width is missing")


def no_tensors() -> tuple[nn.Module, str]:
    return nn.Linear(4, 4), "text"


def unfit() -> tuple[nn.Module, Tensor]:
    return nn.MultiheadAttention(WIDTH, HEADS), torch.randn(1, 5, 4)
