"""The unembedding that a checkpoint leaves out because it is the table of tokens."""

from __future__ import annotations

from attncli.parameters.classify import classify
from attncli.parameters.inventory import Inventory, Kind

_UNEMBEDDING = "lm_head.weight"


def with_tied_unembedding(inventory: Inventory) -> Inventory:
    """The inventory of a model that writes, as its files list it, with its unembedding under a name of its own.

    Who writes must turn vectors into tokens: where nothing else does, the table of tokens does it too.
    """
    # Neither stands in a block, and blocks are nearly all that there is.
    outside = (tensor for tensor in inventory.tensors if not any(map(str.isdigit, tensor.name.split("."))))
    shares = classify(inventory._replace(tensors=tuple(outside)))
    if any(share.component == "unembedding" for share in shares):
        return inventory
    tables = [share.tensor for share in shares if share.component == "embedding.token" and not share.is_bias]
    if len(tables) != 1 or tables[0].aliases:
        return inventory
    table = tables[0]
    tied = table._replace(aliases=(table._replace(name=_UNEMBEDDING, kind=Kind.LINEAR),))
    return inventory._replace(tensors=tuple(tied if each is table else each for each in inventory.tensors))
