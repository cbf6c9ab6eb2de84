"""Films as files: what moves, what the still is, and that mistakes are refused."""

import io

import numpy as np
import pytest
from PIL import Image, ImageChops

from advdpnp.report.animations import Frame, film

LABELS = np.array([0, 1, 2])
CENTERS = np.array([[5.0, 0.0], [0.0, 5.0], [-5.0, 0.0]])


def opened(data: bytes) -> list[Image.Image]:
    picture = Image.open(io.BytesIO(data))
    frames = []
    for i in range(picture.n_frames):
        picture.seek(i)
        frames.append(picture.convert("RGB"))
    return frames


def differ(a: Image.Image, b: Image.Image) -> bool:
    return ImageChops.difference(a, b).getbbox() is not None


def test_a_film_has_a_still_that_is_its_last_moment():
    moments = [Frame(CENTERS * s, CENTERS) for s in (0.2, 0.6, 1.2)]
    still, *frames = opened(film({"one": moments}, LABELS, ["a", "b", "c"], limit=8))
    assert len(frames) == 3
    assert differ(frames[0], frames[1])
    assert differ(frames[1], frames[2])
    assert not differ(still, frames[2])


def test_what_does_not_move_gives_equal_frames_and_equal_bytes():
    moments = [Frame(CENTERS, CENTERS, CENTERS * 0.5)] * 2
    one, two = (film({"still": moments}, LABELS, ["same", "same"], limit=8) for _ in range(2))
    assert one == two
    still, *moving = opened(one)  # Pillow joins equal moments
    assert not [frame for frame in moving if differ(still, frame)]


def test_partners_are_drawn():
    alone, tied = (
        opened(film({"x": [Frame(CENTERS, CENTERS, partners)]}, LABELS, ["x"], limit=8))[-1]
        for partners in (None, -CENTERS)
    )
    assert differ(alone, tied)


def test_panels_of_different_lengths_are_refused():
    moment = Frame(CENTERS, CENTERS)
    with pytest.raises(ValueError, match="a frame for each caption"):
        film({"one": [moment], "two": [moment] * 2}, LABELS, ["a"], limit=8)


def test_a_long_film_is_white_between_its_points_and_below_a_megabyte():
    rng = np.random.default_rng(0)
    moments = [Frame(rng.normal(size=(360, 2)) * 4, CENTERS) for _ in range(33)]
    data = film({"clean": moments, "attacked": moments}, rng.integers(0, 10, 360), ["x"] * 33, limit=15)
    assert len(data) < 1_000_000
    assert {frame.getpixel((0, 0)) for frame in opened(data)} == {(255, 255, 255)}
