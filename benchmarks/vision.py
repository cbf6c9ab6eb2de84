"""torchvision for comparisons, also where its wheel was built for CUDA and this machine's torch was not."""

import sys
from types import ModuleType

import torch

from advdpnp.errors import UserError

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_libraries: list[torch.library.Library] = []  # a schema vanishes with the Library object that defined it


def import_torchvision() -> ModuleType:
    """Import torchvision, also when its wheel was built for CUDA and torch was not.

    Such a wheel's `_C.so` cannot be loaded, and `import torchvision` then stops at "operator torchvision::nms does not
    exist". Declaring the two missing schemas (no kernels: calling them still fails) lets the import go through, and
    with it the download and image helpers, which are plain Python. The ordinary import is tried first, so nothing
    happens where it works. Raises UserError when torchvision is not installed.
    """
    try:
        import torchvision
    except ModuleNotFoundError as error:
        if error.name != "torchvision":
            raise
        raise UserError("torchvision is not installed: `pip install 'torchvision>=0.26,<0.29'`") from error
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]  # half-imported
        _declare_missing_schemas()
        import torchvision
    return torchvision


def _declare_missing_schemas() -> None:
    for name, schema in _SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define(schema)
            _libraries.append(library)
