"""Resizing and cropping an image to a square."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ambient.randomness import generator

CROPS = ("center", "random")


def fit(image: Any, resolution: int, crop: str, seed: int, key: str) -> tuple[Tensor, Tensor]:
    """Pixels (3, R, R) in [-1, 1], the shorter side resized to R and the rest cut off; time_ids (6,): size before, corner, size.

    A random crop is drawn once: it follows from seed and key.
    """
    from PIL import Image

    width, height = image.size
    wide, high = scaled(image.size, resolution)
    share = torch.full((2,), 0.5) if crop == "center" else torch.rand(2, generator=generator(seed, f"crop/{key}"))
    top, left = int(share[0] * (high - resolution)), int(share[1] * (wide - resolution))
    square = image.resize((wide, high), Image.Resampling.LANCZOS).crop((left, top, left + resolution, top + resolution))
    pixels = torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1).float() / 127.5 - 1
    return pixels, torch.tensor([height, width, top, left, resolution, resolution], dtype=torch.float32)


def scaled(size: tuple[int, int], resolution: int) -> tuple[int, int]:
    """Width and height once the shorter side is `resolution`."""
    scale = resolution / min(size)
    return max(resolution, round(size[0] * scale)), max(resolution, round(size[1] * scale))
