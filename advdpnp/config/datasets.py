"""What is known of a data set before it is opened."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of a data set before it is opened."""

    classes: int
    channels: int
    size: int  # pixels per side
    augment: bool  # random crop and flip while training; a mirrored digit is another digit
    train_images: int
    test_images: int

    @property
    def pixels(self) -> int:
        """Numbers per image: pixels times channels."""
        return self.channels * self.size**2


DATASETS = {
    "cifar10": DatasetFacts(10, 3, 32, True, 50_000, 10_000),
    "cifar100": DatasetFacts(100, 3, 32, True, 50_000, 10_000),
    "svhn": DatasetFacts(10, 3, 32, False, 73_257, 26_032),
    "mnist": DatasetFacts(10, 1, 28, False, 60_000, 10_000),
    "digits": DatasetFacts(10, 1, 8, False, 1_437, 360),
}
CORRUPTION_TYPES = {  # Section 4.4: 19 corruptions of four types
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "gaussian_blur"),
    "weather": ("snow", "frost", "fog", "brightness", "spatter"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression", "saturate"),
}
BACKBONES = ("resnet18", "wrn34_10", "lenetspp")
