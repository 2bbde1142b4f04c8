"""Whether the state that separates labels best does so for other occurrences, too.

The best of many states looks better than it is. So it is chosen on a random half of the occurrences of each label, and
its separation is measured on the other half, over and over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from attncli.embeddings.measure import Floats, Indices
from attncli.results.compare import HeldOut

#: How often the occurrences are halved, and the fewest of a label: two in a half have one pair.
_HALVINGS, _LEAST = 20, 4


@dataclass
class Halvings:
    """Sums of unit vectors over random halves of the occurrences of each label, state by state.

    halves: 1 for the members of each half, (halvings, 2, labels, rows).  sums: by state, (halvings, 2, labels, d).
    squares: of the vectors' lengths, by state, (halvings, 2, labels).
    """

    halves: Floats
    sums: dict[int, Floats] = field(default_factory=dict)
    squares: dict[int, Floats] = field(default_factory=dict)

    @classmethod
    def draw(cls, labels: Sequence[str | None], labelled: Indices, seed: int) -> Halvings | None:
        """Halve the labelled rows of each label, (rows,); None for one label, and for fewer than four of any."""
        names = sorted({str(labels[row]) for row in labelled})
        members = [np.array([row for row in labelled if labels[row] == name]) for name in names]
        if len(members) < 2 or min(map(len, members)) < _LEAST:
            return None
        rng = np.random.default_rng(seed)
        halves = np.zeros((_HALVINGS, 2, len(members), len(labels)))
        for halving in halves:
            for place, own in enumerate(members):
                drawn = rng.permutation(own)
                halving[0, place, drawn[: len(own) // 2]] = 1
                halving[1, place, drawn[len(own) // 2 :]] = 1
        return cls(halves)

    def add(self, state: int, rows: Indices, units: Floats) -> None:
        """Add the unit vectors, (n, d), of some rows at one state."""
        members = self.halves[..., rows]
        self.sums[state] = self.sums.get(state, 0) + members @ units
        self.squares[state] = self.squares.get(state, 0) + members @ (units * units).sum(axis=1)

    def separation(self, state: int) -> Floats:
        """Mean cosine within labels minus that across labels, of each half, (halvings, 2)."""
        sums, sizes = self.sums[state], self.halves.sum(axis=-1)
        inside, total = (sums * sums).sum(axis=(-2, -1)), sums.sum(axis=-2)
        within = (sizes * (sizes - 1)).sum(axis=-1)
        across = sizes.sum(axis=-1) ** 2 - (sizes**2).sum(axis=-1)
        return np.asarray(
            (inside - self.squares[state].sum(axis=-1)) / within - ((total * total).sum(axis=-1) - inside) / across
        )

    def held_out(self) -> HeldOut:
        """The separation on one half at the state that separates the other half best (the first of equal ones)."""
        states = sorted(self.sums)
        separations = np.stack([self.separation(state) for state in states])
        best = separations[:, :, 0].argmax(axis=0)
        held = separations[best, np.arange(len(best)), 1]
        chosen = [states[index] for index in best.tolist()]
        most = max(dict.fromkeys(sorted(chosen)), key=chosen.count)
        return HeldOut(float(held.mean()), most, chosen.count(most), len(chosen))
