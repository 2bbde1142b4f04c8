"""Texts that are longer than their model takes, and texts that were cut to fit: one sentence for each kind."""

from __future__ import annotations

from collections.abc import Iterator


class Lengths:
    """Counts what is too long while texts stream by, so that a million long lines are one warning."""

    def __init__(self) -> None:
        self._texts = 0
        # By model and kind: the number of texts, and the first of them with its tokens and the model's limit.
        self._found: dict[tuple[str, bool], tuple[int, int, int, int]] = {}

    def see(self, record: int, model: str, tokens: int, limit: int | None, *, cut: bool) -> None:
        """Take note of one text under one model; `cut`: what was beyond the limit is left out."""
        self._texts = max(self._texts, record + 1)
        if limit is not None and (cut or tokens > limit):
            count, *first = self._found.get((model, cut), (0, record, tokens, limit))
            self._found[model, cut] = (count + 1, first[0], first[1], first[2])

    def warnings(self) -> Iterator[str]:
        for (model, cut), (count, record, tokens, limit) in self._found.items():
            which = self._which(count, record)
            if cut:
                verb = "were" if count > 1 else "was"
                yield f"{which} {verb} cut to the {limit:,} tokens that {model} takes"
            elif count == 1:
                yield f"{which} has {tokens:,} tokens and {model} takes {limit:,} (--truncate cuts it)"
            else:
                yield f"{which} have more tokens than the {limit:,} that {model} takes (--truncate cuts them)"

    def _which(self, count: int, record: int) -> str:
        if self._texts == 1:
            return "the text"
        if count == 1:
            return f"text {record + 1} of {self._texts:,}"
        return f"{count:,} of {self._texts:,} texts (text {record + 1} first)"
