"""Spatter: drops of water (severities 1 to 3) or splashes of mud (4, 5) on the lens.

The official script makes the drops' relief with OpenCV; the same steps are written out here, vectorised over
images: Canny edges, distance to them, histogram equalisation, an emboss filter.
"""

import numpy as np
from scipy.ndimage import correlate, label

from .shared import Generators, draw, smooth, to_bytes, unit

WATER = np.array([175, 238, 238]) / 255
MUD = np.array([63, 42, 20]) / 255
EMBOSS = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
TAN_22 = np.tan(np.pi / 8)


def spatter(
    images: np.ndarray,
    rngs: Generators,
    mean: float,
    std: float,
    blur: float,
    threshold: float,
    strength: float,
    kind: str,
) -> np.ndarray:
    """Liquid where N(mean, std), blurred with sigma `blur`, reaches `threshold`; `kind` is "water" or "mud".

    Water adds its colour times a relief of maximum `strength`; mud replaces the image under its splashes, whose
    borders are blurred with sigma `strength`.
    Differs from the official script: double precision, and a dry image stays as it is (there: division by zero).
    """
    liquid = smooth(mean + std * draw(rngs, lambda rng: rng.standard_normal(images.shape[1:3])), blur)
    x = unit(images)
    if kind == "mud":
        mask = smooth((liquid > threshold).astype(float), strength)[..., None]
        mask = np.where(mask < 0.8, 0, mask)
        return to_bytes(x * (1 - mask) + MUD * mask)
    drops = wrapped(np.where(liquid < threshold, 0, liquid))
    mask = drops * relief(drops)
    peak = mask.max((1, 2), keepdims=True)
    mask = strength * mask / np.where(peak > 0, peak, 1)
    return to_bytes(x + mask[..., None] * WATER)


def wrapped(liquid: np.ndarray) -> np.ndarray:
    """Liquid >= 0 to uint8 levels, truncated and modulo 256: above 1 it starts again from black.

    The official script casts `liquid * 255` to uint8 unclipped, and the published files were made so. Severity 3, whose
    liquid varies most, has such maps; no other does.
    """
    return (np.floor(liquid * 255).astype(np.int64) % 256).astype(np.uint8)


def relief(drops: np.ndarray) -> np.ndarray:
    """[N, H, W] bytes: distance to the drops' edges, cut at 20, smoothed, equalised, embossed, smoothed."""
    distance = chamfer_distance(canny(drops, 50, 150), limit=20)
    equal = equalize(box(distance).astype(np.uint8))
    embossed = correlate(equal.astype(float), EMBOSS[None], mode="mirror")
    return np.rint(box(np.clip(embossed, 0, 255)))


def chamfer_distance(edges: np.ndarray, limit: float) -> np.ndarray:
    """Distance to each image's nearest edge, at most `limit`, by moves of a 5 x 5 mask costing 1, 1.4 and 2.1969."""
    cost = {1: 1.0, 2: 1.4, 5: 2.1969}  # by squared length
    moves = [(a, b, cost[a * a + b * b]) for a in range(-2, 3) for b in range(-2, 3) if a * a + b * b in cost]
    height, width = edges.shape[1:]
    distance, before = np.where(edges, 0.0, limit), None
    while before is None or (distance < before).any():
        before = distance
        padded = np.pad(before, ((0, 0), (2, 2), (2, 2)), constant_values=limit)
        distance = before.copy()
        for a, b, price in moves:
            np.minimum(distance, padded[:, 2 + a : 2 + a + height, 2 + b : 2 + b + width] + price, out=distance)
    return distance


def box(x: np.ndarray) -> np.ndarray:
    """3 x 3 mean of each image, mirrored borders; sums before it divides, so that whole means stay whole."""
    return correlate(x.astype(float), np.ones((1, 3, 3)), mode="mirror") / 9


def equalize(images: np.ndarray) -> np.ndarray:
    """Histogram equalisation of each uint8 image: its darkest level goes to 0, its brightest to 255."""
    n, pixels = len(images), images[0].size
    keys = np.arange(n)[:, None] * 256 + images.reshape(n, -1)
    counts = np.bincount(keys.ravel(), minlength=256 * n).reshape(n, 256)
    darkest = images.reshape(n, -1).min(1)
    first = counts[np.arange(n), darkest][:, None]
    above = counts.cumsum(1) - first
    table = np.rint(255 / np.maximum(pixels - first, 1) * np.maximum(above, 0))
    flat = first[:, 0] == pixels  # one level only: unchanged
    table[flat] = np.arange(256)
    return table.reshape(-1)[keys].reshape(images.shape).astype(np.uint8)


def canny(images: np.ndarray, low: float, high: float) -> np.ndarray:
    """Canny edges [N, H, W] of uint8 images as OpenCV takes them: 3 x 3 Sobel, |gx| + |gy|, hysteresis low/high."""
    x = images.astype(np.int64)
    gx = correlate(x, SOBEL[None], mode="nearest")
    gy = correlate(x, SOBEL.T[None], mode="nearest")
    magnitude = abs(gx) + abs(gy)
    candidates = thin(gx, gy, magnitude) & (magnitude > low)
    # Hysteresis: keep 8-connected groups, within one image, that reach `high` somewhere.
    inside = np.zeros((3, 3, 3), dtype=int)
    inside[1] = 1
    groups, count = label(candidates, inside)
    strong = np.zeros(count + 1, dtype=bool)
    strong[groups[candidates & (magnitude > high)]] = True
    return strong[groups]


def thin(gx: np.ndarray, gy: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
    """Where the magnitude is a maximum along the gradient, which is taken to the nearest multiple of 45 degrees."""
    height, width = magnitude.shape[1:]
    padded = np.pad(magnitude, ((0, 0), (1, 1), (1, 1)))

    def at(down: int, right: int) -> np.ndarray:
        return padded[:, 1 + down : 1 + down + height, 1 + right : 1 + right + width]

    m = magnitude
    across = (m > at(0, -1)) & (m >= at(0, 1))
    along = (m > at(-1, 0)) & (m >= at(1, 0))
    falling = (m > at(-1, -1)) & (m > at(1, 1))
    rising = (m > at(-1, 1)) & (m > at(1, -1))
    diagonal = np.where((gx < 0) ^ (gy < 0), rising, falling)
    flat, steep = abs(gy) < TAN_22 * abs(gx), abs(gy) > (TAN_22 + 2) * abs(gx)
    return np.where(flat, across, np.where(steep, along, diagonal))
