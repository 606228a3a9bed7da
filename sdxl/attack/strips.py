"""Pictures side by side: what was attacked, what the model saw of it, what it made of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

GAP = 4  # pixels between two


def strip(pixels: Tensor, x_0: Tensor, rows: list[tuple[Tensor, list[Any]]]) -> Any:
    """A row for each level: the image, its latent, the noisy latent, one step, samples. Paper: Fig. 2. pixels: in [-1, 1]."""
    from PIL import Image

    side, columns = pixels.shape[-1], 3 + len(rows[0][1])
    size = (columns * (side + GAP) - GAP, len(rows) * (side + GAP) - GAP)
    found = Image.new("RGB", size, "white")
    for i, (x_t, restored) in enumerate(rows):
        shown = [_image(pixels / 2 + 0.5), *(as_rgb(x).resize((side, side), Image.Resampling.NEAREST) for x in (x_0, x_t))]
        for j, one in enumerate([*shown, *restored]):
            found.paste(one, (j * (side + GAP), i * (side + GAP)))
    return found


def as_rgb(latent: Tensor) -> Any:
    """The first three channels of a latent (4, h, w) as colours, three standard deviations to either side of their mean."""
    x = latent[:3].float().cpu()
    spread = x.std().clamp_min(1e-6)
    return _image((x - x.mean()) / (6 * spread) + 0.5)


def _image(values: Tensor) -> Any:
    from PIL import Image

    return Image.fromarray((255 * values.clamp(0, 1)).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy())
