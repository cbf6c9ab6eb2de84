"""Blurs. uint8 [N, H, W, 3] in and out; `rngs`: one generator per image, unused where nothing is drawn."""

import numpy as np
from scipy.ndimage import correlate

from .shared import Generators, draw, motion, smooth, summed_zooms, to_bytes, unit


def disk_kernel(radius: float, alias: float) -> np.ndarray:
    """Binary disk x^2 + y^2 <= radius^2, normalised, softened by a 3 x 3 Gaussian of sigma `alias`.

    In single precision, as OpenCV computes it: whether its sum is just above or below 1 decides, through the
    truncation to bytes, whether flat areas lose a level.
    """
    reach = int(radius) + 1  # the softening adds one pixel all around
    offset = np.arange(-reach, reach + 1)
    disk = (offset[:, None] ** 2 + offset**2 <= radius**2).astype(np.float32)
    tap = np.exp(-(np.arange(-1, 2) ** 2) / (2 * alias**2))
    tap = (tap / tap.sum()).astype(np.float32)
    return correlate(correlate(disk / disk.sum(), tap[None], mode="constant"), tap[:, None], mode="constant")


def defocus_blur(images: np.ndarray, rngs: Generators, radius: float, alias: float) -> np.ndarray:
    """Correlate with a softened disk (`disk_kernel`); borders mirrored without repeating the edge."""
    kernel = disk_kernel(radius, alias).astype(float)
    return to_bytes(correlate(unit(images), kernel[None, :, :, None], mode="mirror"))


def glass_blur(images: np.ndarray, rngs: Generators, sigma: float, delta: int, iterations: int) -> np.ndarray:
    """Blur, move pixels to a neighbour at random `iterations` times, blur again; sigma in pixels.

    The official script means to swap each pixel with its neighbour at offsets in {-delta, ..., delta - 1}, but
    swaps two views, so the visited pixel takes the neighbour's colour and the neighbour keeps its own. The
    published files were made so, and we keep it. With delta = 1 (all severities) the neighbour lies above or to
    the left, where the scan from the bottom right comes later: all the copies of one pass read the old image,
    and a pass is one gather. Rows and columns 0 and 1 are never visited.
    """
    if delta != 1:
        raise ValueError("only offsets in {-1, 0} make a pass of copies one gather")
    n, height, width, _ = images.shape
    x = to_bytes(smooth(unit(images), sigma))
    rows, columns = np.arange(height)[:, None], np.arange(width)
    visited = (rows > delta) & (columns > delta)
    shifts = draw(rngs, lambda rng: rng.integers(-delta, delta, (iterations, 2, height, width))) * visited
    for step in range(iterations):
        down, right = shifts[:, step, 0], shifts[:, step, 1]
        x = x[np.arange(n)[:, None, None], rows + down, columns + right]
    return to_bytes(smooth(unit(x), sigma))


def motion_blur(images: np.ndarray, rngs: Generators, radius: float, sigma: float) -> np.ndarray:
    """One-sided motion blur (`motion_taps`) along an angle drawn from U(-45, 45) degrees.

    Differs from the official script: ImageMagick's rule in numpy; against ImageMagick 6 never off by more than a level.
    """
    return motion(images, draw(rngs, lambda rng: rng.uniform(-45, 45)), radius, sigma)


def zoom_factors(stop: float) -> np.ndarray:
    """1, 1.01, ... up to `stop`: floating-point error includes the end itself for 1.06 and 1.11 only."""
    return np.arange(1, stop, 0.01)


def zoom_blur(images: np.ndarray, rngs: Generators, stop: float) -> np.ndarray:
    """Mean of the image and one centre-zoomed copy a factor (`zoom_factors`; the factor 1 is among them)."""
    x, factors = unit(images), zoom_factors(stop)
    return to_bytes((x + summed_zooms(x, factors)) / (len(factors) + 1))


def gaussian_blur(images: np.ndarray, rngs: Generators, sigma: float) -> np.ndarray:
    """Gaussian blur; sigma in pixels, edges repeated."""
    return to_bytes(smooth(unit(images), sigma))
