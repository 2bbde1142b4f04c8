"""Attention of a user's own code: the weights that reach the values, and nothing that a softmax is taken of besides."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from attncli.api.heads import heads
from attncli.attention.selection import HeadsRequest
from attncli.errors import ModelError
from attncli.models.loading.loaded_model import wrap_model
from attncli.results.heads import Stack
from tests import tiny
from tests.attention.test_agreement import inputs_for
from tests.tiny import read_heads_of_each

IDS = [5, 6, 7, 8, 5, 6, 7, 9, 10, 11, 12, 13]
HEADS, WIDTH = 4, 32
TOLERANCE = 1e-4

#: What a module does with q, k and v, each (batch, heads, n, d), and with its input: the heads' output.
Mix = Callable[["SelfAttention", Tensor, Tensor, Tensor], Tensor]


def causal(scores: Tensor) -> Tensor:
    return scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), -torch.inf)


def scores(query: Tensor, key: Tensor) -> Tensor:
    return query @ key.transpose(-1, -2) / 8**0.5


class SelfAttention(nn.Module):
    """Attention by `mix`, which leaves the weights that it means in `expected`, (batch, heads, n, n)."""

    def __init__(self, mix: Mix) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        nn.init.normal_(self.qkv.weight, std=0.4)
        self.talking = nn.Parameter(torch.rand(HEADS, HEADS).softmax(-1))
        self.router, self.table = nn.Linear(WIDTH, len(IDS)), nn.Parameter(torch.randn(len(IDS), WIDTH))
        self.mix, self.expected, self.states = mix, torch.empty(0), torch.empty(0)

    def forward(self, states: Tensor) -> Tensor:
        self.states = states
        query, key, value = self.qkv(states).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        return self.out(self.mix(self, query, key, value).transpose(1, 2).flatten(2))


class Mixer(SelfAttention):
    """The same in a class whose name doesn't say what it is."""


class Block(nn.Module):
    def __init__(self, mixer: nn.Module) -> None:
        super().__init__()
        self.norm, self.mixer, self.feed_forward = nn.LayerNorm(WIDTH), mixer, nn.Linear(WIDTH, WIDTH)

    def forward(self, states: Tensor) -> Tensor:
        mixed = self.mixer(self.norm(states))
        states = states + (mixed[0] if isinstance(mixed, tuple) else mixed)
        return states + self.feed_forward(states)


class OwnConfig(transformers.PreTrainedConfig):
    model_type = "own"


class OwnModel(transformers.PreTrainedModel):
    config_class = OwnConfig

    def __init__(self, layers: nn.Module, run: Callable[..., Tensor] | None = None) -> None:
        super().__init__(OwnConfig())
        self.tokens, self.positions = nn.Embedding(50, WIDTH), nn.Embedding(64, WIDTH)
        self.layers, self.run = layers, run

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> tuple[Tensor]:
        states = self.tokens(input_ids) + self.positions(torch.arange(input_ids.shape[1]))
        if self.run is not None:
            return (self.run(self.layers, states, attention_mask),)
        for layer in self.layers:
            states = layer(states)
        return (states,)


def model_of(mix: Mix, kind: type[SelfAttention] = SelfAttention) -> OwnModel:
    torch.manual_seed(0)
    return OwnModel(nn.ModuleList([Block(kind(mix)) for _ in range(2)])).eval()


def stacks_of(model: OwnModel, texts: list[list[int]]) -> list[tuple[Stack, ...]]:
    loaded = wrap_model(model)
    return list(read_heads_of_each(loaded, inputs_for(loaded, texts), HeadsRequest(patterns=True)))


def assert_read(model: OwnModel, name: str) -> None:
    """In a batch of two, whose texts and heads must not be taken for one another."""
    found = stacks_of(model, [IDS, IDS[::-1]])
    expected = [block.mixer.expected.detach().numpy() for block in model.layers]
    for text, stacks in enumerate(found):
        assert [(stack.stack, [layer.heads for layer in stack.layers]) for stack in stacks] == [(name, [HEADS] * 2)]
        for pattern in stacks[0].patterns:
            weights = expected[pattern.layer][text, pattern.head]
            np.testing.assert_allclose(pattern.weights, weights, atol=TOLERANCE)


