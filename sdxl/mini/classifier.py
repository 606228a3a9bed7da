"""A classifier that tells what a picture shows: it measures whether samples show what their prompts name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from sdxl.mini.colours import COLOURS, GROUNDS
from sdxl.mini.glyphs import LETTERS, SIZE

OF_LETTERS = {"letter": tuple(LETTERS), "colour": COLOURS, "ground": GROUNDS}
CHANNELS = (32, 64, 128, 128)
ALL = "all"  # that a picture shows all that is named


class Classifier(nn.Module):
    """Pixels (B, 3, SIZE, SIZE) in [-1, 1] -> for each name in `classes`, scores (B, number of classes).

    classes: what is named, such as "colour", with the words for it; features: the count of numbers from which all scores follow.
    """

    def __init__(self, classes: Mapping[str, tuple[str, ...]], *, seed: int, features: int = 256):
        super().__init__()
        self.classes = dict(classes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers: list[nn.Module] = [nn.Conv2d(3, CHANNELS[0], 3, padding=1), nn.GELU()]
            for below, above in pairwise(CHANNELS):
                layers += [nn.Conv2d(below, above, 3, stride=2, padding=1), nn.GroupNorm(8, above), nn.GELU()]
            side = SIZE // 2 ** (len(CHANNELS) - 1)
            self.features = nn.Sequential(*layers, nn.Flatten(), nn.Linear(CHANNELS[-1] * side**2, features))
            self.heads = nn.ModuleDict({name: nn.Linear(features, len(words)) for name, words in classes.items()})

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        return self.scores(self.features(pixels))

    def scores(self, features: Tensor) -> dict[str, Tensor]:
        """The scores that follow from features (B, F)."""
        return {name: head(nn.functional.gelu(features)) for name, head in self.heads.items()}

    def labels(self, pictures: Sequence[Any]) -> dict[str, Tensor]:
        """For each name, the number of the class of each picture, (N,). A picture has the names as attributes."""
        return {
            name: torch.tensor([words.index(getattr(picture, name)) for picture in pictures])
            for name, words in self.classes.items()
        }

    @torch.no_grad()
    def right(self, pixels: Tensor, labels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """For each name, and for ALL of them together, which pictures show what the labels say, (N,) of bool."""
        scores = self(pixels)
        right = {name: scores[name].argmax(1) == labels[name] for name in self.classes}
        return right | {ALL: torch.stack(list(right.values())).all(0)}
