"""What all pictures of runs have in common: the ink, a panel without clutter, and being written whole."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from metamtl.runs.files import write_atomic

if TYPE_CHECKING:  # matplotlib takes half a second, which only a run that draws should pay
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#333333"
# of Okabe & Ito's palette, told apart with every kind of colour blindness
SKY, ORANGE, GREEN, BLUE = "#56B4E9", "#D55E00", "#009E73", "#0072B2"


def write_png(figure: Figure, target: Path) -> Path:
    """Writes the picture, or nothing at all, and returns its path."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white")  # Agg draws every PNG, with or without a screen
    write_atomic(target, buffer.getvalue())
    return target


def clear(panel: Axes) -> None:
    """A faint grid behind what is drawn, and axes on two sides."""
    panel.grid(True, color="#e6e6e6", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=9, colors=INK)
