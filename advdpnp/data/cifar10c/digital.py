"""Digital: contrast, warps and codecs. uint8 [N, H, W, 3] in and out; `rngs`: one generator per image."""

from io import BytesIO

import numpy as np
from PIL import Image

from .shared import Generators, bilinear, draw, hsv_to_rgb, rgb_to_hsv, smooth, to_bytes, unit


def contrast(images: np.ndarray, rngs: Generators, factor: float) -> np.ndarray:
    """(x - mean) * factor + mean, with the mean of each channel over the image."""
    x = unit(images)
    means = np.stack([image.mean(axis=(0, 1), keepdims=True) for image in x])
    return to_bytes((x - means) * factor + means)


def elastic_transform(
    images: np.ndarray, rngs: Generators, amplitude: float, sigma: float, affine: float
) -> np.ndarray:
    """An affine warp that moves three corners by U(-affine, affine), then a smooth local displacement.

    The local field is U(-1, 1) blurred with `sigma`, times `amplitude`. All three are pixels of a 32-pixel image
    and grow with the image. Severity 1 has no local part, and error falls with severity.
    Differs from the official script: double precision, and no rounding of coordinates to 1/32 pixel (OpenCV 4).
    """
    n, height, width, _ = images.shape
    scale = min(height, width) / 32
    half, reach = np.array([width // 2, height // 2]), min(height, width) // 3
    corners = half + reach * np.array([[1, 1], [1, -1], [-1, -1]])  # (x, y) of three points
    moved = corners + draw(rngs, lambda rng: rng.uniform(-affine, affine, (3, 2))) * scale
    homogeneous = np.concatenate([moved, np.ones((n, 3, 1))], axis=2)
    back = np.linalg.solve(homogeneous, np.broadcast_to(corners.astype(float), (n, 3, 2)))  # output -> input
    y, x = np.mgrid[:height, :width].astype(float)
    source = np.stack([x, y, np.ones_like(x)], axis=-1) @ back[:, None]  # [N, H, W, (x, y)]
    warped = bilinear(unit(images), source[..., 1], source[..., 0], repeat_edge=False)

    field = draw(rngs, lambda rng: rng.uniform(-1, 1, (2, height, width)))
    dx, dy = (smooth(field[:, i], sigma * scale, "reflect", 3.0) * amplitude * scale for i in (0, 1))
    return to_bytes(bilinear(warped, y + dy, x + dx, repeat_edge=True))


def pixelate(images: np.ndarray, rngs: Generators, fraction: float) -> np.ndarray:
    """Box-filter down to int(fraction * side) pixels and box-filter back up."""
    height, width = images.shape[1:3]
    small = int(width * fraction), int(height * fraction)

    def one(image: np.ndarray) -> np.ndarray:
        shrunk = Image.fromarray(image).resize(small, Image.Resampling.BOX)
        return np.asarray(shrunk.resize((width, height), Image.Resampling.BOX))

    return np.stack([one(image) for image in images])


def jpeg_compression(images: np.ndarray, rngs: Generators, quality: int) -> np.ndarray:
    """JPEG at `quality` with Pillow's default subsampling; the last bit depends on the libjpeg it was built with."""

    def one(image: np.ndarray) -> np.ndarray:
        Image.fromarray(image).save(stream := BytesIO(), "JPEG", quality=quality)
        return np.asarray(Image.open(stream))

    return np.stack([one(image) for image in images])


def saturate(images: np.ndarray, rngs: Generators, factor: float, shift: float) -> np.ndarray:
    """HSV saturation times `factor` plus `shift`, clipped to [0, 1]."""
    hue, saturation, value = rgb_to_hsv(unit(images))
    return to_bytes(hsv_to_rgb(hue, np.clip(saturation * factor + shift, 0, 1), value))
