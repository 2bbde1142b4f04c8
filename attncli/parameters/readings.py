"""Other ways to count the same model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attncli.parameters.classify import Share, also_unembeds
from attncli.parameters.inventory import Inventory
from attncli.results.parameters import Reading

_NO_MATRIX = ("norm", "embedding.position", "embedding.segment")
_TOKENS = ("embedding.token",)
_EMBEDDINGS = ("embedding.token", "embedding.position", "embedding.segment", "unembedding")


def readings(inventory: Inventory, shares: Sequence[Share]) -> tuple[Reading, ...]:
    """The readings of a language model, one that has a table of tokens; none for other models."""
    if not _sum(shares, _TOKENS):
        return ()
    again = sum(share.parameters for share in shares if share.component in _TOKENS and also_unembeds(share.tensor))
    matrices = sum(share.parameters for share in shares if not share.is_bias and share.component not in _NO_MATRIX)
    return (
        Reading(
            "matrices",
            matrices + again,
            "weights without norms and positions, a tied unembedding counted again: how teaching counts GPT-3",
        ),
        Reading(
            "non_embedding",
            inventory.total - _sum(shares, _EMBEDDINGS),
            "without embeddings and unembedding (Kaplan 2020)",
        ),
    )


def _sum(shares: Iterable[Share], components: Sequence[str]) -> int:
    return sum(share.parameters for share in shares if share.component in components)
