"""What the caller has set in torch, and a run shouldn't see (`plain_torch`). Imports torch only where it is in use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

#: The types of devices that may have an autocast of their own.
_DEVICE_TYPES = ("cpu", "cuda", "mps", "xpu")


@contextmanager
def plain_torch() -> Iterator[None]:
    """The body with torch's defaults: no gradients, inference mode or autocast, new tensors on the CPU, whatever the
    caller has set.

    While torch isn't imported, nothing can be set.
    """
    with ExitStack() as stack:
        if "torch" in sys.modules:
            import torch

            # Tensors that are made in inference mode could have no gradients, which effects and steps take themselves.
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.no_grad())
            for device in _DEVICE_TYPES:
                if torch.is_autocast_enabled(device):
                    stack.enter_context(torch.autocast(device, enabled=False))
            if torch.get_default_device().type != "cpu":
                stack.enter_context(torch.device("cpu"))
        yield
