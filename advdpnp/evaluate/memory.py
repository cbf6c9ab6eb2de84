"""Networks that answer in chunks: an evaluation that runs out of memory goes on with smaller ones."""

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from advdpnp.errors import UserError


class ChunkedModel(nn.Module):
    """A network that sees at most `size` images at once, whatever the batch that an attack works on.

    Attacks keep their batch, and with it every random draw, also AutoAttack's: only the passes through the network are
    cut. A chunk's activations are dropped and computed again for its gradient, so one chunk at a time takes memory.
    In eval mode images don't see each other: the result is the same up to the rounding of other kernel shapes.
    """

    def __init__(self, model: nn.Module, size: int):
        super().__init__()
        self.model, self.size = model, size

    def forward(self, x: Tensor) -> Tensor:
        return self._cut(self.model, x)

    def features(self, x: Tensor) -> Tensor:
        return self._cut(self.model.features, x)

    def classify(self, features: Tensor) -> Tensor:
        return self.model.classify(features)

    @property
    def centers(self) -> Tensor:
        return self.model.centers

    def _cut(self, function: Callable, x: Tensor) -> Tensor:
        if len(x) <= self.size:
            return function(x)
        if torch.is_grad_enabled():
            return torch.cat([checkpoint(function, chunk, use_reentrant=False) for chunk in x.split(self.size)])
        return torch.cat([function(chunk) for chunk in x.split(self.size)])


def memory_is_out(error: Exception) -> bool:
    """Whether the error says that memory ran out, of the device or of the machine."""
    # plain RuntimeErrors: of the CPU's allocator, and of cuBLAS and cuDNN where PyTorch's own has left them nothing
    told = ("not enough memory", "DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(text in str(error) for text in told)


def retry_with_smaller_chunks(model: ChunkedModel, work: Callable[[], Any]) -> Any:
    """What `work` returns; when memory runs out, the same work again with half as many images in the network at once.

    Raises UserError when one image is too many.
    """
    while True:
        try:
            return work()
        except (RuntimeError, MemoryError) as error:
            if not memory_is_out(error):
                raise
            reason = str(error).splitlines()[0] if str(error) else "out of memory"
        if model.size == 1:  # outside of `except`: the traceback would keep the tensors alive
            raise UserError(f"a single image does not fit into memory ({reason}); free some, or use --device cpu.")
        model.size //= 2
        print(f"memory is out; going on with {model.size} images at once", file=sys.stderr, flush=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
