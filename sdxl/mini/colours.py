"""The colours of letters, of digits and of the grounds behind them, each with its name."""

from __future__ import annotations

import colorsys
from typing import NamedTuple

import numpy as np

HUES = {"red": 0.0, "orange": 0.08, "yellow": 0.15, "green": 0.35, "cyan": 0.5, "blue": 0.62, "purple": 0.77, "pink": 0.9}
COLOURS = ("black", "white", *HUES)
GROUNDS = tuple(f"{shade}{hue}" for shade in ("pale", "dark") for hue in ("", *(f" {name}" for name in HUES)))


class Paint(NamedTuple):
    """A named colour. `rgb`, in [0, 1]: (3,) of an ink, or (side, side, 3) of a ground, which varies from corner to corner."""

    name: str
    rgb: np.ndarray


def any_ink(draw: np.random.Generator) -> Paint:
    """A random ink: black or white in one of five pictures, else one of HUES."""
    if draw.random() < 0.2:
        dark = bool(draw.random() < 0.5)
        return Paint(("black", "white")[not dark], np.full(3, draw.uniform(0.0, 0.15) if dark else draw.uniform(0.88, 1.0)))
    name = list(HUES)[draw.integers(len(HUES))]
    hue = HUES[name] + draw.uniform(-0.02, 0.02)
    return Paint(name, np.array(colorsys.hsv_to_rgb(hue % 1, draw.uniform(0.75, 1.0), draw.uniform(0.55, 1.0))))


def any_ground(draw: np.random.Generator, side: int, ink: Paint) -> Paint:
    """A random ground of a picture: pale behind a dark ink, dark behind a light one; grey in three of ten pictures."""
    dark_ink = float(ink.rgb @ [0.299, 0.587, 0.114]) < 0.5
    name = list(HUES)[draw.integers(len(HUES))]
    hue, grey = (HUES[name] + draw.uniform(-0.02, 0.02)) % 1, bool(draw.random() < 0.3)
    saturation = 0.0 if grey else draw.uniform(0.15, 0.35) if dark_ink else draw.uniform(0.5, 0.9)
    base = np.array(colorsys.hsv_to_rgb(hue, saturation, draw.uniform(0.85, 1.0) if dark_ink else draw.uniform(0.1, 0.3)))
    slope = draw.uniform(-0.06, 0.06, size=2)
    across = np.linspace(-1, 1, side)
    shade = slope[0] * across[None, :] + slope[1] * across[:, None]
    words = ("pale" if dark_ink else "dark") + ("" if grey else f" {name}")
    return Paint(words, np.clip(base + shade[..., None], 0, 1))


def painted(mask: np.ndarray, ink: Paint, ground: Paint) -> np.ndarray:
    """A picture, (side, side, 3) in uint8, with ink where the mask (side, side) is 1 and the ground where it is 0."""
    pixels = ground.rgb * (1 - mask[..., None]) + ink.rgb * mask[..., None]
    return (255 * pixels).round().astype(np.uint8)


def caption(what: str, ground: Paint) -> str:
    """A caption, such as "a small red letter k on a pale blue ground" for `what` = "small red letter k"."""
    return f"{'an' if what[0] in 'aeiou' else 'a'} {what} on a {ground.name} ground"
