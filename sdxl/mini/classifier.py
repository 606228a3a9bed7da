"""A classifier that tells what a picture of a letter shows. It measures whether samples show what their prompts name."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sdxl.mini.glyphs import COLOURS, GROUNDS, LETTERS, SIZE, Glyph

CLASSES = {"letter": tuple(LETTERS), "colour": COLOURS, "ground": GROUNDS}
CHANNELS = (32, 64, 128, 128)
FEATURES = 256


class Classifier(nn.Module):
    """Pixels (B, 3, SIZE, SIZE) in [-1, 1] -> for each of CLASSES, scores (B, number of classes)."""

    def __init__(self, seed: int):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers: list[nn.Module] = [nn.Conv2d(3, CHANNELS[0], 3, padding=1), nn.GELU()]
            for below, above in zip(CHANNELS[:-1], CHANNELS[1:], strict=True):
                layers += [nn.Conv2d(below, above, 3, stride=2, padding=1), nn.GroupNorm(8, above), nn.GELU()]
            side = SIZE // 2 ** (len(CHANNELS) - 1)
            layers += [nn.Flatten(), nn.Linear(CHANNELS[-1] * side**2, FEATURES), nn.GELU()]
            self.features = nn.Sequential(*layers)
            self.heads = nn.ModuleDict({name: nn.Linear(FEATURES, len(classes)) for name, classes in CLASSES.items()})

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        features = self.features(pixels)
        return {name: head(features) for name, head in self.heads.items()}

    @staticmethod
    def labels(pictures: Sequence[Glyph]) -> dict[str, Tensor]:
        """For each of CLASSES, the number of the class of each picture, (N,)."""
        return {
            name: torch.tensor([classes.index(getattr(picture, name)) for picture in pictures]) for name, classes in CLASSES.items()
        }

    @torch.no_grad()
    def right(self, pixels: Tensor, labels: dict[str, Tensor]) -> dict[str, Tensor]:
        """For each of CLASSES, and for "all" of them together, which pictures show what the labels say, (N,) of bool."""
        scores = self(pixels)
        right = {name: scores[name].argmax(1) == labels[name] for name in CLASSES}
        return right | {"all": torch.stack(list(right.values())).all(0)}