# --- A softmax whose result multiplies the values


def plain(module, query, key, value):
    module.expected = causal(scores(query, key)).softmax(-1)
    return module.expected @ value


def heads_in_the_batch(module, query, key, value):
    query, key, value = (each.flatten(0, 1) for each in (query, key, value))
    weights = F.softmax(scores(query, key), -1)
    module.expected = weights.unflatten(0, (-1, HEADS))
    return torch.bmm(weights, value).unflatten(0, (-1, HEADS))


def heads_before_the_batch(module, query, key, value):
    query, key, value = (torch.cat(each.unbind(1)) for each in (query, key, value))
    weights = F.softmax(scores(query, key), -1)
    module.expected = weights.unflatten(0, (HEADS, -1)).transpose(0, 1)
    return torch.bmm(weights, value).unflatten(0, (HEADS, -1)).transpose(0, 1)


def einsum(module, query, key, value):
    weights = torch.einsum("bhqd,bhkd->qkbh", query, key).div(8**0.5).softmax(1)
    module.expected = weights.permute(2, 3, 0, 1)
    return torch.einsum("qkbh,bhkd->bhqd", weights, value)


def keys_first(module, query, key, value):
    weights = scores(key, query).softmax(-2)
    module.expected = weights.transpose(-1, -2)
    return (value.transpose(-1, -2) @ weights).transpose(-1, -2)


def one_key_head(module, query, key, value):
    module.expected = scores(query, key[:, :1]).softmax(-1)
    return torch.einsum("bhqk,bkd->bhqd", module.expected, value[:, 0])


def groups_of_heads(module, query, key, value):
    weights = scores(query.unflatten(1, (2, 2)), key[:, :2, None]).softmax(-1)
    module.expected = weights.flatten(1, 2)
    return (weights @ value[:, :2, None]).flatten(1, 2)


def sink(module, query, key, value):
    logits = causal(scores(query, key))
    module.expected = torch.cat([logits, torch.zeros_like(logits[..., :1])], -1).softmax(-1)[..., :-1]
    return module.expected @ value


# Weights that are changed on their way.


def masked_afterwards(module, query, key, value):
    weights = scores(query, key).softmax(-1)
    weights = F.dropout(weights, 0.5).half().float() * torch.ones_like(weights).tril()
    module.expected = scores(query, key).softmax(-1).half().float().tril()
    return weights @ value


def renormalised(module, query, key, value):
    weights = scores(query, key).softmax(-1).tril()
    module.expected = weights / weights.sum(-1, keepdim=True)
    return module.expected @ value


def largest_two(module, query, key, value):
    weights = scores(query, key).softmax(-1)
    module.expected = torch.where(weights >= weights.topk(2, -1).values[..., -1:], weights, 0.0)
    return module.expected @ value


def talking_heads(module, query, key, value):
    weights = causal(scores(query, key)).softmax(-1)
    module.expected = torch.einsum("bhqk,gh->bgqk", weights, module.talking)
    return module.expected @ value


def talking_heads_by_a_matrix(module, query, key, value):
    weights = F.linear(causal(scores(query, key)).softmax(-1).permute(0, 2, 3, 1), module.talking)
    module.expected = weights.permute(0, 3, 1, 2)
    return module.expected @ value


# torch's own attention.


def sdpa_mask_and_scale(module, query, key, value):
    module.expected = causal(scores(query, key) * 8**0.5 * 0.7).softmax(-1)
    mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool).tril()
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=0.3, scale=0.7)


def sdpa_bias(module, query, key, value):
    bias = torch.linspace(-2, 2, HEADS * query.shape[2] * key.shape[2]).view(HEADS, query.shape[2], -1)
    module.expected = (scores(query, key) + bias).softmax(-1)
    return F.scaled_dot_product_attention(query, key, value, bias)


