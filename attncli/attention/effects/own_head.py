"""The language-model head of a user's own module: the linear layer that makes the logits it returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from attncli.errors import UsageError
from attncli.models.capture.hooks import hooked
from attncli.models.loading.own_module import OwnHead, OwnModule
from attncli.models.loading.prediction_head import logits_of

if TYPE_CHECKING:
    from attncli.attention.effects.request import EffectsPlan
    from attncli.models.loading.loaded_model import LoadedModel


def find_own_head(model: LoadedModel, arguments: Mapping[str, Tensor | bool], plan: EffectsPlan) -> None:
    """Note the head of a module of the user's own: the last linear layer that gave as many numbers as the module
    returned. Nothing is done for a model of transformers.

    plan: what needs it. Raises UsageError where the module returns no such logits, or not those of the position.
    """
    if not isinstance(model.module, OwnModule):
        return
    flag = plan.flag
    made: list[tuple[nn.Linear, Tensor]] = []

    def note(module: nn.Linear, _: Any, output: Tensor) -> None:
        made.append((module, output))

    layers = [module for module in model.module.modules() if isinstance(module, nn.Linear)]
    with model.borrowed(), hooked(layer.register_forward_hook(note) for layer in layers):
        logits = logits_of(model.run(arguments))
    found = None if logits is None else next((one for one, output in reversed(made) if _fits(output, logits)), None)
    if logits is None or found is None:
        raise UsageError(
            f"{flag} needs logits, and {model.class_name} doesn't return the output of a linear layer",
            hint=f"return logits of shape (1, positions, vocabulary), or leave {flag.split()[0]} out",
        )
    if not model.lists:
        raise UsageError(
            f"{flag} runs layers one by one, and {model.class_name} has no list of layers with attention",
            hint="keep its layers in an nn.ModuleList or nn.Sequential",
        )
    model.module.head = OwnHead(found, logits.shape[1])
    if plan.query is not None and model.module.returns_one:
        raise UsageError(
            f"{model.class_name} returns the logits of one position, and --query chooses another",
            hint="leave --query out, or return the logits of all positions",
        )


def _fits(output: Tensor, logits: Tensor) -> bool:
    """Whether logits are what a layer gave, maybe through a growing function of each number such as a softcap.

    Probabilities are no logits, and what a norm or a sum makes of the output has another order.
    """
    if output.numel() != logits.numel() or output.shape[-1] != logits.shape[-1] or _are_probabilities(logits):
        return False
    sorted_by_output = logits.gather(-1, output.reshape(logits.shape).argsort(-1)).float()
    return bool((sorted_by_output.diff(dim=-1) >= -1e-6 * sorted_by_output.abs().amax()).all())


def _are_probabilities(logits: Tensor) -> bool:
    return bool((logits >= 0).all() and ((logits.float().sum(-1) - 1).abs() < 1e-3).all())
