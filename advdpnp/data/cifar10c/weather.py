"""Weather: one random map per image, shared by its channels. uint8 [N, H, W, 3] in and out; `rngs`: one per image."""

import numpy as np

from .shared import Generators, draw, hsv_to_rgb, motion, rgb_to_hsv, summed_zooms, to_bytes, unit

# Four frost photographs at a fifth of their size, as statistics of their 32 x 32 crops: probability; mean RGB;
# spread of the crops' means; spread within a crop (RGB); slope of the radial power spectrum; correlation of G and B
# with R. The official script draws files 1 to 5, of which 2 and 3 are the same picture.
FROST_TEXTURES = (
    (0.2, (78, 149, 166), 11, (21, 13, 12), 1.5, (0.82, 0.57)),
    (0.4, (201, 205, 214), 9, (17, 17, 17), 1.0, (1.0, 1.0)),
    (0.2, (138, 153, 166), 12, (27, 27, 27), 0.5, (1.0, 1.0)),
    (0.2, (112, 123, 135), 20, (34, 34, 34), 1.2, (1.0, 1.0)),
)


def snow(
    images: np.ndarray,
    rngs: Generators,
    mean: float,
    std: float,
    zoom: float,
    threshold: float,
    radius: float,
    sigma: float,
    keep: float,
) -> np.ndarray:
    """Whiten the image, then add wind-blown flakes and the same flakes turned by 180 degrees.

    Flakes: N(mean, std) zoomed by `zoom`, zero below `threshold`, motion-blurred (`radius`, `sigma`) along
    U(-135, -45) degrees. Image: keep * x + (1 - keep) * max(x, 1.5 * grey + 0.5).
    Differs from the official script: double precision, and ImageMagick's motion blur in numpy.
    """
    flakes = mean + std * draw(rngs, lambda rng: rng.standard_normal(images.shape[1:3]))
    angles = draw(rngs, lambda rng: rng.uniform(-135, -45))
    flakes = summed_zooms(flakes, (zoom,))
    flakes = unit(motion(to_bytes(np.where(flakes < threshold, 0, flakes)), angles, radius, sigma))[..., None]
    x = unit(images)
    grey = (0.299 * x[..., 0] + 0.587 * x[..., 1] + 0.114 * x[..., 2])[..., None]
    x = keep * x + (1 - keep) * np.maximum(x, 1.5 * grey + 0.5)
    return to_bytes(x + flakes + flakes[:, ::-1, ::-1])


def frost_textures(rngs: Generators, height: int, width: int) -> np.ndarray:
    """[N, H, W, 3] random fields in 0..255 with the colour, contrast, spectrum and frequency of FROST_TEXTURES."""
    probabilities = [texture[0] for texture in FROST_TEXTURES]
    kind = draw(rngs, lambda rng: rng.choice(len(FROST_TEXTURES), p=probabilities))
    mean, jitter, spread, slope, correlation = (
        np.array([texture[i] for texture in FROST_TEXTURES], dtype=float)[kind] for i in range(1, 6)
    )
    jitter = jitter * draw(rngs, lambda rng: rng.standard_normal())
    white = draw(rngs, lambda rng: rng.standard_normal((2, 2 * height, 2 * width)))  # cut below: no wrap-around
    frequency = np.hypot(np.fft.fftfreq(2 * height)[:, None], np.fft.rfftfreq(2 * width))
    frequency[0, 0] = np.inf
    shape = frequency ** (-slope[:, None, None, None] / 2)  # power = amplitude squared
    fields = np.fft.irfft2(np.fft.rfft2(white) * shape, s=white.shape[2:])[..., :height, :width]
    fields = fields - fields.mean((2, 3), keepdims=True)
    first, second = np.moveaxis(fields / fields.std((2, 3), keepdims=True), 1, 0)[..., None]
    r = np.insert(correlation, 0, 1, axis=1)[:, None, None]  # R with itself, G, B
    field = r * first + np.sqrt(1 - r**2) * second
    frost = (mean + jitter[:, None])[:, None, None] + spread[:, None, None] * field
    return np.clip(frost, 0, 255)


def frost(images: np.ndarray, rngs: Generators, image_weight: float, frost_weight: float) -> np.ndarray:
    """image_weight * image + frost_weight * frost, in 0..255.

    Differs from the official script: it crops photographs of frost; we draw Gaussian fields with their first- and
    second-order statistics (`frost_textures`). Crystals have shapes, these fields do not.
    """
    texture = frost_textures(rngs, *images.shape[1:3])
    return np.clip(image_weight * images + frost_weight * texture, 0, 255).astype(np.uint8)


def diamond_square(rngs: Generators, size: int, decay: float) -> np.ndarray:
    """[N, size, size] periodic height maps in [0, 1]; `size` a power of two, a larger `decay` is smoother.

    From one corner, each level fills the middles of squares, then of diamonds, with the mean of four neighbours
    plus w * U(-w, w); w starts at 100 and is divided by `decay` as the step halves.
    """
    heights = np.zeros((len(rngs), size, size))
    step, w = size, 100.0

    def perturbed(total: np.ndarray) -> np.ndarray:
        return total / 4 + w * draw(rngs, lambda rng: rng.uniform(-w, w, total.shape[1:]))

    while step >= 2:
        half = step // 2
        corners = heights[:, ::step, ::step]
        pairs = corners + np.roll(corners, -1, 1)
        heights[:, half::step, half::step] = perturbed(pairs + np.roll(pairs, -1, 2))
        centres = heights[:, half::step, half::step]
        beside = centres + np.roll(centres, 1, 1) + corners + np.roll(corners, -1, 2)
        heights[:, ::step, half::step] = perturbed(beside)
        below = centres + np.roll(centres, 1, 2) + corners + np.roll(corners, -1, 1)
        heights[:, half::step, ::step] = perturbed(below)
        step, w = half, w / decay
    heights -= heights.min((1, 2), keepdims=True)
    return heights / heights.max((1, 2), keepdims=True)


def fog(images: np.ndarray, rngs: Generators, density: float, decay: float) -> np.ndarray:
    """(x + density * fog) * m / (m + density), with m the image's maximum and fog a `diamond_square` map."""
    x = unit(images)
    height, width = x.shape[1:3]
    size = 1 << (max(height, width) - 1).bit_length()
    haze = diamond_square(rngs, size, decay)[:, :height, :width, None]
    brightest = x.max((1, 2, 3), keepdims=True)
    return to_bytes((x + density * haze) * brightest / (brightest + density))


def brightness(images: np.ndarray, rngs: Generators, shift: float) -> np.ndarray:
    """HSV value plus `shift`, clipped to [0, 1]."""
    hue, saturation, value = rgb_to_hsv(unit(images))
    return to_bytes(hsv_to_rgb(hue, saturation, np.clip(value + shift, 0, 1)))
