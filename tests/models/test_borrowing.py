"""A loaded model is borrowed: one thread at a time, in whatever surroundings, and it is as it was afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

import attncli
from attncli.attention import collector
from attncli.attention.inputs import build_inputs
from attncli.errors import ModelError
from attncli.models.loading.loaded_model import wrap_model
from tests import tiny
from tests.tokens.vocabularies import byte_bpe

IDS = [5, 6, 7, 8, 5, 6, 7, 9, 10, 11, 12, 13]
MOLES = ["shrew mole", "a mole of gas", "the mole was a spy"]


def numbers(result: Any) -> list[Any]:
    """Everything in a result, in order."""

    def walk(value: Any) -> Iterator[Any]:
        for part in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
            yield from walk(part)
        if not isinstance(value, dict | list | tuple):
            yield value if not isinstance(value, float) else pytest.approx(value, abs=1e-6)

    return list(walk(result.to_dict()))


def state_of(model: nn.Module) -> list[Any]:
    """What a run could leave behind: attributes, modes, hooks, submodules and configurations."""
    found: list[Any] = []
    for part in model.modules():
        for name, value in vars(part).items():
            content = [*value.items()] if isinstance(value, dict) else value
            if isinstance(value, dict):
                content = [(key, id(each)) for key, each in value.items()]
            found.append((name, id(content) if isinstance(content, Tensor) else content))
        found.append([(name, parameter.requires_grad) for name, parameter in part.named_parameters(recurse=False)])
        if isinstance(part, transformers.PreTrainedModel):
            found.append(dict(vars(part.config)))
    return found


@pytest.fixture(scope="module")
def llama() -> transformers.PreTrainedModel:
    return transformers.LlamaForCausalLM(tiny.llama()).eval()


# --- Threads


def test_threads_take_turns_on_one_model(llama: transformers.PreTrainedModel) -> None:
    """It gave up to six layers for three, errors, and left its attention function behind."""
    config = tiny.bert()
    config.vocab_size = 400
    bert, before = tiny.build(config), state_of(llama)
    calls: list[Callable[[], Any]] = [
        lambda: attncli.heads(input_ids=IDS, model=llama),
        lambda: attncli.heads(input_ids=IDS, model=llama.model, norm_weighted=True, head="1.1"),
        lambda: attncli.heads(input_ids=IDS, model=llama, steps=True, head="1.1"),
        lambda: attncli.heads(input_ids=IDS, model=bert, norm_weighted=True, head="1.1"),
        lambda: attncli.compare("mole", MOLES, model=bert, tokenizer=byte_bpe(), reference=[], state="all"),
    ]
    alone = [numbers(call()) for call in calls]
    with ThreadPoolExecutor(6) as threads:
        together = list(threads.map(lambda call: numbers(call()), calls * 3))
    assert [[str(each) for each in row] for row in together] == [[str(each) for each in row] for row in alone * 3]
    assert state_of(llama) == before


# --- Afterwards


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_model_is_as_it_was_after_an_error(error: type[BaseException]) -> None:
    model = tiny.build(tiny.llama()).train()
    model.layers[1].mlp.eval()
    model.layers[0].requires_grad_(False)
    model.register_forward_hook(lambda *_: None)
    before, loaded = state_of(model), wrap_model(model)

    def interrupt(path: str, _: Any) -> None:
        if path.startswith("layers.1"):
            raise error

    with pytest.raises((error, ModelError)):
        loaded.run_attention(build_inputs(loaded, [tiny.tokens(IDS)]).arguments, interrupt)
    with pytest.raises((error, ModelError)):
        loaded.run_states(loaded.lists[0], {"input_ids": torch.tensor([IDS])}, lambda *_: interrupt("layers.1", None))
    assert state_of(model) == before


def test_dropout_is_off_and_every_module_is_put_back_into_its_mode() -> None:
    config = tiny.bert()
    config.attention_probs_dropout_prob = config.hidden_dropout_prob = 0.5
    model = tiny.build(config)
    expected = numbers(attncli.heads(input_ids=IDS, model=model))
    model.train()
    model.encoder.layer[1].eval()
    before = state_of(model)
    assert numbers(attncli.heads(input_ids=IDS, model=model)) == expected
    assert state_of(model) == before


def test_a_model_that_changes_itself_is_put_back() -> None:
    """BigBird drops its sparse attention for good at the first short text: a long one afterwards had other states."""
    config = transformers.BigBirdConfig(**tiny.COMMON, block_size=4, num_random_blocks=1, max_position_embeddings=64)
    model, long = tiny.build(config), torch.arange(3, 51)[None]
    with torch.no_grad():
        sparse = model(long).last_hidden_state
    before = state_of(model)
    attncli.heads(input_ids=IDS, model=model)
    assert state_of(model) == before and model.attention_type == "block_sparse"
    with torch.no_grad():
        assert torch.equal(model(long).last_hidden_state, sparse)


# --- Surroundings


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


SURROUNDINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference mode": torch.inference_mode,
    "gradients": torch.enable_grad,
    "another device": lambda: torch.device("meta"),
    "float64 by default": lambda: default_dtype(torch.float64),
    "bfloat16 by default": lambda: default_dtype(torch.bfloat16),
    "deterministic": deterministic,
}


@pytest.fixture(scope="module")
def calls(llama: transformers.PreTrainedModel) -> dict[str, tuple[Callable[[], Any], list[Any]]]:
    """One of each way to compute, with the numbers that it gives."""
    config = tiny.bert()
    config.vocab_size = 400
    bert = tiny.build(config)
    found: dict[str, Callable[[], Any]] = {
        "heads": lambda: attncli.heads(input_ids=IDS, model=llama, patterns=True),
        "rollout": lambda: attncli.heads(input_ids=IDS, model=bert, rollout=True),
        "texts": lambda: attncli.heads(input_ids=[IDS, IDS[:5]], model=bert),
        "steps": lambda: attncli.heads(input_ids=IDS, model=llama, steps=True, head="1.1"),
        "generate": lambda: attncli.heads(input_ids=IDS, model=llama, generate=2),
        "effects": lambda: attncli.heads(input_ids=IDS, model=llama, effect=("direct", "zero"), answer=3),
        "compare": lambda: attncli.compare("mole", MOLES, model=bert, tokenizer=byte_bpe(), reference=MOLES * 3),
    }
    return {name: (call, numbers(call())) for name, call in found.items()}


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_what_the_caller_has_set_changes_no_number(name: str, calls: dict[str, tuple[Any, Any]]) -> None:
    for call, expected in calls.values():
        with SURROUNDINGS[name]():
            assert numbers(call()) == expected


@pytest.mark.parametrize("name", ["autocast", "bfloat16 by default", "deterministic"])
def test_nor_where_no_matrix_is_built(
    name: str, calls: dict[str, tuple[Any, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "MAX_EXPLICIT_WEIGHTS", 16)
    for key in ("heads", "texts"):
        call, _ = calls[key]
        expected = numbers(call())
        with SURROUNDINGS[name]():
            assert numbers(call()) == expected


# --- Wrappers


def compiled_in_place(model: transformers.PreTrainedModel) -> nn.Module:
    model.compile()
    return model


def compiled_forward(model: transformers.PreTrainedModel) -> nn.Module:
    model.forward = torch.compile(model.forward)
    return model


def compiled_layers(model: transformers.PreTrainedModel) -> nn.Module:
    for index, layer in enumerate(model.model.layers):
        model.model.layers[index] = torch.compile(layer)
    return model


WRAPPERS: dict[str, Callable[[transformers.PreTrainedModel], nn.Module]] = {
    "torch.compile": lambda model: torch.compile(model),
    "model.compile": compiled_in_place,
    "compiled forward": compiled_forward,
    "compiled layers": compiled_layers,
    "DataParallel": nn.DataParallel,
    "both": lambda model: torch.compile(nn.DataParallel(model)),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrappers_are_taken_off(name: str, llama: transformers.PreTrainedModel) -> None:
    model = transformers.LlamaForCausalLM(tiny.llama()).eval()
    model.load_state_dict(llama.state_dict())
    expected = attncli.heads(input_ids=IDS, model=llama, head="2.1")
    found = attncli.heads(input_ids=IDS, model=WRAPPERS[name](model), head="2.1")
    assert found.stacks[0].patterns[0].weights == pytest.approx(expected.stacks[0].patterns[0].weights, abs=1e-6)
    assert [head.values for head in found.stacks[0].metrics] == [head.values for head in expected.stacks[0].metrics]


@pytest.mark.parametrize("kind", [{}, {"use_dora": True}, {"modules_to_save": ["lm_head"]}], ids=str)
def test_an_adapter_inside_the_model_is_read(kind: dict[str, Any]) -> None:
    peft = pytest.importorskip("peft", reason="the extra adapters isn't installed")
    base = transformers.LlamaForCausalLM(tiny.llama()).eval()
    lora = peft.LoraConfig(init_lora_weights=False, r=4, lora_alpha=64, target_modules=["q_proj", "k_proj"], **kind)
    model = peft.get_peft_model(base, lora).eval()
    found = attncli.heads(input_ids=IDS, model=model, head="2.1").stacks[0].patterns[0].weights
    base.set_attn_implementation("eager")
    with torch.no_grad():
        expected = model(torch.tensor([IDS]), output_attentions=True).attentions[2][0, 1]
    assert found == pytest.approx(expected.numpy(), abs=1e-4)


@pytest.mark.parametrize("kind", ["prompt", "aLoRA"])
def test_an_adapter_around_the_model_is_run(kind: str) -> None:
    """The model inside would give the numbers of the base, as if there were no adapter."""
    peft = pytest.importorskip("peft", reason="the extra adapters isn't installed")
    lora = {"alora_invocation_tokens": IDS[1:3], "target_modules": ["q_proj"], "init_lora_weights": False}
    config = (
        peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
        if kind == "prompt"
        else peft.LoraConfig(task_type="CAUSAL_LM", **lora)
    )
    base = transformers.LlamaForCausalLM(tiny.llama()).eval()
    plain = attncli.heads(input_ids=IDS, model=base, head="2.1").stacks[0].patterns[0].weights
    model = peft.get_peft_model(base, config)
    found = attncli.heads(input_ids=IDS, model=torch.compile(model), head="2.1").stacks[0].patterns[0].weights
    base.set_attn_implementation("eager")
    ids = torch.tensor([IDS])
    with torch.no_grad():
        expected = model.eval()(ids, attention_mask=torch.ones_like(ids), output_attentions=True).attentions[2][0, 1]
    assert found == pytest.approx(expected.numpy(), abs=1e-4)
    assert found.shape != plain.shape or np.abs(found - plain).max() > 1e-3


def test_a_model_without_numbers_is_refused() -> None:
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(tiny.llama())
    for surroundings in (nullcontext(), torch.device("meta")):
        with surroundings, pytest.raises(ModelError, match="on the meta device"):
            attncli.heads(input_ids=IDS, model=model)
