"""Pictures side by side: what was attacked, what the model saw of it, what it made of it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sdxl.decode import to_bytes

GAP = 4  # pixels between two


def strip(rows: list[list[Any]]) -> Any:
    """Square pictures in rows, each of the size of the first. Paper: Figs. 1, 2."""
    from PIL import Image

    side = rows[0][0].width
    found = Image.new("RGB", (len(rows[0]) * (side + GAP) - GAP, len(rows) * (side + GAP) - GAP), "white")
    for i, row in enumerate(rows):
        for j, one in enumerate(row):
            found.paste(one.resize((side, side), Image.Resampling.NEAREST), (j * (side + GAP), i * (side + GAP)))
    return found


def as_rgb(latent: Tensor) -> Any:
    """The first three channels of a latent (4, h, w) as colours, three standard deviations to either side of their mean."""
    x = latent[:3].float().cpu()
    spread = x.std().clamp_min(1e-6)
    return image_of((x - x.mean()) / (3 * spread))


def image_of(values: Tensor) -> Any:
    """The picture of (3, H, W) in [-1, 1]."""
    from PIL import Image

    return Image.fromarray(to_bytes(values).permute(1, 2, 0).cpu().numpy())
