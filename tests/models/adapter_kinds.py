"""Every kind of adapter in peft's registry on a tiny model: our patterns against those of `PeftModel` under eager.

    python -m tests.models.adapter_kinds [kinds]

A kind is built as its configuration class has it by default, but for its size, with random weights, and saved as peft
saves it. It is then looked at by `attncli.heads`, with all layers and with the middle one alone.
"""

from __future__ import annotations

import inspect
import logging
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

import attncli
from attncli.errors import AttnError
from tests import tiny

IDS = (5, 6, 7, 8, 5, 6, 7, 9, 10, 11, 12, 13)
TOLERANCE = 1e-4

#: Settings that a kind needs beside, or instead of, the usual ones.
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "LORA": {"lora_alpha": 8},
    "ADALORA": {"total_step": 10},
    "ADAPTION_PROMPT": {"adapter_len": 4, "adapter_layers": 2, "target_modules": None},
    "C3A": {"block_size": 16},
    "CPT": {"cpt_token_ids": [3, 4, 5], "cpt_mask": [1, 1, 1], "cpt_tokens_type_mask": [1, 2, 4]},
    "FOURIERFT": {"n_frequency": 40},
    "IA3": {"feedforward_modules": []},
    "LN_TUNING": {"target_modules": ["input_layernorm"]},
    "OFT": {"r": 0, "oft_block_size": 16},
    "ROAD": {"group_size": 16},
    # Its blocks are wrapped whole.
    "SHADOW": {"target_modules": None},
    "TRAINABLE_TOKENS": {"target_modules": ["embed_tokens"], "token_indices": [5, 6, 7]},
    "VBLORA": {"num_vectors": 8, "vector_length": 16},
    "WAVEFT": {"n_frequency": 40},
    "XLORA": {"hidden_size": 32, "adapters": {}},
}
USUAL: Mapping[str, Any] = {"target_modules": ["q_proj", "k_proj"], "r": 4, "rank": 4, "num_virtual_tokens": 3}


@dataclass(frozen=True)
class Outcome:
    """What became of a kind: `agrees`, `refused` or `differs`. detail: the deviation, or the reason."""

    kind: str
    result: str
    detail: str


def base_folder(folder: Path, config: transformers.PreTrainedConfig, cls: type[Any]) -> Path:
    """A tiny model with a head, saved, whose patterns aren't nearly even."""
    torch.manual_seed(0)
    model = cls(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name.lower() and parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape) * 0.25)
    model.save_pretrained(folder)
    return folder


def save_adapter(folder: Path, base: Path, cls: type[Any], config: Any, **options: Any) -> Path:
    """An adapter of a base with random weights, saved by peft. options: for loading the base."""
    import peft

    torch.manual_seed(1)
    model = peft.get_peft_model(cls.from_pretrained(base, **options), config)
    model.create_or_update_model_card = lambda _: None
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and parameter.is_floating_point() and "magnitude" not in name:
                parameter.add_(torch.randn(parameter.shape) * 0.3)
    model.save_pretrained(folder)
    return folder


def peft_model(base: Path, adapter: Path, cls: type[Any], **options: Any) -> Any:
    """The adapter as peft loads it, under eager attention."""
    import peft

    return peft.PeftModel.from_pretrained(
        cls.from_pretrained(base, attn_implementation="eager", **options), str(adapter)
    ).eval()


def peft_patterns(model: Any, ids: Sequence[int] = IDS, name: str = "attentions", **arguments: Any) -> np.ndarray:
    """The weights of every layer: (layers, heads, queries, keys)."""
    rows = torch.tensor([list(ids)])
    with torch.no_grad():
        output = model(input_ids=rows, attention_mask=torch.ones_like(rows), output_attentions=True, **arguments)
    return torch.cat(output[name]).numpy()


def heads_patterns(adapter: Path, **options: Any) -> np.ndarray:
    """The same by the whole verb, of the layers that it shows, and of the first stack."""
    return stack_patterns(adapter, **options)[0]


def stack_patterns(adapter: Path, **options: Any) -> list[np.ndarray]:
    """The same of every stack."""
    given = {"input_ids": list(IDS), "device": "cpu", "patterns": True, **options}
    stacks = attncli.heads(model=adapter, **given).stacks
    patterns = ([pattern.weights for pattern in stack.patterns] for stack in stacks)
    return [
        np.stack(weights).reshape(-1, stack.layers[0].heads, *weights[0].shape)
        for stack, weights in zip(stacks, patterns, strict=True)
    ]


def kinds() -> list[str]:
    from peft import PEFT_TYPE_TO_CONFIG_MAPPING

    return sorted(str(getattr(kind, "value", kind)) for kind in PEFT_TYPE_TO_CONFIG_MAPPING)


def kind_config(kind: str) -> Any:
    """A small configuration of a kind for a causal language model."""
    from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PeftType

    cls = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(kind)]
    accepted = inspect.signature(cls).parameters
    usual = {name: value for name, value in USUAL.items() if name in accepted}
    return cls(task_type="CAUSAL_LM", **{**usual, **SETTINGS.get(kind, {})})


def examine(kind: str, base: Path, folder: Path) -> Outcome:
    """Save an adapter of a kind and compare; the base is a tiny Llama with its head."""
    cls = transformers.AutoModelForCausalLM
    config = kind_config(kind)
    if kind == "XLORA":
        config.adapters = {"0": str(save_adapter(folder / "mixed", base, cls, kind_config("LORA")))}
    save_adapter(folder, base, cls, config, **({"use_cache": False} if kind == "XLORA" else {}))
    try:
        expected = peft_patterns(peft_model(base, folder, cls))
    except Exception as error:  # whatever peft raises is its reason
        expected, reason = None, repr(error)
    try:
        ours, middle = heads_patterns(folder), heads_patterns(folder, layer=1)
    except AttnError as error:
        return Outcome(kind, "refused" if expected is None else "differs", error.message)
    if expected is None:
        return Outcome(kind, "differs", f"peft refuses it: {reason}")
    plain = peft_patterns(cls.from_pretrained(base, attn_implementation="eager"))
    apart = max(np.abs(ours - expected).max(), np.abs(middle - expected[1:2]).max())
    effect = np.abs(expected[..., -plain.shape[-2] :, -plain.shape[-1] :] - plain).max()
    result = "agrees" if apart < TOLERANCE and effect > 100 * TOLERANCE else "differs"
    return Outcome(kind, result, f"to {apart:.1e}, and from its base by {effect:.2f}")


def sweep(chosen: Sequence[str]) -> Iterator[Outcome]:
    with tempfile.TemporaryDirectory() as name:
        base = base_folder(Path(name) / "base", tiny.llama(), transformers.LlamaForCausalLM)
        for kind in chosen:
            try:
                yield examine(kind, base, Path(name) / kind)
            except Exception as error:  # one that can't even be built is an outcome as well
                yield Outcome(kind, "not built", repr(error))


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    for outcome in sweep(sys.argv[1:] or kinds()):
        print(f"{outcome.kind:24} {outcome.result:10} {outcome.detail}", flush=True)


if __name__ == "__main__":
    main()
