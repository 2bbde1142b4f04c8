"""A model cut to its first blocks: nothing of the others is read, and the states are those of the whole model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from attncli.errors import ModelError
from attncli.models.capture.structure import BlockList
from attncli.models.loading.loaded_model import LoadedModel, wrap_model
from attncli.models.loading.weights import Depth
from tests import tiny
from tests.opening import load

IDS = torch.tensor([[5, 7, 9, 11, 5, 7], [5, 8, 2, 1, 40, 41]])


mixtral = tiny.config_of("Mixtral", **tiny.GROUPED, head_dim=8, num_local_experts=4, num_experts_per_tok=2)
#: A hybrid: attention beside a state space.
falcon_h1 = tiny.config_of(
    "FalconH1", **tiny.GROUPED, head_dim=8, mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8, mamba_d_state=8,
    mamba_chunk_size=4,
)  # fmt: skip
#: A hybrid of linear and of full attention, with experts.
qwen3_next = tiny.config_of(
    "Qwen3Next", **tiny.GROUPED, head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16,
    shared_expert_intermediate_size=16, linear_num_value_heads=4, linear_num_key_heads=2, linear_key_head_dim=8,
    linear_value_head_dim=8, layer_types=["linear_attention", "full_attention", "linear_attention"],
)  # fmt: skip

FAMILIES: dict[str, tiny.Config] = {
    **tiny.FAMILIES,
    "mixtral": mixtral,
    "falcon_h1": falcon_h1,
    "qwen3_next": qwen3_next,
    "mamba": tiny.mamba,
    "fnet": tiny.fnet,
}


def first(**counts: int) -> Depth:
    """So many blocks of the stacks that these words name; `all` of the only one."""

    def depth(lists: list[BlockList]) -> Mapping[str, int]:
        found = {known.path: counts[known.word or "all"] for known in lists if (known.word or "all") in counts}
        return found if found else {lists[-1].path: counts["all"]}

    return depth


def states_of(model: LoadedModel, word: str | None = None) -> list[Tensor]:
    stack = next((known for known in model.lists if word is not None and known.word == word), model.lists[-1])
    arguments: dict[str, Tensor | bool] = {"input_ids": IDS}
    if model.config.is_encoder_decoder and word == "decoder":
        arguments["decoder_input_ids"] = IDS[:, :4]
    found: list[Tensor] = []
    count = model.run_states(stack, arguments, lambda number, state: found.insert(number, state.clone()))
    assert count == len(found)
    return found


def expected(model: LoadedModel, word: str | None = None) -> tuple[Tensor, ...]:
    """transformers' own hidden states."""
    with torch.no_grad():
        if not model.config.is_encoder_decoder:
            return model.module(input_ids=IDS, output_hidden_states=True).hidden_states
        output = model.module(input_ids=IDS, decoder_input_ids=IDS[:, :4], output_hidden_states=True)
    return output.encoder_hidden_states if word == "encoder" else output.decoder_hidden_states


def assert_equal(ours: list[Tensor], theirs: tuple[Tensor, ...] | list[Tensor]) -> None:
    assert len(ours) == len(theirs)
    for own, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, their, atol=0, rtol=0)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tiny.Folders:
    return tiny.Folders.of(tmp_path_factory.mktemp("depth"), FAMILIES)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in ("t5", "bart", "mamba")])
def test_states_are_what_transformers_calls_hidden_states(family: str) -> None:
    model = wrap_model(tiny.build(FAMILIES[family]()))
    assert_equal(states_of(model), expected(model))


def test_a_state_space_model_has_a_state_before_its_first_block_too() -> None:
    """Mamba's hidden_states leave out what enters the first block, and hold the last state with and without a norm."""
    model = wrap_model(tiny.build(tiny.mamba()))
    ours, theirs = states_of(model), expected(model)
    assert_equal([ours[1], ours[2]], [theirs[0], theirs[2]])
    torch.testing.assert_close(ours[0], model.module.embeddings(IDS), atol=0, rtol=0)