def sdpa_groups(module, query, key, value):
    key, value = key[:, :2], value[:, :2]
    module.expected = causal(scores(query, key.repeat_interleave(2, 1))).softmax(-1)
    return F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)


def sdpa_heads_in_the_batch(module, query, key, value):
    module.expected = causal(scores(query, key)).softmax(-1)
    query, key, value = (each.flatten(0, 1) for each in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value, is_causal=True).unflatten(0, (-1, HEADS))


def flex(module, query, key, value):
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention  # a second

    length = query.shape[2]
    mask = create_block_mask(lambda b, h, i, j: (i >= j) & (i - j < 5), None, None, length, length, device="cpu")
    distance = torch.arange(length)[:, None] - torch.arange(length)
    logits = scores(query, key) - 0.1 * distance
    module.expected = logits.masked_fill((distance < 0) | (distance >= 5), -torch.inf).softmax(-1)
    return flex_attention(query, key, value, score_mod=lambda score, b, h, i, j: score - 0.1 * (i - j), block_mask=mask)


@functools.cache
def compiled_core():
    return torch.compile(lambda query, key, value: causal(scores(query, key)).softmax(-1) @ value)


def compiled(module, query, key, value):
    module.expected = causal(scores(query, key)).softmax(-1)
    return compiled_core()(query, key, value)


# A softmax besides that is no attention.


def sdpa_and_a_gate(module, query, key, value):
    """The gate of two ways is (batch, heads, n, 2)."""
    module.expected = causal(scores(query, key)).softmax(-1)
    gate = torch.softmax(query[..., :2], -1)
    return F.scaled_dot_product_attention(query, key, value, is_causal=True) * gate[..., :1] + value * gate[..., 1:]


def attention_and_a_router(module, query, key, value):
    """As many experts as tokens: their outputs have an axis of queries, or no axis of the text."""
    module.expected = causal(scores(query, key)).softmax(-1)
    states = module.states
    routes = module.router(states).softmax(-1)
    experts = states[:, :, None] * torch.arange(len(IDS))[:, None]
    routed = torch.einsum("bne,bned->bnd", routes, experts) + routes @ module.table
    return module.expected @ value + routed.unflatten(-1, (HEADS, -1)).transpose(1, 2)


READ = {
    plain: "decoder",
    heads_in_the_batch: "encoder",
    heads_before_the_batch: "encoder",
    einsum: "encoder",
    keys_first: "encoder",
    one_key_head: "encoder",
    groups_of_heads: "encoder",
    sink: "decoder",
    masked_afterwards: "decoder",
    renormalised: "decoder",
    largest_two: "encoder",
    talking_heads: "decoder",
    talking_heads_by_a_matrix: "decoder",
    sdpa_mask_and_scale: "decoder",
    sdpa_bias: "encoder",
    sdpa_groups: "decoder",
    sdpa_heads_in_the_batch: "decoder",
    flex: "decoder",
    compiled: "decoder",
    sdpa_and_a_gate: "decoder",
    attention_and_a_router: "decoder",
}


@pytest.mark.parametrize("mix", READ, ids=lambda mix: mix.__name__)
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_the_weights_that_reach_the_values_are_read(mix: Mix) -> None:
    assert_read(model_of(mix), READ[mix])


@pytest.mark.parametrize("mix", [plain, sdpa_groups], ids=lambda mix: mix.__name__)
def test_it_needs_no_class_that_is_called_attention(mix: Mix) -> None:
    assert_read(model_of(mix, Mixer), "decoder")


@pytest.mark.parametrize("length", [1, 2, 3, 4, len(IDS)])
def test_texts_as_long_as_there_are_heads_or_shorter(length: int) -> None:
    model = model_of(sdpa_and_a_gate)
    ((stack,),) = stacks_of(model, [IDS[:length]])
    for pattern in stack.patterns:
        expected = model.layers[pattern.layer].mixer.expected[0, pattern.head].detach().numpy()
        np.testing.assert_allclose(pattern.weights, expected, atol=TOLERANCE)


# --- What is no attention, and what can't be read


