"""A network that others trained, in our model class: the ResNet-18 for CIFAR-10 that pyautoattack's wheel carries.

94.3 % of the test images, and no robustness at all: PGD fools it everywhere.
"""

from importlib import metadata

import torch

from advdpnp.errors import UserError
from advdpnp.models import Classifier, LinearHead, ResNet18, load_post_activation_resnet18

WEIGHTS = "examples/model_test.pt"


def third_party_resnet18() -> Classifier:
    """In evaluation mode, inputs in [0, 1]. Raises UserError where pyautoattack came without its example."""
    try:
        files = metadata.files("pyautoattack") or []
    except metadata.PackageNotFoundError:
        files = []
    path = next((file.locate() for file in files if file.as_posix().endswith(WEIGHTS)), None)
    if path is None or not path.exists():
        raise UserError(f"pyautoattack's {WEIGHTS} is not installed: pip install pyautoattack==0.2.0")
    state = torch.load(path, map_location="cpu", weights_only=True)
    backbone = ResNet18()
    model = Classifier(backbone, LinearHead(backbone.dim, 10), (0.0,) * 3, (1.0,) * 3)
    load_post_activation_resnet18(model, state.get("state_dict", state))
    return model.eval().to(memory_format=torch.channels_last)
