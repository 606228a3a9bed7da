"""From pixels and latents to pictures, and many pictures in one."""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from harness.files import write_atomically
from harness.style import RC

LARGEST, LEAST = 256, 96  # pixels of the longer side of a thumbnail at most, and of the width of a picture in a grid at least
GAP = 4  # pixels between two pictures
LETTER, LETTERS_ACROSS = 13, 16  # size of labels: 13 pixels, or a 16th of the width of a picture if that is more
BESIDE = 25  # letters in a line of a label beside a row


def to_bytes(pixels: Tensor) -> Tensor:
    """Pixels in [-1, 1] as uint8, as images are written."""
    return (255 * (pixels / 2 + 0.5).clamp(0, 1)).round().to(torch.uint8)


def from_bytes(pixels: Tensor) -> Tensor:
    """uint8 pixels in [-1, 1]."""
    return pixels.float() / 127.5 - 1


def image_of(pixels: Tensor) -> Any:
    """The PIL image of pixels (3, H, W) in [-1, 1]."""
    return Image.fromarray(to_bytes(pixels).permute(1, 2, 0).cpu().numpy())


def as_rgb(latent: Tensor) -> Any:
    """The first three channels of a latent (4, h, w) as colours: three standard deviations to either side of their mean."""
    x = latent[:3].float().cpu()
    return image_of((x - x.mean()) / (3 * x.std().clamp_min(1e-6)))


def thumbnail(source: Any, largest: int = LARGEST) -> Any:
    """A picture, or that of a file, in RGB and at most `largest` pixels wide and high."""
    image = (Image.open(source) if isinstance(source, Path) else source).convert("RGB")
    image.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    return image


def png(picture: Any) -> bytes:
    """The PNG of a PIL image or of a matplotlib figure; the latter without a version, so that equal figures are equal files."""
    stream = io.BytesIO()
    if isinstance(picture, Image.Image):
        picture.save(stream, "PNG")
    else:
        from matplotlib import rc_context

        with rc_context(RC):  # ticks follow from the size of letters when the figure is saved
            picture.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def save(picture: Any, file: Path) -> None:
    """Write the PNG of a picture, whole or not at all."""
    write_atomically(file, png(picture))


def grid(
    rows: Sequence[Sequence[Any]],
    *,
    above: Sequence[str] = (),
    beside: Sequence[str] = (),
    below: Sequence[Sequence[str]] = (),
    gap: int = GAP,
) -> Any:
    """Pictures in rows as one picture, with labels. Short rows end in white.

    All pictures get the size of the widest one, times the least whole number that makes it LEAST pixels wide or more.

    Args: above: a label for each column; beside: a label for each row; below: for each row, a label for each of its pictures;
    gap: pixels between two pictures.
    """
    widest = max((picture for row in rows for picture in row), key=lambda picture: picture.width)
    times = math.ceil(LEAST / widest.width)
    width, height = times * widest.width, times * widest.height
    labels = _Labels(max(LETTER, width // LETTERS_ACROSS))
    heads, sides = labels.wrapped(above, width), labels.wrapped(beside, BESIDE * labels.letter)
    feet = [labels.wrapped(row, width) for row in below]
    (left, _), (_, top), (_, foot) = (labels.size(some) for some in (sides, heads, [label for row in feet for label in row]))
    across, down = width + gap, height + foot + gap
    whole = Image.new("RGB", (left + max(map(len, rows)) * across - gap, top + len(rows) * down - gap), "white")
    pen = ImageDraw.Draw(whole)
    look: Any = {"fill": "black", "font": labels.font}
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            whole.paste(picture.resize((width, height), Image.Resampling.NEAREST), (left + j * across, top + i * down))
    for j, label in enumerate(heads):
        pen.multiline_text((left + j * across, top - GAP), label, anchor="ld", **look)
    for i, label in enumerate(sides):
        pen.multiline_text((0, top + i * down + height // 2), label, anchor="lm", **look)
    for i, row in enumerate(feet):
        for j, label in enumerate(row):
            pen.multiline_text((left + j * across, top + i * down + height + GAP), label, **look)
    return whole


def sheet(pictures: Sequence[Any], *, columns: int | None = None, below: Sequence[str] = (), gap: int = GAP) -> Any:
    """A `grid` with rows of `columns` pictures, or as near to a square as can be. `below`: a label for each picture."""
    columns = columns or math.ceil(math.sqrt(len(pictures)))
    starts = range(0, len(pictures), columns)
    return grid([pictures[i : i + columns] for i in starts], below=[below[i : i + columns] for i in starts if below], gap=gap)


class _Labels:
    """Text in the font that comes with matplotlib, which has the letter for the n of t_n."""

    def __init__(self, size: int):
        from matplotlib import get_data_path

        self.font = ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)
        self.letter = self.font.getlength("o")  # pixels across
        self.pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))

    def wrapped(self, labels: Sequence[str], width: float) -> list[str]:
        """The labels in lines of about `width` pixels; `t_n = 500` stays on one line."""
        letters = max(1, int(width / self.letter))
        written = [re.sub(r"\bt_n\b", "t\u2099", label.replace(" = ", "\u00a0=\u00a0")) for label in labels]
        return ["\n".join(line for part in label.splitlines() for line in textwrap.wrap(part, letters)) for label in written]

    def size(self, labels: Sequence[str]) -> tuple[int, int]:
        """The pixels that the widest label takes, with space behind it, and the highest one, with a gap; 0 without labels."""
        boxes = [self.pen.multiline_textbbox((0, 0), label, self.font) for label in labels]
        wide, high = (max((math.ceil(box[i]) for box in boxes), default=0) for i in (2, 3))
        return (wide + round(self.letter), high + 2 * GAP) if boxes else (0, 0)
