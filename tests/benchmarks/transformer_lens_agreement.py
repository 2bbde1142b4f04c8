"""Direct effects and zero ablation of heads, against TransformerLens (`pip install transformer-lens`, 4 or later).

    python -m tests.benchmarks.transformer_lens_agreement

GPT-2 and Llama shapes with random weights, which both tools get: the largest difference of any head's effect, and the
time of both kinds for all heads, ours over theirs.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from importlib import import_module
from random import Random
from typing import Any

TOKENS, VOCABULARY, ANSWER, CONTRAST = 24, 400, 5, 7

#: By how much an effect may differ, of logits that are differences of a few units.
_TOLERANCE = 1e-4

#: Layer and head to an effect.
Heads = dict[tuple[int, int], float]


def main() -> None:
    ids = Random(0).choices(range(VOCABULARY), k=TOKENS)
    print(f"{'shape':<8} {'heads':>5}  {'direct':>8}  {'zero':>8}  {'largest effect':>14}  time")
    for name, make in (("gpt2", _gpt2), ("llama", _llama)):
        model = make()
        ours(model, ids)  # so that no import is measured
        (direct, zero), seconds = _timed(lambda: ours(model, ids))  # noqa: B023
        bridge = _bridge(model)
        (their_direct, their_zero), their_seconds = _timed(lambda: theirs(bridge, ids))  # noqa: B023
        apart = largest_difference(direct, their_direct), largest_difference(zero, their_zero)
        largest = max(map(abs, (*direct.values(), *zero.values())))
        print(f"{name:<8} {len(zero):>5}  {apart[0]:>8.1e}  {apart[1]:>8.1e}  {largest:>14.2f}  "
              f"{seconds / their_seconds:.2f}")  # fmt: skip
        assert max(apart) <= _TOLERANCE, f"{name}: effects differ by {max(apart):.2e}"


def ours(model: Any, ids: list[int]) -> tuple[Heads, Heads]:
    """Direct effects and those of zero ablation."""
    import attncli

    result = attncli.heads(input_ids=ids, model=model, effect=("direct", "zero"), answer=ANSWER, contrast=CONTRAST)
    effects = result.stacks[0].effects
    return tuple({(each.layer, each.head): each.values[kind] for each in effects} for kind in ("direct", "zero"))  # type: ignore[return-value]


def theirs(bridge: Any, ids: list[int]) -> tuple[Heads, Heads]:
    """The same by TransformerLens: `logit_attrs` of every head's result, and a run with a hook for every head."""
    import torch

    row = torch.tensor([ids])
    with torch.no_grad():
        logits, cache = bridge.run_with_cache(row)
        results = cache.stack_head_results(layer=-1, pos_slice=-1)
        shares = cache.logit_attrs(results, tokens=ANSWER, incorrect_tokens=CONTRAST, pos_slice=-1).flatten().tolist()
        base = _outcome(logits)
        layers, heads = bridge.cfg.n_layers, bridge.cfg.n_heads
        places = [(layer, head) for layer in range(layers) for head in range(heads)]
        zero = {
            (layer, head): base
            - _outcome(bridge.run_with_hooks(row, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", _without(head))]))
            for layer, head in places
        }
    return dict(zip(places, shares, strict=True)), zero


def largest_difference(one: Heads, other: Heads) -> float:
    assert one.keys() == other.keys()
    return max(abs(one[place] - other[place]) for place in one)


def _outcome(logits: Any) -> float:
    return float(logits[0, -1, ANSWER] - logits[0, -1, CONTRAST])


def _without(head: int) -> Callable[..., Any]:
    def zero(z: Any, hook: Any) -> Any:
        changed = z.clone()
        changed[:, :, head] = 0
        return changed

    return zero


def _bridge(model: Any) -> Any:
    """TransformerLens reads the configuration from a folder, and changes the weights in place: it gets a copy."""
    # By its name, as type checkers need not have it.
    boot = import_module("transformer_lens.model_bridge").TransformerBridge.boot_transformers
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        _tokenizer().save_pretrained(folder)
        bridge = boot(folder, hf_model=deepcopy(model), device="cpu")
    bridge.enable_compatibility_mode(disable_warnings=True)
    return bridge


def _tokenizer() -> Any:
    """It isn't used, but has to be there."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words = {f"w{number}": number for number in range(VOCABULARY)}
    made = Tokenizer(WordLevel(words, unk_token="w0"))
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="w1", eos_token="w1", pad_token="w1")


def _gpt2() -> Any:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(n_embd=96, n_layer=4, n_head=6, vocab_size=VOCABULARY, n_positions=64, initializer_range=0.2)
    return GPT2LMHeadModel(config).eval()


def _llama() -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=96, intermediate_size=256, num_hidden_layers=4, num_attention_heads=6, num_key_value_heads=3,
        vocab_size=VOCABULARY, initializer_range=0.2,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def _timed(run: Callable[[], tuple[Heads, Heads]]) -> tuple[tuple[Heads, Heads], float]:
    start = time.process_time()
    found = run()
    return found, time.process_time() - start


if __name__ == "__main__":
    main()