def router_alone(module, query, key, value):
    return (query[..., :4].softmax(-1) @ query.new_ones(4, 8)) * value


def fixed_table(module, query, key, value):
    return (query @ module.table[:, :8].T).softmax(-1) @ module.table[:, :8]


def fused_table(module, query, key, value):
    table = module.table.unflatten(-1, (HEADS, -1)).transpose(0, 1)[None].expand(len(query), -1, -1, -1)
    return F.scaled_dot_product_attention(query, table, table)


def linear_attention(module, query, key, value):
    return query.softmax(-1) @ (key.softmax(-2).transpose(-1, -2) @ value)


def within_halves(module, query, key, value):
    """Each head's width in two halves beside the batch: which of the weights are a head's is unknown."""
    query, key, value = (
        each.unflatten(-1, (2, -1)).permute(0, 3, 1, 2, 4).flatten(0, 1) for each in (query, key, value)
    )
    mixed = (query @ key.transpose(-1, -2)).softmax(-1) @ value
    return mixed.unflatten(0, (-1, 2)).permute(0, 2, 3, 1, 4).flatten(3)


NO_ATTENTION = [router_alone, fixed_table, fused_table, linear_attention, within_halves]


@pytest.mark.parametrize("mix", NO_ATTENTION, ids=lambda mix: mix.__name__)
def test_what_mixes_no_values_along_the_text_is_no_attention(mix: Mix) -> None:
    with pytest.raises(ModelError, match="the attention of OwnModel can't be read"):
        heads(model=model_of(mix), input_ids=IDS)


def negative(module, query, key, value):
    return (scores(query, key).softmax(-1) - 0.9 * scores(key, query).softmax(-1)) @ value


def multiplied(module, query, key, value):
    return (scores(query, key).softmax(-1) * 3) @ value


def twice(module, query, key, value):
    return scores(query, key).softmax(-1) @ value - 0.3 * (scores(key, query).softmax(-1) @ value)


def fused_and_softmax(module, query, key, value):
    return F.scaled_dot_product_attention(query, key, value) + scores(key, query).softmax(-1) @ value


@pytest.mark.parametrize(
    ("mix", "why"),
    [
        (negative, "attention weights are partly negative"),
        (multiplied, "attention weights sum to more than 1"),
        (twice, "it multiplies weights with values more than once per call"),
        (fused_and_softmax, "it multiplies weights with values more than once per call"),
    ],
    ids=["negative", "multiplied", "twice", "fused_and_softmax"],
)
def test_weights_that_are_none_are_refused_with_a_reason(mix: Mix, why: str) -> None:
    with pytest.raises(ModelError, match=f"the attention of SelfAttention can't be read: .*{why}") as caught:
        heads(model=model_of(mix), input_ids=IDS)
    assert "use another model (-m)" in caught.value.hint


class ReturnsGate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.gate = SelfAttention(sdpa_groups), nn.Linear(WIDTH, HEADS * 2)

    @property
    def expected(self) -> Tensor:
        return self.attention.expected

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
        gate = self.gate(states).unflatten(-1, (HEADS, 2)).transpose(1, 2).softmax(-1)
        return self.attention(states) * gate[:, 0, :, :1], gate


def test_a_gate_that_a_module_hands_out_is_not_its_attention() -> None:
    torch.manual_seed(0)
    assert_read(OwnModel(nn.ModuleList([Block(ReturnsGate()) for _ in range(2)])).eval(), "decoder")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused_where_it_may_attend() -> None:
    class Traced(nn.Module):
        def forward(self, states: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(states, states, states)

    blocks = nn.ModuleList([Block(torch.jit.trace(Traced(), torch.randn(1, 7, WIDTH))) for _ in range(2)])
    with pytest.raises(ModelError, match=r"the attention of layers\.0\.mixer can't be read: .* TorchScript") as caught:
        heads(model=OwnModel(blocks).eval(), input_ids=IDS)
    assert "build the model from its Python code" in caught.value.hint
    model = model_of(plain)
    for block in model.layers:
        block.feed_forward = torch.jit.script(block.feed_forward)
    assert_read(model, "decoder")


# --- torch's own modules, against the weights that they hand out


class MultiHead(nn.Module):
    def __init__(self, **options: bool) -> None:
        super().__init__()
        self.inner, self.expected = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, **options), torch.empty(0)

    def forward(self, states: Tensor) -> Tensor:
        output, weights = self.inner(states, states, states, average_attn_weights=False)
        # Learned keys, and one of zeros, come after those of the text.
        self.expected = weights[..., : states.shape[1]]
        return output


