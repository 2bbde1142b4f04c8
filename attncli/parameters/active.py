"""Active parameters: what one token passes through in a mixture of experts, in both conventions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attncli.parameters.classify import Share, also_unembeds
from attncli.parameters.settings import Settings
from attncli.results.parameters import Active

if TYPE_CHECKING:
    from attncli.parameters.count import Placed

_EXPERTS = ("moe.gate", "moe.up", "moe.down")
_TABLES = ("embedding.position", "embedding.segment")


def count_active(placed: Sequence[Placed], settings: Settings) -> Active:
    """Count the active parameters: of the routed experts, as many as a token is sent to."""
    total = sum(_active(share, settings) for share, _ in placed)
    return Active(total, total - sum(share.parameters for share, _ in placed if _is_looked_up(share)))


def _active(share: Share, settings: Settings) -> int:
    if share.component not in _EXPERTS:
        return share.parameters
    path = share.tensor.module
    experts, chosen = settings.look(path, "experts"), settings.look(path, "active_experts")
    if not experts or not chosen or chosen >= experts:
        return share.parameters
    return share.parameters * chosen // experts


def _is_looked_up(share: Share) -> bool:
    """Whether a token takes one row of it; a token table that is the unembedding too is multiplied whole."""
    if share.component == "embedding.token":
        return not also_unembeds(share.tensor)
    return share.component in _TABLES
