"""Random crop and flip: whole-tensor operations on a batch against a torchvision DataLoader with two workers."""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from advdpnp.data import augment, to_float
from benchmarks.timing import interleaved, line
from benchmarks.vision import import_torchvision


class Pictures(Dataset):
    """uint8 [N, H, W, C] one by one as PIL images through a transform, as torchvision's CIFAR10 does it."""

    def __init__(self, images: np.ndarray, transform: Callable):
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(Image.fromarray(self.images[index]))


def ours(images: Tensor, batch: int) -> None:
    """One pass over uint8 [N, C, H, W] in random order, to floats in [0, 1]."""
    generator = torch.Generator(images.device).manual_seed(0)
    for chosen in torch.randperm(len(images), generator=generator, device=images.device).split(batch):
        to_float(augment(images[chosen], generator=generator))


def loader(images: Tensor, batch: int) -> DataLoader:
    """What most scripts have; the workers stay, so that starting them is not counted."""
    import_torchvision()
    from torchvision import transforms

    steps = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    pictures = Pictures(images.permute(0, 2, 3, 1).contiguous().cpu().numpy(), transforms.Compose(steps))
    return DataLoader(pictures, batch_size=batch, shuffle=True, num_workers=2, persistent_workers=True)


def measure(args, device: torch.device) -> dict:
    """Seconds of one pass, and images per second, ours and torchvision's."""
    n = 2_000 if args.quick else 10_000
    images = torch.randint(256, (n, 3, 32, 32), dtype=torch.uint8)
    theirs, there = loader(images, args.batch), images.to(device)

    def torchvision() -> None:
        for x in theirs:
            x.to(device)

    found = interleaved({"ours": lambda: ours(there, args.batch), "torchvision": torchvision}, args.rounds)
    found["images_per_second"] = {name: round(n / seconds) for name, seconds in found["median"].items()}
    print(line(f"augmentation of {n} images", found), flush=True)
    return found