@pytest.mark.parametrize("family", ["t5", "bart"])
@pytest.mark.parametrize("word", ["encoder", "decoder"])
def test_states_of_both_stacks_of_an_encoder_decoder(family: str, word: str) -> None:
    model = wrap_model(tiny.build(FAMILIES[family]()))
    assert_equal(states_of(model, word), expected(model, word))


@pytest.mark.parametrize(
    "family", ["bert", "gpt2", "llama", "gpt_oss", "bloom", "mixtral", "qwen3_next", "mamba", "fnet"]
)
def test_later_blocks_are_never_read(saved: tiny.Folders, tmp_path: Path, family: str) -> None:
    whole = load(saved[family])
    blocks = whole.lists[-1].length
    path = _broken_from(saved[family], tmp_path, whole.lists[-1].path, blocks - 1)
    cut = load(path, depth=first(all=blocks - 1, encoder=blocks - 1))
    assert cut.lists[-1].length == blocks - 1 and len(cut.blocks[cut.lists[-1].path]) == blocks
    assert_equal(states_of(cut), states_of(whole)[:-1])


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_an_encoder_needs_no_decoder_and_a_decoder_the_whole_encoder(
    saved: tiny.Folders, tmp_path: Path, family: str
) -> None:
    whole = load(saved[family])
    encoder, decoder = (known.path for known in whole.lists)
    path = _broken_from(_broken_from(saved[family], tmp_path / "once", encoder, 1), tmp_path / "twice", decoder, 0)
    cut = load(path, depth=first(encoder=1, decoder=0))
    assert_equal(states_of(cut, "encoder"), states_of(whole, "encoder")[:2])
    path = _broken_from(saved[family], tmp_path / "decoder", decoder, 2)
    cut = load(path, depth=first(decoder=2))
    assert_equal(states_of(cut, "decoder"), states_of(whole, "decoder")[:3])


def _broken_from(folder: Path, target: Path, path: str, block: int) -> Path:
    """A copy of a model in which every number of the blocks from `block` on is NaN."""
    tensors = load_file(folder / "model.safetensors")
    later = re.compile(rf"(?:^|\.){re.escape(path)}\.(\d+)\.")
    broken = {name for name in tensors if (match := later.search(name)) and int(match[1]) >= block}
    assert broken
    target.mkdir(exist_ok=True)
    (target / "config.json").write_bytes((folder / "config.json").read_bytes())
    changed = {name: torch.full_like(t, float("nan")) if name in broken else t for name, t in tensors.items()}
    save_file(changed, target / "model.safetensors", metadata={"format": "pt"})
    return target


def test_later_shards_need_not_be_whole(tmp_path: Path) -> None:
    """Of a shard that holds later blocks alone nothing but its header is touched: the rest of it may be missing."""
    config = tiny.llama()
    config.num_hidden_layers = 6
    tiny.build(config).save_pretrained(tmp_path, max_shard_size="20KB")
    whole = states_of(load(tmp_path))
    last = sorted(tmp_path.glob("model-*.safetensors"))[-1]
    assert all(re.match(r"layers\.[45]\.|norm", name) for name in load_file(last))
    content = bytearray(last.read_bytes())
    start = int.from_bytes(content[:8], "little") + 8
    content[start:] = b"\xff" * (len(content) - start)
    last.write_bytes(content)
    assert_equal(states_of(load(tmp_path, depth=first(all=3))), whole[:4])


def test_a_block_that_runs_again_has_a_state_for_every_run(saved: tiny.Folders) -> None:
    whole = load(saved["albert"])
    assert whole.lists[-1].length == 1
    assert_equal(states_of(whole), expected(whole))


def test_states_that_are_not_one_for_each_token_are_refused() -> None:
    with pytest.raises(ModelError, match="the hidden states of XLNetLayer can't be read"):
        states_of(wrap_model(tiny.build(tiny.xlnet())))


def test_the_hooks_are_gone_afterwards_and_training_goes_on() -> None:
    module = tiny.build(tiny.bert()).train()
    model = wrap_model(module)
    assert_equal(states_of(model), states_of(model))
    assert module.training
    assert not any(block._forward_hooks or block._forward_pre_hooks for block in model.lists[0].blocks)
