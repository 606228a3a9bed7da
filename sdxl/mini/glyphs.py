"""Pictures of letters with their captions, drawn by code: the images that the mini model is trained on.

Each picture is one letter of a font that matplotlib ships, in a colour, a size, a thickness and a slant, on a ground of another
colour. Its caption names all of these: "a small red bold italic letter k on a pale blue ground". There are no digits among them,
because digits are what the experiments fine-tune on.

Licences of the fonts: DejaVu (Bitstream Vera licence, public domain changes), STIX (SIL Open Font Licence 1.1).
"""

from __future__ import annotations

import string
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sdxl.mini import colours

SIZE = 32  # pixels of a side
OVERSAMPLING = 4  # a letter is drawn this many times larger, and reduced
SHIFT, TILT = 0.25, 8.0  # largest shift as a share of the room beside the letter, and largest turn in degrees
FONTS = {  # (bold, italic): file names
    (False, False): ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral"),
    (True, False): ("DejaVuSans-Bold", "DejaVuSerif-Bold", "DejaVuSansMono-Bold", "STIXGeneralBol"),
    (False, True): ("DejaVuSans-Oblique", "DejaVuSerif-Italic", "DejaVuSansMono-Oblique", "STIXGeneralItalic"),
    (True, True): ("DejaVuSans-BoldOblique", "DejaVuSerif-BoldItalic", "DejaVuSansMono-BoldOblique", "STIXGeneralBolIta"),
}
CAPITALS = "ABDEFGHJLMNQRTY"  # only letters whose shapes differ by more than their size: no o with O
GREEK = {
    "β": "beta", "δ": "delta", "ε": "epsilon", "θ": "theta", "λ": "lambda", "ξ": "xi", "π": "pi", "σ": "sigma", "φ": "phi",  # noqa: RUF001 - these are the letters meant
    "ψ": "psi", "Γ": "capital gamma", "Δ": "capital delta", "Λ": "capital lambda", "Ξ": "capital xi", "Σ": "capital sigma",
    "Ω": "capital omega",
}  # fmt: skip
LETTERS = {letter: f"letter {letter}" for letter in string.ascii_lowercase}
LETTERS |= {letter: f"capital {letter}" for letter in CAPITALS}
LETTERS |= {letter: f"greek {name}" for letter, name in GREEK.items()}
SIZES = {
    "small": (0.55, 0.62),
    "": (0.7, 0.8),
    "large": (0.9, 1.0),
}  # size of the font over 1.15, as a share of the picture's side


class Description(NamedTuple):
    """What a picture shows, in words, and its caption, which has all of them."""

    caption: str
    letter: str
    colour: str
    ground: str


def glyph(number: int, *, seed: int = 0) -> tuple[np.ndarray, Description]:
    """The picture with this number, (SIZE, SIZE, 3) in uint8, which follows from seed and number alone; and its description."""
    draw, words, ink, ground, font, height = _drawn(number, seed)
    return colours.painted(_mask(draw, words.letter, font, height), ink, ground), words


def described(number: int, *, seed: int = 0) -> Description:
    """The description of the picture with this number, which takes far less time than the picture."""
    return _drawn(number, seed)[1]


def _drawn(number: int, seed: int) -> tuple[np.random.Generator, Description, colours.Paint, colours.Paint, str, float]:
    """The draws of a picture but for those of `_mask`: description, ink, ground, name of the font, height of the letter."""
    draw = np.random.Generator(np.random.Philox(key=[seed, number]))
    letter = list(LETTERS)[draw.integers(len(LETTERS))]
    bold, italic = (bool(draw.random() < 0.5) for _ in range(2))
    size = list(SIZES)[draw.integers(len(SIZES))]
    ink = colours.any_ink(draw)
    ground = colours.any_ground(draw, SIZE, ink)
    font, height = FONTS[bold, italic][draw.integers(4)], draw.uniform(*SIZES[size])
    what = " ".join(filter(None, [size, ink.name, "bold" * bold, "italic" * italic, LETTERS[letter]]))
    return draw, Description(colours.caption(what, ground), letter, ink.name, ground.name), ink, ground, font, height


def source() -> bytes:
    """The code on which the pictures depend."""
    return Path(__file__).read_bytes() + Path(colours.__file__).read_bytes()


def _mask(draw: np.random.Generator, letter: str, font: str, height: float) -> np.ndarray:
    """How far each pixel is covered by the letter, (SIZE, SIZE) in [0, 1]: turned and shifted a little."""
    from PIL import Image, ImageDraw

    side = SIZE * OVERSAMPLING
    picture = Image.new("L", (side, side))
    opened = _font(font, round(1.15 * height * side))
    left, top, right, bottom = opened.getbbox(letter)
    room = [(side - (right - left)) / 2, (side - (bottom - top)) / 2]
    shift = [draw.uniform(-1, 1) * max(0.0, each - 0.06 * side) * SHIFT for each in room]
    at = (room[0] - left + shift[0], room[1] - top + shift[1])
    ImageDraw.Draw(picture).text(at, letter, 255, opened)
    turned = picture.rotate(draw.uniform(-TILT, TILT), Image.Resampling.BICUBIC)
    return np.asarray(turned.resize((SIZE, SIZE), Image.Resampling.BOX), dtype=np.float64) / 255


@cache
def _font(name: str, size: int) -> Any:
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf" / f"{name}.ttf"), size)
