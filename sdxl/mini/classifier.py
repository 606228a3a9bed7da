"""A classifier of pictures: it measures whether samples show what their prompts name, and its features measure distances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sdxl.mini.colours import COLOURS, GROUNDS
from sdxl.mini.glyphs import LETTERS, SIZE

CLASSES = {"letter": tuple(LETTERS), "colour": COLOURS, "ground": GROUNDS}
CHANNELS = (32, 64, 128, 128)
FEATURES, REDRAWN_SIZE = 64, 16  # numbers from which all scores follow; pixels across of a redrawn picture
REDRAW_WEIGHT = 10.0  # weight of the mean squared error of a redrawn pixel; each cross entropy has weight 1
ALL = "all"  # that a picture shows all that is named


class Classifier(nn.Module):
    """Pixels (B, 3, SIZE, SIZE) in [-1, 1] -> for each name of CLASSES, scores (B, number of classes).

    Features trained on names alone need not distinguish two pictures of one letter; the loss of redrawing keeps what does.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, seed: int = 0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers: list[nn.Module] = [nn.Conv2d(3, CHANNELS[0], 3, padding=1), nn.GELU()]
            for below, above in pairwise(CHANNELS):
                layers += [nn.Conv2d(below, above, 3, stride=2, padding=1), nn.GroupNorm(8, above), nn.GELU()]
            side = SIZE // 2 ** (len(CHANNELS) - 1)
            self.trunk = nn.Sequential(*layers, nn.Flatten(), nn.Linear(CHANNELS[-1] * side**2, FEATURES))
            self.heads = nn.ModuleDict({name: nn.Linear(FEATURES, len(words)) for name, words in CLASSES.items()})
            self.redraw = nn.Linear(FEATURES, 3 * REDRAWN_SIZE**2)
        self.register_buffer("mean", torch.zeros(FEATURES))  # of the features of pictures, see `standardise`
        self.register_buffer("std", torch.ones(FEATURES))

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        return self._scores(self.trunk(pixels))

    def features(self, pixels: Tensor) -> Tensor:
        """The features of pictures, (B, FEATURES)."""
        return (self.trunk(pixels) - self.mean) / self.std

    def loss(self, pixels: Tensor, clean: Tensor, labels: Mapping[str, Tensor]) -> Tensor:
        """The training loss of pictures `pixels`, which show `clean` and what the labels say."""
        features = self.trunk(pixels)
        loss = (
            REDRAW_WEIGHT
            * (self.redraw(features) - functional.avg_pool2d(clean, SIZE // REDRAWN_SIZE).flatten(1)).square().mean()
        )
        for name, scores in self._scores(features).items():
            loss = loss + functional.cross_entropy(scores, labels[name])
        return loss

    @torch.no_grad()
    def standardise(self, pixels: Tensor) -> None:
        """Let the features of these pictures have mean 0 and variance 1.

        Then a distance does not depend on the scale of a feature, and a cosine is about the mean of all pictures.
        """
        features = torch.cat([self.trunk(block) for block in pixels.split(256)])
        self.mean, self.std = features.mean(0), features.std(0)

    @torch.no_grad()
    def correct(self, pixels: Tensor, labels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """For each name of CLASSES, and for ALL of them, which pictures show what the labels say, (N,) of bool."""
        scores = self(pixels)
        correct = {name: scores[name].argmax(1) == labels[name] for name in CLASSES}
        return correct | {ALL: torch.stack(list(correct.values())).all(0)}

    def _scores(self, features: Tensor) -> dict[str, Tensor]:
        return {name: head(functional.gelu(features)) for name, head in self.heads.items()}


def labels_of(pictures: Sequence[Any]) -> dict[str, Tensor]:
    """For each name of CLASSES, the number of the class of each picture, (N,). A picture has the names as attributes."""
    return {name: torch.tensor([words.index(getattr(picture, name)) for picture in pictures]) for name, words in CLASSES.items()}
