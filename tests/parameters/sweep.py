"""Every model type of transformers with its default configuration: is it counted exactly, and what is left in `other`?

Run it as `python -m tests.parameters.sweep` for the table; `--other` lists the tensors behind each share of `other`.
"""

from __future__ import annotations

import argparse
import logging
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

TEXT_PARTS = {"text", "encoder", "decoder"}


class Outcome(NamedTuple):
    """What came of one model type. reason: why it can't be built; None where it was."""

    model_type: str
    model_class: str = ""
    total: int = 0
    module_total: int = 0
    components_total: int = 0
    other: int = 0
    parts: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    reason: str | None = None

    @property
    def exact(self) -> bool:
        return self.total == self.module_total == self.components_total

    @property
    def other_share(self) -> float:
        return self.other / self.total if self.total else 0.0

    @property
    def is_text(self) -> bool:
        return set(self.parts) <= TEXT_PARTS


def sweep(model_types: Sequence[str] | None = None, workers: int | None = None) -> list[Outcome]:
    """Count every model type, in the order of their names."""
    from transformers import CONFIG_MAPPING

    chosen = sorted(CONFIG_MAPPING.keys()) if model_types is None else list(model_types)
    # Neighbours in the alphabet share modules, which each process has to import anew.
    # A copy of a process whose torch has threads may wait for them for ever, so each starts afresh.
    fresh = get_context("spawn")
    with ProcessPoolExecutor(workers or os.cpu_count(), mp_context=fresh, initializer=_quiet) as pool:
        return list(pool.map(outcome, chosen, chunksize=12))


def outcome(model_type: str) -> Outcome:
    """Build the default model of a type on the meta device and count it."""
    from transformers import CONFIG_MAPPING

    from attncli.errors import ModelError, reason_of
    from attncli.models.loading.meta_model import empty_module, whole_class
    from attncli.parameters.count import count_parameters
    from attncli.parameters.inventory import inventory_from_module

    try:
        config = CONFIG_MAPPING[model_type]()
    except Exception as error:  # a default configuration may be refused by its own checks, in any way
        return Outcome(model_type, reason=reason_of(error))
    try:
        cls = whole_class(config)
        module = empty_module(cls, config)
    except ModelError as error:
        return Outcome(model_type, reason=error.message)
    found = count_parameters(inventory_from_module(module), model=model_type, by="tensor")
    others = Counter(row.tensor for row in found.rows if row.component == "other")
    return Outcome(
        model_type,
        cls.__name__,
        found.total,
        sum(parameter.numel() for parameter in module.parameters()),
        sum(component.parameters for component in found.components),
        found.of("other"),
        tuple(sorted({component.part for component in found.components})),
        tuple(str(name) for name in others),
    )


def _quiet() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as a table of model types, with a summary at the end."""
    built = [found for found in outcomes if found.reason is None]
    lines = [f"{found.model_type:40} {_line(found)}" for found in outcomes]
    exact = sum(found.exact for found in built)
    clean = sum(found.other == 0 for found in built)
    worst = max(built, key=lambda found: found.other_share)
    summary = (
        f"{len(outcomes)} model types: {exact} of {len(built)} that can be built are exact, "
        f"{clean} have nothing in other, the most is "
        f"{worst.other_share:.2%} ({worst.model_type}); {len(outcomes) - len(built)} can't be built"
    )
    return "\n".join([*lines, "", summary])


def _line(found: Outcome) -> str:
    if found.reason is not None:
        return f"not constructible: {found.reason}"
    exact = "exact" if found.exact else f"WRONG by {found.total - found.module_total:,}"
    return f"{exact}  other {found.other_share:6.2%}  {found.total:>20,}  {'+'.join(found.parts)}  {found.model_class}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model_types", nargs="*", help="all of them where none is named")
    parser.add_argument("--other", action="store_true", help="list the tensors in other")
    options = parser.parse_args()
    outcomes = sweep(options.model_types or None)
    print(table(outcomes))
    for found in outcomes if options.other else ():
        for name in found.names:
            print(f"{found.model_type}: {name}")


if __name__ == "__main__":
    main()
