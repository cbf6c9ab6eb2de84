"""What several corruptions need: draws, the cast to bytes, HSV, the clipped zoom, motion blur, bilinear sampling.

Shapes: N images of H x W pixels with C channels, [N, H, W, C]; `rngs` holds one numpy Generator per image, so that
an image's pixels never depend on the batch it came in.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter, zoom
from scipy.sparse import csr_array, kron

Generators = Sequence[np.random.Generator]


def unit(images: np.ndarray) -> np.ndarray:
    """uint8 levels to float64 in [0, 1]."""
    return images / 255.0


def to_bytes(x: np.ndarray) -> np.ndarray:
    """[0, 1] to uint8 levels; truncates where one would round, as the official files do."""
    return (np.clip(x, 0, 1) * 255).astype(np.uint8)


def draw(rngs: Generators, sample: Callable[[np.random.Generator], np.ndarray]) -> np.ndarray:
    """One `sample(rng)` per image, stacked: [N, ...]."""
    return np.stack([sample(rng) for rng in rngs])


def smooth(x: np.ndarray, sigma: float, mode: str = "nearest", truncate: float = 4.0) -> np.ndarray:
    """Gaussian blur of axes 1 and 2 (H, W); sigma in pixels, kernel cut at `truncate` sigma."""
    return gaussian_filter(x, (0, sigma, sigma, 0)[: x.ndim], mode=mode, truncate=truncate)


def rgb_to_hsv(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """RGB in [0, 1], channels last, to (hue, saturation, value), each in [0, 1]; greys have hue and saturation 0."""
    red, green, blue = np.moveaxis(x, -1, 0)
    value = x.max(-1)
    spread = value - x.min(-1)
    safe = np.where(spread > 0, spread, 1)
    hue = np.where(red == value, (green - blue) / safe, 0)
    hue = np.where(green == value, 2 + (blue - red) / safe, hue)
    hue = np.where(blue == value, 4 + (red - green) / safe, hue)
    hue = np.where(spread > 0, (hue / 6) % 1, 0)
    return hue, np.where(spread > 0, spread / np.where(value > 0, value, 1), 0), value


def hsv_to_rgb(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """The inverse of `rgb_to_hsv`; channels last."""
    sector = np.floor(hue * 6)
    f = hue * 6 - sector
    v, p = value, value * (1 - saturation)
    q, t = value * (1 - f * saturation), value * (1 - (1 - f) * saturation)
    sector = sector.astype(int) % 6
    rgb = [(v, q, p, p, t, v), (t, v, v, q, p, p), (p, p, t, v, v, q)]
    return np.stack([np.choose(sector, channel) for channel in rgb], axis=-1)


def zoom_matrix(size: int, factor: float) -> np.ndarray:
    """[size, size] matrix that crops the centre ceil(size / factor), zooms it bilinearly, and trims the centre."""
    crop = int(np.ceil(size / factor))
    start = (size - crop) // 2
    zoomed = zoom(np.eye(crop), (factor, 1), order=1)
    trim = (len(zoomed) - size) // 2
    matrix = np.zeros((size, size))
    matrix[:, start : start + crop] = zoomed[trim : trim + size]
    return matrix


@lru_cache(maxsize=32)
def _zoom_operator(height: int, width: int, factors: tuple[float, ...]) -> csr_array:
    """Sparse [H*W, H*W]: the sum of the 2-D zooms; a handful of neighbours per pixel, so far cheaper than dense."""
    zooms = (kron(csr_array(zoom_matrix(height, z)), csr_array(zoom_matrix(width, z))) for z in factors)
    return csr_array(sum(zooms))


def summed_zooms(x: np.ndarray, factors: Sequence[float]) -> np.ndarray:
    """The sum over `factors` (each >= 1) of the centre-zoomed images; [N, H, W] or [N, H, W, C] to the same.

    Differs from the official script: one linear map in double precision instead of a loop in single, which moves
    at most one level on at most 0.25 % of the values.
    """
    n, height, width = x.shape[:3]
    pixels_first = np.moveaxis(x.reshape(n, height * width, -1), 0, 1)
    out = _zoom_operator(height, width, tuple(map(float, factors))) @ pixels_first.reshape(height * width, -1)
    return np.moveaxis(out.reshape(pixels_first.shape), 0, 1).reshape(x.shape)


def motion_taps(angle: float, radius: float, sigma: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ImageMagick's rule: weights, row and column offsets of the 2*ceil(radius)+1 taps along `angle` (degrees).

    The taps lie on one side of the pixel (i = 0, 1, ...) with weights exp(-i^2 / (2 sigma^2)), normalised.
    """
    i = np.arange(2 * int(np.ceil(radius)) + 1)
    weights = np.exp(-(i**2) / (2 * sigma**2))
    rows = np.ceil(i * np.sin(np.deg2rad(angle)) - 0.5).astype(int)
    columns = np.ceil(i * np.cos(np.deg2rad(angle)) - 0.5).astype(int)
    return weights / weights.sum(), rows, columns


def motion(images: np.ndarray, angles: np.ndarray, radius: float, sigma: float) -> np.ndarray:
    """Blur each uint8 image along its own angle (degrees); edges repeat; the result is truncated to uint8.

    Sums are first rounded to 16-bit quanta (257 to a level), as ImageMagick Q16 holds them: flat areas stay flat.
    """
    n, height, width = images.shape[:3]
    taps = [motion_taps(angle, radius, sigma) for angle in angles]
    weights = taps[0][0]
    offsets = np.stack([(rows, columns) for _, rows, columns in taps])  # [N, 2, taps]
    rows = np.clip(np.arange(height)[:, None] + offsets[:, 0, None], 0, height - 1)  # [N, H, taps]
    columns = np.clip(np.arange(width)[:, None] + offsets[:, 1, None], 0, width - 1)  # [N, W, taps]
    which = np.arange(n)[:, None, None]
    out = np.zeros(images.shape)
    for i, weight in enumerate(weights):
        out += weight * images[which, rows[:, :, None, i], columns[:, None, :, i]]
    return (np.rint(out * 257).astype(np.int64) // 257).astype(np.uint8)


def bilinear(x: np.ndarray, rows: np.ndarray, columns: np.ndarray, *, repeat_edge: bool) -> np.ndarray:
    """Sample [N, H, W, C] at real coordinates [N, H, W] (0 is the first pixel's centre).

    Outside, the image is mirrored, with (`repeat_edge`) or without the edge pixel occurring twice.
    """

    def fold(index: np.ndarray, size: int) -> np.ndarray:
        period = 2 * size if repeat_edge else 2 * size - 2
        index = index % period
        return np.where(index < size, index, period - index - repeat_edge)

    height, width = x.shape[1:3]
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    down, right = (rows - top)[..., None], (columns - left)[..., None]
    r0, r1, c0, c1 = fold(top, height), fold(top + 1, height), fold(left, width), fold(left + 1, width)
    n = np.arange(len(x))[:, None, None]
    upper = (1 - right) * x[n, r0, c0] + right * x[n, r0, c1]
    lower = (1 - right) * x[n, r1, c0] + right * x[n, r1, c1]
    return (1 - down) * upper + down * lower
