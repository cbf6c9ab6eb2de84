"""Now on CIFAR-10: two robust networks of the short tier, for the last cells of exercises 1, 2, 7 and 8.

The digits need no download, CIFAR-10 does; so these cells are an extra, which says what is missing and goes on.
"""

from torch import Tensor, nn

from advdpnp.data import load, present, to_float
from advdpnp.share.weights import load_published

NETWORKS = {"AT": "cifar10-resnet18-at-s0", "Adv-DPNP": "cifar10-resnet18-adv_dpnp-s0"}
TIER = "short"


def robust_networks(images: int) -> tuple[dict[str, nn.Module], Tensor, Tensor] | None:
    """({name: network}, x [N, 3, 32, 32] in [0, 1], y [N]): the first test images; None, and a sentence, without them.

    The networks are ResNet-18 at width 16, trained on 10,000 images for 8 epochs: robust, and far from the paper's.
    Raises UserError where their weights are missing or are not those that were published.
    """
    if not present("cifar10"):
        print("CIFAR-10 is not here, and nothing above needs it. `python -m advdpnp fetch cifar10` gets it, or "
              "start Jupyter with ADVDPNP_DATA=<the folder that holds it>. Then run this cell again.")  # fmt: skip
        return None
    test = load("cifar10", "test")
    networks = {name: load_published(run, TIER).requires_grad_(False) for name, run in NETWORKS.items()}
    return networks, to_float(test.images[:images]), test.labels[:images]
