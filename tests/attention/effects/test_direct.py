"""Direct effects against runs that lack one part each, and their sum."""

from __future__ import annotations

import copy

import pytest
from torch import Tensor

from attncli.attention.effects.direct import DirectEffects, direct_effects
from attncli.attention.effects.prediction import RecordedRun
from tests.attention.effects.predicting import DIFFERENCE, POSITION, PREDICTING, run_of
from tests.attention.effects.replay import naive_shares


def shares_by_name(run: RecordedRun, found: DirectEffects) -> dict[str, float]:
    """The shares of heads under the names that views give them, and those of the other parts."""
    shares = dict(found.parts)
    for (path, call), heads in found.heads.items():
        site = run.model.site_of(path)
        prefix = f"{'cross.' if site.cross else ''}{site.block + call}"
        shares |= {f"{prefix}.{head}": share for head, share in enumerate(heads)}
    return shares


@pytest.mark.parametrize("family", PREDICTING)
def test_shares_are_what_a_run_without_the_part_lacks(family: str) -> None:
    run = run_of(family)
    found = direct_effects(run, DIFFERENCE)
    exact = copy.deepcopy(run.model.module).double()
    exact.set_attn_implementation("eager")
    exact.set_experts_implementation("eager")
    arguments = {name: value for name, value in run.arguments.items() if isinstance(value, Tensor)}
    outcome, expected = naive_shares(
        exact,
        PREDICTING[family][1],
        arguments,
        lambda logits: logits[:, POSITION, 7] - logits[:, POSITION, 11],
        heads=4,
        stack=run.model.lists[-1].path,
    )
    shares = shares_by_name(run, found)
    assert {name for name, share in expected.items() if abs(share) > 1e-9} <= shares.keys()
    for name, share in expected.items():
        assert shares.get(name, 0.0) == pytest.approx(share, abs=1e-4), name
    # What the replay doesn't cover: biases behind the last block.
    assert {name for name in shares.keys() - expected.keys() if not name.startswith("unembedding.")} == set()
    assert sum(shares.values()) == pytest.approx(outcome, abs=1e-4 * max(1, abs(outcome)))
    assert abs(found.unexplained) < 1e-4 * max(1, abs(outcome))
