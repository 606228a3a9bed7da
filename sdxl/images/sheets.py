"""From latents to pictures, and many pictures on one sheet."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.files import write_atomically

LARGEST, GAP = 256, 4  # of a picture on a sheet, and between two: pixels


def to_bytes(pixels: Tensor) -> Tensor:
    """[-1, 1] -> uint8, as images are written."""
    return (255 * (pixels / 2 + 0.5).clamp(0, 1)).round().to(torch.uint8)


def png(image: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def save(image: Any, file: Path) -> None:
    """As PNG, whole or not at all."""
    write_atomically(file, png(image))


def sheet(files: list[Path]) -> Any:
    """Pictures of one size in rows, as near to a square as can be."""
    from PIL import Image

    columns = math.ceil(math.sqrt(len(files)))
    with Image.open(files[0]) as first:
        scale = min(1.0, LARGEST / max(first.size))
        width, height = (round(scale * side) for side in first.size)
    rows = math.ceil(len(files) / columns)
    whole = Image.new("RGB", (columns * (width + GAP) + GAP, rows * (height + GAP) + GAP), "white")
    for i, file in enumerate(files):
        with Image.open(file) as image:
            small = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
        whole.paste(small, (GAP + (i % columns) * (width + GAP), GAP + (i // columns) * (height + GAP)))
    return whole
