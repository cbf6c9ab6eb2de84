"""The 19 corruptions of CIFAR-10-C, their five severities, and the one function that applies them."""

from zlib import crc32

import numpy as np

from advdpnp.errors import UserError, nearest

from .blur import defocus_blur, gaussian_blur, glass_blur, motion_blur, zoom_blur
from .digital import contrast, elastic_transform, jpeg_compression, pixelate, saturate
from .noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from .spatter import spatter
from .weather import brightness, fog, frost, snow

CHUNK = 200  # images at a time: keeps the working set near the cache and the memory small

# In the order of the official script: the 15 of the benchmark, then its 4 extra.
CORRUPTIONS = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "snow": snow,
    "frost": frost,
    "fog": fog,
    "brightness": brightness,
    "contrast": contrast,
    "elastic_transform": elastic_transform,
    "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
    "speckle_noise": speckle_noise,
    "gaussian_blur": gaussian_blur,
    "spatter": spatter,
    "saturate": saturate,
}
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
BENCHMARK = tuple(name for name in CORRUPTIONS if name not in EXTRA)

# Severities 1 to 5; each entry is what the function takes after (images, rngs).
PARAMETERS = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
    "shot_noise": (500, 250, 100, 75, 50),
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    "zoom_blur": (1.06, 1.11, 1.16, 1.21, 1.26),
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "frost": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
    "elastic_transform": ((0, 0, 2.56), (1.6, 6.4, 2.24), (2.56, 1.92, 1.92), (3.2, 1.28, 1.6), (3.2, 0.96, 0.96)),
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),
    "jpeg_compression": (80, 65, 58, 50, 40),
    "speckle_noise": (0.06, 0.1, 0.12, 0.16, 0.2),
    "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1),
    "spatter": (
        (0.62, 0.1, 0.7, 0.7, 0.5, "water"),
        (0.65, 0.1, 0.8, 0.7, 0.5, "water"),
        (0.65, 0.3, 1, 0.69, 0.5, "water"),
        (0.65, 0.1, 0.7, 0.69, 0.6, "mud"),
        (0.65, 0.1, 0.5, 0.68, 0.6, "mud"),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
}
SEVERITIES = (1, 2, 3, 4, 5)


def corrupt(images: np.ndarray, name: str, severity: int, *, seed: int = 0, first_index: int = 0) -> np.ndarray:
    """uint8 [N, H, W, C] to its corrupted copy; C is 3, or 1 (greyscale: corrupted as RGB, then averaged).

    Image i draws from a generator seeded with (seed, name, severity, first_index + i), so any subset gives the
    same pixels. The parameters are those of 32 x 32 images; other sizes (at least 8 x 8) run, without claims.
    Raises UserError for an unknown name, a severity outside 1..5, or images of another kind.
    """
    check_choice(name, severity)
    images = check_images(images)
    if images.shape[3] == 1:
        rgb = corrupt(np.repeat(images, 3, axis=3), name, severity, seed=seed, first_index=first_index)
        return np.rint(rgb.mean(axis=3, keepdims=True)).astype(np.uint8)
    parameters = PARAMETERS[name][severity - 1]
    parameters = parameters if isinstance(parameters, tuple) else (parameters,)
    out = np.empty_like(images)
    for start in range(0, len(images), CHUNK):
        chunk = images[start : start + CHUNK]
        rngs = [generator(seed, name, severity, first_index + start + i) for i in range(len(chunk))]
        out[start : start + CHUNK] = CORRUPTIONS[name](chunk, rngs, *parameters)
    return out


def generator(seed: int, name: str, severity: int, index: int) -> np.random.Generator:
    """The generator of one image of one variant; crc32 names the corruption the same way on every machine."""
    return np.random.default_rng((seed, crc32(name.encode()), severity, index))


def check_choice(name: str, severity: int) -> None:
    """Raise UserError unless `name` is a corruption and `severity` an integer from 1 to 5."""
    if name not in CORRUPTIONS:
        raise UserError(f"unknown corruption '{name}': {nearest(name, CORRUPTIONS)}")
    if not isinstance(severity, int | np.integer) or severity not in SEVERITIES:
        raise UserError(f"severity of {name}: expected an integer from 1 to 5, got {severity!r}")


def check_images(images: np.ndarray) -> np.ndarray:
    """The images as a contiguous array; UserError unless uint8 [N, H, W, 1 or 3] with H and W at least 8."""
    images = np.ascontiguousarray(images)
    shape = images.shape
    if images.dtype != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3) or min(shape[1:3]) < 8:
        raise UserError(
            f"corruptions need uint8 images [N, H, W, 1 or 3] of at least 8 x 8 pixels, not {images.dtype} {shape}"
        )
    return images
