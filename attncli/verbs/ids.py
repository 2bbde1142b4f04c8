"""Ids of tokens as a caller of the Python functions may hand them over."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

from attncli.errors import UsageError


def id_lists(ids: Any) -> list[list[int]]:
    """One list of ids, or several; also as an array or a tensor. Raises UsageError for anything else."""
    given = ids.tolist() if hasattr(ids, "tolist") else ids
    try:
        several = all(isinstance(each, Sequence) for each in given)
        lists = [[index(number) for number in each] for each in (given if several else [given])]
    except TypeError as error:
        raise UsageError("ids have to be whole numbers", hint="give the ids of tokens, or a text") from error
    if not all(lists) or not lists:
        raise UsageError("there are no ids", hint="give some numbers, or a text")
    return lists
