"""What all charts share: colours told apart by everyone, names that stay text, a layout for light and dark.

The colours are those of Okabe & Ito (2008) without yellow and black, which vanish on white and on black. Text and
lines of the axes take theirs from the style sheet, which knows whether the reader's screen is light or dark.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamtl.runs.metric_names import in_percent

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8C8C8C")
DASHES = ("solid", "dash", "dot", "dashdot")
SYMBOLS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "star")
SCALE = "Cividis"  # rises in lightness, and looks alike to the colour-blind
_DIGITS = 6


def colour(number: int) -> str:
    """Of the number-th thing drawn; after seven they come again, with other dashes."""
    return COLOURS[number % len(COLOURS)]


def dash(number: int) -> str:
    """The line of the number-th thing drawn."""
    return DASHES[number // len(COLOURS) % len(DASHES)]


def faint(shade: str, share: float) -> str:
    """A colour `#rrggbb` of which a share is seen."""
    red, green, blue = (int(shade[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{share})"


def plain(text: object, longest: int = 60) -> str:
    """A name as text: plotly.js reads some HTML in names, and `%{...}` in templates."""
    shown = str(text)
    shown = shown if len(shown) <= longest else f"{shown[: longest - 1]}…"
    return html.escape(shown, quote=False)


def numbers(values: Iterable[float] | NDArray[np.float64]) -> list[float | None]:
    """Figures for JSON: six digits are more than a screen shows, and what is not finite is a gap."""
    array = np.asarray(list(values) if not isinstance(values, np.ndarray) else values, dtype=np.float64)
    return [float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None for value in array]


def layout(x: Mapping[str, Any], y: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A layout with these axes; zoom and hidden traces stay while a page is renewed."""
    axis = {"automargin": True, "zeroline": False, "gridcolor": "#8884", "linecolor": "#888"}
    return {
        "xaxis": {**axis, **x},
        "yaxis": {**axis, **y},
        "margin": {"l": 60, "r": 20, "t": 32, "b": 48},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": "#777"},
        "legend": {
            "orientation": "h",
            "x": 0,
            "yref": "container",
            "y": 0,
            "yanchor": "bottom",
        },  # clear of the buttons
        "hoverlabel": {"font": {"family": "system-ui, sans-serif"}},
        "showlegend": True,
        "uirevision": "kept",
        **more,
    }


def axis_of(metric: str) -> dict[str, Any]:
    """Title and ticks of an axis of a metric; shares in percent."""
    shown = {"title": {"text": plain(metric)}}
    return {**shown, "tickformat": ".1~%"} if in_percent(metric) else shown
