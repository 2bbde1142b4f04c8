"""Plain torch modules, by their own names or by torch's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from attncli.results.params import PerHead
from tests.parameters.counting import counted_module, sums


def test_the_transformer_of_torch() -> None:
    found = counted_module(nn.Transformer(64, 4, 2, 3, 96, batch_first=True))
    parts = {(entry.part, entry.component): entry.parameters for entry in found.components}
    assert parts["encoder", "attention.query"] == 2 * 65 * 64
    assert parts["decoder", "attention.query"] == parts["decoder", "cross_attention.query"] == 3 * 65 * 64
    assert parts["decoder", "mlp.up"] == 3 * 65 * 96
    assert found.of("other") == 0
    assert [(layer.part, layer.layer) for layer in found.layers] == [
        *(("encoder", layer) for layer in range(2)),
        *(("decoder", layer) for layer in range(3)),
    ]
    assert found.per_head == PerHead(
        *(64 * 16,) * 4,
        heads=4,
        layer=64 * 64 * 4,
        key_value_heads=4,
        stack="decoder.layers",
        layers=3,
        shapes=((64, 16),) * 3 + ((16, 64),),
    )


def test_packed_attention_with_its_biases() -> None:
    found = counted_module(nn.MultiheadAttention(64, 4, kdim=32, vdim=48, add_bias_kv=True))
    assert sums(found) == {
        "attention.query": 64 * 64 + 64,
        "attention.key": 64 * 32 + 64 + 64,
        "attention.value": 64 * 48 + 64 + 64,
        "attention.output": 64 * 64 + 64,
    }


class Additive(nn.Module):
    """Attention as Bahdanau, Cho and Bengio (2015) have it."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.Wa = nn.Linear(size, size)
        self.Ua = nn.Linear(size, size)
        self.Va = nn.Linear(size, 1)


class Side(nn.Module):
    def __init__(self, vocabulary: int, size: int, *, attends: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, size)
        self.rnn = nn.GRU(2 * size if attends else size, size)
        if attends:
            self.attention = Additive(size)
            self.out = nn.Linear(size, vocabulary)


class Translator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = Side(100, 16, attends=False)
        self.decoder = Side(120, 16, attends=True)


def test_a_recurrent_encoder_and_decoder_with_additive_attention() -> None:
    found = counted_module(Translator())
    parts = {(entry.part, entry.component): entry.parameters for entry in found.components}
    assert parts == {
        ("encoder", "embedding.token"): 100 * 16,
        ("encoder", "mixer.recurrent"): 2 * (3 * 16 * 16 + 3 * 16),
        ("decoder", "embedding.token"): 120 * 16,
        ("decoder", "attention.query"): 17 * 16,
        ("decoder", "attention.key"): 17 * 16,
        ("decoder", "attention.other"): 17,
        ("decoder", "mixer.recurrent"): 3 * 16 * 32 + 3 * 16 * 16 + 2 * 3 * 16,
        ("decoder", "unembedding"): 17 * 120,
    }


class Scoring(nn.Module):
    """The same, its matrices called query and key and its vector v, held by the module itself or by a layer."""

    def __init__(self, *, layer: bool) -> None:
        super().__init__()
        self.query = nn.Linear(16, 8, bias=False)
        self.key = nn.Linear(16, 8, bias=False)
        self.v = nn.Linear(8, 1, bias=False) if layer else nn.Parameter(torch.zeros(8))


@pytest.mark.parametrize("layer", [False, True])
def test_the_vector_that_scores_is_no_value(layer: bool) -> None:
    decoder = nn.Module()
    decoder.attention = Scoring(layer=layer)
    assert sums(counted_module(decoder)) == {"attention.query": 128, "attention.key": 128, "attention.other": 8}


class Direct(nn.Module):
    """Parameters held by the module itself, some of them under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.pos_embed = nn.Parameter(torch.empty(10, 16))
        self.cls_token = nn.Parameter(torch.empty(1, 16))
        self.unembed = nn.Linear(16, 50, bias=False)
        self.unembed.weight = self.embed.weight
        self.first = nn.LayerNorm(16)
        self.again = self.first


def test_parameters_of_the_module_itself_and_tied_ones() -> None:
    found = counted_module(Direct())
    assert sums(found) == {
        "embedding.token": 800,
        "embedding.position": 160,
        "embedding.other": 16,
        "norm": 32,
    }
    assert found.tied == (
        ("embed.weight", "unembed.weight"),
        ("first.weight", "again.weight"),
        ("first.bias", "again.bias"),
    )
    assert found.active.without_embedding_lookup == found.total - 160


class OneHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.key, self.query, self.value = (nn.Linear(16, 4, bias=False) for _ in range(3))


class HeadByHead(nn.Module):
    """Heads as modules of their own, under a name that says nothing of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(OneHead() for _ in range(4))


def test_a_module_that_holds_query_key_and_value_attends() -> None:
    assert sums(counted_module(HeadByHead())) == dict.fromkeys(
        ("attention.query", "attention.key", "attention.value"), 4 * 16 * 4
    )


class Adapted(nn.Module):
    """A layer with low-rank factors beside it, named as peft names them."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Module()
        self.q_proj.base_layer = nn.Linear(16, 16, bias=False)
        self.q_proj.lora_A = nn.ModuleDict({"default": nn.Linear(16, 2, bias=False)})
        self.q_proj.lora_B = nn.ModuleDict({"default": nn.Linear(2, 16, bias=False)})


def test_adapters_stand_apart_from_what_they_adapt() -> None:
    model = nn.ModuleDict({"self_attn": Adapted()})
    assert sums(counted_module(model)) == {"attention.query": 256, "adapter": 64}


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(10, 8), nn.Embedding(12, 8)
        self.encoder, self.decoder = nn.GRU(8, 16), nn.GRU(8, 16)
        self.out = nn.Linear(16, 12)


def test_recurrent_networks_may_be_the_sides_of_a_model() -> None:
    found = counted_module(Recurrent())
    parts = {(entry.part, entry.component): entry.parameters for entry in found.components}
    assert parts["encoder", "mixer.recurrent"] == parts["decoder", "mixer.recurrent"] == 3 * 16 * (8 + 16 + 2)
    assert parts["text", "embedding.token"] == 22 * 8
