"""Resizing and cropping an image to a square."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ambient.randomness import generator
from sdxl.images.sheets import from_bytes

CROPS = ("center", "random")


def fit(image: Any, resolution: int, crop: str, seed: int, key: str) -> tuple[Tensor, Tensor]:
    """A square of an image, whose shorter side is resized to R = `resolution`.

    Args: crop: center, or random: the place of the square then follows from the seed and the key of the image.
    Returns: pixels (3, R, R) in [-1, 1], and time_ids (6,): size before (height, width), corner (top, left), size after.
    """
    from PIL import Image

    width, height = image.size
    wide, high = scaled(image.size, resolution)
    share = torch.full((2,), 0.5) if crop == "center" else torch.rand(2, generator=generator(seed, f"crop/{key}"))
    top, left = int(share[0] * (high - resolution)), int(share[1] * (wide - resolution))
    square = image.resize((wide, high), Image.Resampling.LANCZOS).crop((left, top, left + resolution, top + resolution))
    pixels = from_bytes(torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1))
    return pixels, torch.tensor([height, width, top, left, resolution, resolution], dtype=torch.float32)


def scaled(size: tuple[int, int], resolution: int) -> tuple[int, int]:
    """Width and height after the shorter side is resized to `resolution`."""
    scale = resolution / min(size)
    return max(resolution, round(size[0] * scale)), max(resolution, round(size[1] * scale))
