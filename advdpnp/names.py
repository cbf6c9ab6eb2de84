"""What people read instead of the keys of configuration and tables. One place, for every text, table and picture."""

DATASETS = {
    "cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "svhn": "SVHN", "mnist": "MNIST", "digits": "digits",
}  # fmt: skip
BACKBONES = {"resnet18": "ResNet-18", "wrn34_10": "WRN-34-10", "lenetspp": "LeNets++"}


def block_name(dataset: str, backbone: str) -> str:
    """'cifar10', 'wrn34_10' -> 'CIFAR-10, WRN-34-10'; a name of one's own stays as it is."""
    return f"{DATASETS.get(dataset, dataset)}, {BACKBONES.get(backbone, backbone)}"
