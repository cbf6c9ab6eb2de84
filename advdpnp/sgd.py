"""torch's SGD, in a process that need not import the compiler."""

import sys
from collections.abc import Callable
from typing import Any

import torch


class SGD(torch.optim.SGD):
    """`torch.optim.SGD`, bit for bit, that leaves torch._dynamo out where nothing is compiled.

    torch's optimizers import it only to say that they are not to be compiled; for a training of the demo, that takes
    longer than an epoch. The answer given here holds for all optimizers of the process. Should torch change the names
    that are used, the import is back and nothing else differs.
    """

    def __init__(self, groups: list[dict[str, Any]], **defaults: Any) -> None:
        if "torch._dynamo" not in sys.modules:
            for method in vars(torch.optim.Optimizer).values():
                if (plain := getattr(method, "__wrapped__", None)) is not None:
                    setattr(plain, "__dynamo_disable", plain)  # where torch looks first
        super().__init__(groups, **defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One update of all parameters; without a closure None."""
        return _plain_step(self, closure)


_plain_step = getattr(torch.optim.SGD.step, "__wrapped__", torch.optim.SGD.step)  # without its import of torch._dynamo
