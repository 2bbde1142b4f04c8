"""Random tokens, repeated: the text that shows which heads find earlier copies, and what followed them.

In natural text a repeated token may be guessed from its surroundings. Among random ones nothing but the repeat itself
tells what comes next (Olsson et al. 2022, "In-context learning and induction heads").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import torch

from attncli.attention.inputs import ModelInputs
from attncli.attention.metrics import Side
from attncli.errors import UsageError
from attncli.results.heads import Probe
from attncli.results.tokens import Token

if TYPE_CHECKING:
    from attncli.models.loading.loaded_model import LoadedModel

#: How many sequences, of how many different tokens, each how many times over.
SEQUENCES, TOKENS, REPEATS = 8, 25, 4


def fitting_probe(limit: int | None, ordinary: int, *, before: int, seed: int = 0) -> Probe:
    """The usual probe, or one of fewer tokens where the model takes fewer positions or has fewer tokens.

    before: how many special tokens come first.  Raises UsageError where not even two tokens can be repeated.
    """
    room = TOKENS if limit is None else (limit - before) // REPEATS
    tokens = min(TOKENS, room, ordinary)
    if tokens < 2:
        lack = f"{limit} positions" if room < 2 else f"{ordinary} ordinary tokens"
        raise UsageError(f"the model has {lack}, too few to repeat some", hint="give a text instead of --probe")
    return Probe(SEQUENCES, tokens, REPEATS, seed)


def probe_ids(probe: Probe, ordinary: Sequence[int], first: int | None = None) -> list[list[int]]:
    """The ids of every sequence: `first`, if there is one, then different random tokens, over and over.

    >>> probe_ids(Probe(sequences=1, tokens=2, repeats=3, seed=0), [5, 6, 7], first=1)
    [[1, 6, 7, 6, 7, 6, 7]]
    """
    chance = Random(probe.seed)
    begin = [] if first is None else [first]
    return [begin + chance.sample(ordinary, probe.tokens) * probe.repeats for _ in range(probe.sequences)]


def with_targets(model: LoadedModel, inputs: ModelInputs, texts: Sequence[Sequence[Token]]) -> ModelInputs:
    """An encoder–decoder's inputs with texts of one length for the decoder too, behind its start token."""
    start = Token(0, model.decoder_start, f"<{model.decoder_start}>", f"<{model.decoder_start}>", special=True)
    rows = [(start, *(token._replace(index=token.index + 1) for token in tokens)) for tokens in texts]
    ids = torch.tensor([[token.id for token in row] for row in rows])
    special = torch.tensor([[token.special for token in row] for row in rows])
    target = Side(ids, special, torch.ones_like(special), tuple(rows))
    return replace(inputs, arguments={**inputs.arguments, "decoder_input_ids": ids}, target=target)
