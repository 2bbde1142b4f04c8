"""Training of `builtin:induction`, a small model with induction heads; writes the model's folder.

    python -m attncli.models.builtin.train_induction FOLDER

Two layers of four heads learn to continue rows of random bytes, each of which repeats with its own period. Byte
frequencies don't help; the circuit that Olsson et al. (2022, "In-context Learning and Induction Heads") describe does:
a head of layer 0 attends to the previous token, so that heads of layer 1 can find the token that followed an earlier
copy of the current one. The tokenizer has one token for each of the 256 bytes, so that it can encode any text.

Takes about six minutes on one core. The seed is fixed. Another version of torch, or another number of threads, may
round differently and so give other weights, but the same kinds of heads. No module of attncli imports this one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SEED = 1
REPORT_EVERY = 100

BYTES = 256


class Phase(NamedTuple):
    """Training steps on batches (rows, length) with periods between `shortest` and `longest`.

    A row must contain its period at least twice, and no period may be longer than 256 bytes.
    """

    steps: int
    rows: int
    length: int
    shortest: int
    longest: int


#: First short rows, then long ones: on long rows the heads take too long to form, and after short rows alone they fail
#: beyond that length, as they haven't learned to ignore more distant tokens.
PHASES = (
    Phase(steps=1_600, rows=32, length=128, shortest=8, longest=60),
    Phase(steps=400, rows=8, length=512, shortest=8, longest=240),
)

LEARNING_RATE = 3e-3
#: For queries and keys. Attention is sharp if its scores are large; with a lower rate, four blurred heads together soon
#: predict well, and little gradient is left to sharpen each of them.
ATTENTION_RATE = 6e-3
WARM_UP = 100

#: The probe on which heads are measured: PERIOD random bytes, repeated, as in `attn heads --probe`.
PROBE_PERIOD, PROBE_REPEATS, PROBE_ROWS = 25, 4, 16


def config() -> LlamaConfig:
    """The architecture. With learned absolute positions instead of rotary ones, the heads don't form in so few steps.

    Queries and keys have a bias, so that a score can depend on the distance alone, as attention to the previous token
    needs; without it several heads share that work.
    """
    return LlamaConfig(
        vocab_size=BYTES,
        hidden_size=128,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        attention_bias=True,
        # Rotary positions have no limit, but beyond the longest training rows the heads get less sharp.
        max_position_embeddings=8192,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )


def periodic_bytes(phase: Phase, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A batch of ids and labels, (rows, length) each.

    No byte occurs twice in a period, so that the last byte alone determines the next. The first period can't be
    predicted; its labels are -100, which the loss ignores.
    """
    alphabets = torch.rand(phase.rows, BYTES, generator=generator).argsort(dim=1)
    periods = torch.randint(phase.shortest, phase.longest + 1, (phase.rows, 1), generator=generator)
    positions = torch.arange(phase.length).expand(phase.rows, -1)
    ids = alphabets.gather(1, positions % periods)
    return ids, ids.masked_fill(positions < periods, -100)


def train(phases: Sequence[Phase], seed: int, report: Callable[[int, float], None]) -> LlamaForCausalLM:
    """Train the model. After each step, `report` is called with its number, from 1, and the loss in nats per token."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = LlamaForCausalLM(config())
    optimizer = _optimizer(model)
    steps = [phase for phase in phases for _ in range(phase.steps)]
    schedule = LambdaLR(optimizer, lambda done: min((done + 1) / WARM_UP, 1 - done / len(steps)))
    for number, phase in enumerate(steps, start=1):
        ids, labels = periodic_bytes(phase, generator)
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        report(number, loss.item())
    return model.eval()


def _optimizer(model: LlamaForCausalLM) -> AdamW:
    """AdamW without weight decay, which would favour several heads that each attend a little to the previous token."""
    parameters = list(model.named_parameters())
    attention = [tensor for name, tensor in parameters if "q_proj" in name or "k_proj" in name]
    others = [tensor for name, tensor in parameters if "q_proj" not in name and "k_proj" not in name]
    groups = [{"params": attention, "lr": ATTENTION_RATE}, {"params": others, "lr": LEARNING_RATE}]
    return AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)


def probe_bytes(seed: int) -> Tensor:
    """Random bytes that repeat, (PROBE_ROWS, PROBE_PERIOD · PROBE_REPEATS); a byte may occur twice in a period."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(BYTES, (PROBE_ROWS, PROBE_PERIOD), generator=generator).repeat(1, PROBE_REPEATS)


@torch.no_grad()
def head_scores(model: LlamaForCausalLM, ids: Tensor) -> tuple[list[float], list[float]]:
    """The mean attention of each head of layer 0 to the previous token, and of each head of layer 1 to the tokens that
    followed earlier copies of the current one (Olsson et al. 2022), over the queries that have such a token.
    """
    model.set_attn_implementation("eager")
    first, second = model(input_ids=ids, output_attentions=True).attentions
    model.set_attn_implementation("sdpa")
    follows = torch.zeros(*ids.shape, ids.shape[1], dtype=torch.bool)
    follows[:, :, 1:] = ids[:, :, None] == ids[:, None, :-1]
    follows = follows.tril(-1)
    induction = (second * follows[:, None]).sum(-1).transpose(0, 1)[:, follows.any(-1)].mean(-1)
    return first.diagonal(-1, 2, 3).mean((0, 2)).tolist(), induction.tolist()


def byte_tokenizer() -> Tokenizer:
    """Byte-level BPE without merges: the id of a token is the value of its byte."""
    vocabulary = {character: byte for byte, character in enumerate(_byte_characters())}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _byte_characters() -> list[str]:
    """The character that stands for each byte in byte-level BPE (Radford et al. 2019, GPT-2's `bytes_to_unicode`).

    A byte that is a printable character in Latin-1 stands for itself; the others take the characters from U+0100 on.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (byte for byte in range(256) if byte not in printable)
    moved = {byte: 0x100 + place for place, byte in enumerate(others)}
    return [chr(moved.get(byte, byte)) for byte in range(256)]


def save_model(model: LlamaForCausalLM, folder: Path) -> None:
    """Write the model and its tokenizer into a folder as on the hub. Raises OSError if that fails."""
    model.save_pretrained(folder)
    # Settings for sampling, which aren't needed.
    (folder / "generation_config.json").unlink(missing_ok=True)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=byte_tokenizer(), model_max_length=model.config.max_position_embeddings
    )
    tokenizer.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train builtin:induction and write its folder.")
    parser.add_argument("folder", type=Path, help="where to write the model, for example ./induction")
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    # Fails before the training, not after it, if the folder can't be created.
    arguments.folder.mkdir(parents=True, exist_ok=True)
    model = train(PHASES, arguments.seed, _print_loss)
    previous, induction = head_scores(model, probe_bytes(seed=0))
    print(f"previous token:  {_format_scores(0, previous)}\ninduction:       {_format_scores(1, induction)}")
    save_model(model, arguments.folder)


def _print_loss(step: int, loss: float) -> None:
    if step % REPORT_EVERY == 0:
        print(f"step {step:,} of {sum(phase.steps for phase in PHASES):,}: loss {loss:.3f}", flush=True)


def _format_scores(layer: int, scores: list[float]) -> str:
    return "  ".join(f"{layer}.{head} {score:.3f}" for head, score in enumerate(scores))


if __name__ == "__main__":
    main()
