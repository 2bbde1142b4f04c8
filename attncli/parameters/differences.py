"""Several models, component by component."""

from __future__ import annotations

from collections.abc import Sequence

from attncli.results.parameters import COMPONENTS, ParameterCount
from attncli.results.params import Difference


def differences(counts: Sequence[ParameterCount]) -> tuple[Difference, ...]:
    """Every component that any of the models has, aligned by part and component; nothing for one model.

    Models of one part each are compared whatever their parts are called.
    """
    if len(counts) < 2:
        return ()
    alone = all(len({component.part for component in count.components}) == 1 for count in counts)
    name = counts[0].components[0].part if alone else None
    tables = [
        {(name or component.part, component.component): component.parameters for component in count.components}
        for count in counts
    ]
    parts = {part: index for index, part in enumerate(dict.fromkeys(part for table in tables for part, _ in table))}
    keys = sorted({key for table in tables for key in table}, key=lambda key: (parts[key[0]], COMPONENTS.index(key[1])))
    return tuple(Difference(*key, tuple(table.get(key, 0) for table in tables)) for key in keys)
