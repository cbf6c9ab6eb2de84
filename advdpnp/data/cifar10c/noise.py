"""Noise: every draw is per pixel and per channel. uint8 [N, H, W, 3] in and out; `rngs`: one generator per image."""

import numpy as np

from .shared import Generators, draw, to_bytes, unit


def gaussian_noise(images: np.ndarray, rngs: Generators, sigma: float) -> np.ndarray:
    """x + N(0, sigma^2); sigma in units of the full range."""
    return to_bytes(unit(images) + sigma * draw(rngs, lambda rng: rng.standard_normal(images.shape[1:])))


def shot_noise(images: np.ndarray, rngs: Generators, photons: float) -> np.ndarray:
    """Poisson(photons * x) / photons; photons counted at full white."""
    rates = photons * unit(images)
    return to_bytes(np.stack([rng.poisson(rate) for rng, rate in zip(rngs, rates)]) / photons)


def impulse_noise(images: np.ndarray, rngs: Generators, probability: float) -> np.ndarray:
    """Salt and pepper: each value is replaced with `probability`, by white or black with equal chance.

    Differs from the official script: one uniform draw per value instead of two (the same distribution).
    """
    u = draw(rngs, lambda rng: rng.random(images.shape[1:]))
    out = images.copy()
    out[u < probability] = 255
    out[u < probability / 2] = 0
    return out


def speckle_noise(images: np.ndarray, rngs: Generators, sigma: float) -> np.ndarray:
    """x + x * N(0, sigma^2): noise in proportion to the brightness."""
    x = unit(images)
    return to_bytes(x + x * sigma * draw(rngs, lambda rng: rng.standard_normal(images.shape[1:])))
