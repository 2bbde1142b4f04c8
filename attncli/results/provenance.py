"""What made a result: the versions and the model that a reader needs to make it again."""

from __future__ import annotations

from typing import NamedTuple

from attncli.results.brief import briefly


@briefly
class MadeBy(NamedTuple):
    """Versions of the libraries that took part, the model's class and the hub's commit, if any.

    attncli, tokenizers, transformers, torch: None where one was not used.  model_class, revision: None where there are
    several models.
    """

    attncli: str
    tokenizers: str | None = None
    transformers: str | None = None
    torch: str | None = None
    model_class: str | None = None
    revision: str | None = None

    def to_dict(self) -> dict[str, str | None]:
        return self._asdict()
