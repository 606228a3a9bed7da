"""Pictures in labelled rows, and strips of attacks under one another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from sdxl.attack.strips import as_rgb, enlarged, strip
from sdxl.corrupt.noisy_set import NoisySet
from sdxl.evaluate import tables
from sdxl.images import sheets

WIDTH, WIDEST, APART = 820, 1600, 12  # of strips: pixels of a row about, and at most, and between two


def image(source: Any) -> Any:
    """Square and in colours, of a size to be looked at: from a file, or a picture. Enlarged by whole pixels."""
    if isinstance(source, Path):
        with Image.open(source) as opened:
            source = opened.convert("RGB")
    side = min(source.size)
    square = source.convert("RGB").crop((0, 0, side, side))
    if side > sheets.LARGEST:
        return square.resize((sheets.LARGEST, sheets.LARGEST), Image.Resampling.LANCZOS)
    return square.resize((enlarged(side), enlarged(side)), Image.Resampling.NEAREST)


def noisy(data: NoisySet, row: int) -> Any:
    """A noisy latent as RGB."""
    return image(as_rgb(data.rows([row])["x_n"][0]))


def grid(rows: list[tuple[str, list[Any]]]) -> Any:
    """A label, and pictures beside it."""
    side = max(one.width for _, row in rows for one in row)
    alike = [[one.resize((side, side), Image.Resampling.NEAREST) for one in row] for _, row in rows]
    return strip(alike, sides=[label for label, _ in rows])


def together(files: list[Path]) -> Any:
    """Strips in rows of as many as fit; wide ones made smaller."""
    strips = []
    for file in files:
        with Image.open(file) as opened:
            strips.append(opened.convert("RGB"))
    width, height = max(one.width for one in strips) + APART, max(one.height for one in strips) + APART
    across = max(1, min(len(strips), WIDTH // width))
    whole = Image.new("RGB", (across * width - APART, -(-len(strips) // across) * height - APART), "white")
    for i, one in enumerate(strips):
        whole.paste(one, (i % across * width, i // across * height))
    if whole.width <= WIDEST:
        return whole
    return whole.resize((WIDEST, round(WIDEST / whole.width * whole.height)), Image.Resampling.LANCZOS)


def png(drawn: Any) -> bytes:
    """Of a picture, of a matplotlib figure, or of a file as it is."""
    if isinstance(drawn, bytes):
        return drawn
    return tables.png(drawn) if isinstance(drawn, tables.Figure) else sheets.png(drawn)
