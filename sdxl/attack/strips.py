"""Pictures side by side: what was attacked, what the model saw of it, what it made of it."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from torch import Tensor

from sdxl.images.sheets import to_bytes

GAP = 4  # pixels between two
LEAST = 96  # pixels of a picture: smaller ones are enlarged, so that words fit beside them
LETTER, PER_LETTER = 13, 16  # pixels: of words at least, and of a picture to one of words
LINE = 1.25  # from one line of words to the next, in letters
ASIDE = 25  # letters in a line beside a row


def strip(rows: list[list[Any]], *, heads: list[str] | None = None, sides: list[str] | None = None) -> Any:
    """Square pictures in rows, each of the size of the first, with words over the columns and beside the rows.

    Short rows end in white. Paper: Figs. 1, 2.
    """
    from PIL import Image, ImageDraw

    side = enlarged(rows[0][0].width)
    words = Words(max(LETTER, side // PER_LETTER))
    beside = [textwrap.wrap(words_kept(label), ASIDE) for label in sides or []]
    left = max((words.width(line) for lines in beside for line in lines), default=0)
    left += words.size if left else 0
    above = [textwrap.wrap(head, max(1, int(side / words.width("o")))) for head in heads or []]
    top = words.height(max(map(len, above), default=0))
    across = max(len(row) for row in rows)
    found = Image.new("RGB", (left + across * (side + GAP) - GAP, top + len(rows) * (side + GAP) - GAP), "white")
    pen = ImageDraw.Draw(found)
    for j, lines in enumerate(above):
        words.write(pen, (left + j * (side + GAP), top - words.height(len(lines))), lines)
    for i, row in enumerate(rows):
        y = top + i * (side + GAP)
        for j, one in enumerate(row):
            found.paste(one.resize((side, side), Image.Resampling.NEAREST), (left + j * (side + GAP), y))
        if beside:
            words.write(pen, (0, y + (side - words.height(len(beside[i]))) // 2), beside[i])
    return found


def enlarged(side: int) -> int:
    """By whole times, to LEAST pixels or more."""
    return side * -(-LEAST // side)


def words_kept(label: str) -> str:
    """t_n = 500 stays on one line."""
    return label.replace(" = ", "\u00a0=\u00a0")


class Words:
    """Lines of words in a picture; the n of t_n stands below."""

    def __init__(self, size: int):
        from PIL import ImageFont

        self.size = size
        self.fonts: Any = ImageFont.load_default(size), ImageFont.load_default(round(0.75 * size))

    def height(self, lines: int) -> int:
        return round(LINE * self.size * lines)

    def pieces(self, line: str) -> list[tuple[str, Any, float]]:
        """Of a line: words, their font, how far below the line."""
        parts = re.split(r"(?<=\b[A-Za-z])_([a-z0-9])\b", line.replace("\u00a0", " "))
        return [(part, self.fonts[i % 2], 0.4 * self.size * (i % 2)) for i, part in enumerate(parts)]

    def width(self, line: str) -> int:
        return round(sum(font.getlength(part) for part, font, _ in self.pieces(line)))

    def cut(self, line: str, width: int) -> str:
        """To so many pixels, its end left out."""
        while len(line) > 1 and self.width(line) > width:
            line = line.removesuffix("...")[:-1] + "..."
        return line

    def write(self, pen: Any, at: tuple[int, int], lines: list[str]) -> None:
        """From the upper left corner."""
        for i, line in enumerate(lines):
            x = float(at[0])
            for part, font, below in self.pieces(line):
                pen.text((x, at[1] + self.height(i) + below), part, "black", font)
                x += font.getlength(part)


def as_rgb(latent: Tensor) -> Any:
    """The first three channels of a latent (4, h, w) as colours, three standard deviations to either side of their mean."""
    x = latent[:3].float().cpu()
    spread = x.std().clamp_min(1e-6)
    return image_of((x - x.mean()) / (3 * spread))


def image_of(values: Tensor) -> Any:
    """The picture of (3, H, W) in [-1, 1]."""
    from PIL import Image

    return Image.fromarray(to_bytes(values).permute(1, 2, 0).cpu().numpy())