@pytest.mark.parametrize("options", [{}, {"add_bias_kv": True, "add_zero_attn": True}], ids=["plain", "further-keys"])
def test_multi_head_attention(options: dict[str, bool]) -> None:
    torch.manual_seed(0)
    assert_read(OwnModel(nn.ModuleList([Block(MultiHead(**options)) for _ in range(2)])).eval(), "encoder")


def square_mask(states: Tensor) -> Tensor:
    return nn.Transformer.generate_square_subsequent_mask(states.shape[1])


def multi_head_weights(model: nn.Module, arguments: dict[str, Tensor]) -> dict[str, Tensor]:
    """What each `nn.MultiheadAttention` hands out, (batch, heads, queries, keys), by its path."""
    found: dict[str, Tensor] = {}

    def ask(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        return args, {**kwargs, "need_weights": True, "average_attn_weights": False}

    with torch.no_grad():
        for path, module in model.named_modules():
            if isinstance(module, nn.MultiheadAttention):
                module.register_forward_pre_hook(ask, with_kwargs=True)
                module.register_forward_hook(lambda _m, _i, out, path=path: found.update({path: out[1]}))
        model(**arguments)
    return found


def transformer_encoder(layers, states, attention_mask):
    return layers(states, src_key_padding_mask=attention_mask == 0)


def causal_encoder(layers, states, attention_mask):
    return layers(states, mask=square_mask(states), is_causal=True)


def encoder_and_decoder(layers, states, attention_mask):
    return layers(states, states, tgt_mask=square_mask(states))


SIZES = {"d_model": WIDTH, "nhead": HEADS, "dim_feedforward": 48}


@pytest.mark.parametrize(
    ("build", "run", "stacks"),
    [
        (nn.TransformerEncoder, transformer_encoder, {"encoder": False}),
        (nn.TransformerEncoder, causal_encoder, {"decoder": True}),
        (nn.TransformerDecoder, encoder_and_decoder, {"decoder": True, "cross": False}),
        (nn.Transformer, encoder_and_decoder, {"encoder": False, "decoder": True, "cross": False}),
    ],
    ids=["encoder", "causal-encoder", "decoder", "transformer"],
)
def test_torch_transformers(build: type[nn.Module], run: Callable[..., Tensor], stacks: dict[str, bool]) -> None:
    torch.manual_seed(0)
    layer = {nn.TransformerEncoder: nn.TransformerEncoderLayer, nn.TransformerDecoder: nn.TransformerDecoderLayer}
    if build is nn.Transformer:
        layers = nn.Transformer(**SIZES, num_encoder_layers=2, num_decoder_layers=2, batch_first=True)
    else:
        layers = build(layer[build](**SIZES, batch_first=True), 2)
    model = OwnModel(layers, run).eval()
    loaded = wrap_model(model)
    inputs = inputs_for(loaded, [IDS, IDS[:7]])
    found = read_heads_of_each(loaded, inputs, HeadsRequest(patterns=True))
    assert {stack.stack: stack.causal for stack in found[0]} == stacks
    weights = multi_head_weights(model, {key: inputs.arguments[key] for key in ("input_ids", "attention_mask")})
    for text, stack in ((text, stack) for text, each in enumerate(found) for stack in each):
        part = "encoder.layers" if stack.stack == "encoder" and build is nn.Transformer else "layers"
        name = "multihead_attn" if stack.stack == "cross" else "self_attn"
        real = inputs.main.real[text]
        for pattern in stack.patterns:
            (path,) = (
                path for path in weights
                if path.endswith(f"{part}.{pattern.layer}.{name}")
                and (build is not nn.Transformer or ("encoder" in path) == (stack.stack == "encoder"))
            )  # fmt: skip
            expected = weights[path][text, pattern.head][real][:, real].numpy()
            np.testing.assert_allclose(pattern.weights, expected, atol=TOLERANCE)


def test_attention_across_the_texts_of_a_batch_is_not_read() -> None:
    """What comes of `batch_first` forgotten: the first axis is taken for the sequence."""
    layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(**SIZES), 2, enable_nested_tensor=False)
    with pytest.raises(ModelError, match="can't be read: MultiheadAttention"):
        heads(model=OwnModel(layers, lambda layers, states, _: layers(states)).eval(), input_ids=IDS)


