"""Pictures that move, as one animated PNG: no player, no script, no network; what can't animate shows its last frame.

The style is that of figures.py. Functions take plain arrays and return the file's bytes.
"""

import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection
from PIL import Image

from advdpnp.report.figures import PALETTE, figure


class Frame(NamedTuple):
    """One moment of one panel: points [N, 2], prototypes [M, 2], and a partner [N, 2] of each point or None."""

    points: np.ndarray
    centers: np.ndarray
    partners: np.ndarray | None = None


def film(
    panels: Mapping[str, Sequence[Frame]], labels: np.ndarray, captions: Sequence[str], *, limit: float, wait: int = 150
) -> bytes:
    """Panels that move together: {title: a Frame each moment}, points coloured by label [N], axes from -limit to limit.

    `captions` has a line for each moment; `wait` is in milliseconds, and the last moment stays for two seconds. Raises
    ValueError when the panels and captions differ in length.
    """
    if {len(frames) for frames in panels.values()} != {len(captions)}:
        raise ValueError("each panel needs a frame for each caption")
    fig, axes = figure(1, len(panels), width=3.0, height=3.3, dpi=80)
    canvas, title = FigureCanvasAgg(fig), fig.suptitle(captions[0], fontsize=10)
    stages = zip(np.atleast_1d(axes), panels.items())
    actors = [_stage(ax, name, frames[0], labels, limit) for ax, (name, frames) in stages]
    canvas.draw()
    fig.set_layout_engine("none")  # keep this layout: it would differ a little at each drawing
    pictures = []
    for moment, caption in enumerate(captions):
        title.set_text(caption)
        for (points, stars, lines), frames in zip(actors, panels.values()):
            frame = frames[moment]
            points.set_offsets(frame.points)
            stars.set_offsets(frame.centers)
            lines.set_segments([] if frame.partners is None else np.stack([frame.partners, frame.points], 1))
        canvas.draw()
        pictures.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()))
    fig.clear()
    return animated_png(pictures, wait)


def _stage(
    ax: Axes, name: str, frame: Frame, labels: np.ndarray, limit: float
) -> tuple[PathCollection, PathCollection, LineCollection]:
    """Draw a panel's first moment; returns what moves: points, stars and lines."""
    ax.set(title=name, aspect="equal", xlim=(-limit, limit), ylim=(-limit, limit))
    colours = np.array(PALETTE)
    lines = LineCollection([], colors="#777777", linewidths=0.4, alpha=0.5)
    ax.add_collection(lines)
    points = ax.scatter(frame.points[:, 0], frame.points[:, 1], s=12, alpha=0.6, linewidths=0, c=colours[labels % 10])
    own = colours[: len(frame.centers)]
    style = {"marker": "*", "s": 150, "edgecolors": "black", "linewidths": 0.7, "zorder": 3}
    stars = ax.scatter(frame.centers[:, 0], frame.centers[:, 1], c=own, **style)
    return points, stars, lines


def animated_png(pictures: Sequence[Image.Image], wait: int) -> bytes:
    """RGB pictures of one size -> an animated PNG that loops; its still, for print and old viewers, is the last one."""
    palette = pictures[-1].quantize(128)
    levels = palette.getpalette() or []
    palette.putpalette([255 if level >= 248 else level for level in levels])  # white stays white
    still, *moving = (p.quantize(palette=palette, dither=Image.Dither.NONE) for p in (pictures[-1], *pictures))
    durations = [wait] * (len(moving) - 1) + [2000]
    handle = io.BytesIO()
    still.save(handle, "PNG", save_all=True, append_images=moving, default_image=True, duration=durations, loop=0)
    return handle.getvalue()
