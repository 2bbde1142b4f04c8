"""The effects of heads on an outcome, one entry each: what `--effect` takes, and what help, maps and data say of them.

The outcome is the answer's logit at a position, less the contrast's, else less the mean over the vocabulary; of a model
without a language-model head, the cosine of its vector with that of the untouched run.

Imports nothing of the package, so that help and completion start at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class EffectKind(NamedTuple):
    """A kind of effect.

    title: what maps and rankings call it.  term: the field's name for it.  meaning: what a head's number says.
    unit: of the numbers, where the outcome is one of logits.  cosine_unit: where it is a cosine.  source: who
    introduced it.  ablates: the model is run again for every head.  needs_head: there is none without a language-model
    head.  needs_source: there is none without another text (`--patch-from`).
    """

    name: str
    title: str
    term: str
    meaning: str
    unit: str
    source: str
    cosine_unit: str = "cosine"
    ablates: bool = False
    needs_head: bool = False
    needs_source: bool = False


_ENTRIES = (
    EffectKind(
        "direct",
        "direct effect",
        "direct logit attribution",
        "what the head itself adds to the answer's logit",
        "logits",
        "Elhage et al. 2021; Wang et al. 2022",
        needs_head=True,
    ),
    EffectKind(
        "zero",
        "effect of zero ablation",
        "zero ablation",
        "fall of the outcome when the head's output is set to 0",
        "logits",
        "Michel et al. 2019",
        ablates=True,
    ),
    EffectKind(
        "mean",
        "effect of mean ablation",
        "mean ablation",
        "fall of the outcome when the head's output is set to its mean",
        "logits",
        "Wang et al. 2022",
        ablates=True,
    ),
    EffectKind(
        "patch",
        "effect of patching",
        "activation patching",
        "share of the way to the other text's outcome, with the head's output there",
        "share of the way",
        "Meng et al. 2022; Zhang & Nanda 2024",
        cosine_unit="share of the way",
        ablates=True,
        needs_source=True,
    ),
)

#: Every kind by its name, in the order in which they are shown.
EFFECTS: Mapping[str, EffectKind] = {kind.name: kind for kind in _ENTRIES}