def test_the_fast_path_is_as_it_was_afterwards_and_after_an_error() -> None:
    for before in (True, False):
        torch.backends.mha.set_fastpath_enabled(before)
        try:
            heads(model=model_of(plain), input_ids=IDS)
            with pytest.raises(ModelError):
                heads(model=model_of(negative), input_ids=IDS)
            assert torch.backends.mha.get_fastpath_enabled() is before
        finally:
            torch.backends.mha.set_fastpath_enabled(True)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model_of(plain).modules())


# --- Modules that are called several times


class Chunks(nn.Module):
    """Hands its states to one module, so many at a time."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.inner, self.states = size, SelfAttention(plain), torch.empty(0)

    @property
    def expected(self) -> Tensor:
        query, key, _ = self.inner.qkv(self.states).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        place = torch.arange(self.states.shape[1])
        hidden = (place[:, None] // self.size != place // self.size) | (place > place[:, None])
        return scores(query, key).masked_fill(hidden, -torch.inf).softmax(-1)

    def forward(self, states: Tensor) -> Tensor:
        self.states = states
        return torch.cat([self.inner(chunk) for chunk in states.split(self.size, dim=1)], dim=1)


@pytest.mark.parametrize("size", [2, 4, 5, 6, 64])
def test_a_module_that_is_given_one_chunk_after_another_is_one_layer(size: int) -> None:
    """Also chunks of as many tokens as there are texts or heads, or as the text of the second run has."""
    torch.manual_seed(0)
    assert_read(OwnModel(nn.ModuleList([Block(Chunks(size)) for _ in range(2)])).eval(), "decoder")


def test_a_block_that_stands_several_times_in_a_list_is_a_layer_each_time() -> None:
    block = model_of(plain).layers[0]
    ((stack,),) = stacks_of(OwnModel(nn.ModuleList([block, block, block])).eval(), [IDS])
    assert [layer.heads for layer in stack.layers] == [HEADS] * 3
    assert len({pattern.weights.tobytes() for pattern in stack.patterns}) == 3 * HEADS


def test_characters_that_attend_in_chunks_are_one_layer() -> None:
    """CANINE's first layer: 40 characters in chunks of 16, each against what its own module computes."""
    config = transformers.CanineConfig(
        **{**tiny.COMMON, "num_hidden_layers": 1}, local_transformer_stride=16, num_hash_buckets=50
    )
    model = tiny.build(config)
    module = model.initial_char_encoder.layer[0].attention.self
    chunks: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Tensor, ...], _: object) -> None:
        query, key = (part(args[0]).unflatten(-1, (4, 8)).transpose(1, 2) for part in (module.query, module.key))
        chunks.append(scores(query, key).softmax(-1)[0].detach())

    module.register_forward_hook(keep)
    loaded = wrap_model(model)
    ((first, *_),) = read_heads_of_each(loaded, inputs_for(loaded, [list(range(5, 45))]), HeadsRequest(patterns=True))
    assert [layer.heads for layer in first.layers] == [4]
    assert [chunk.shape[1] for chunk in chunks] == [16, 16, 8]
    for pattern in first.patterns:
        expected = torch.block_diag(*(chunk[pattern.head] for chunk in chunks)).numpy()
        np.testing.assert_allclose(pattern.weights, expected, atol=TOLERANCE)
