"""The metric of images: reference features of a small classifier, the Frechet distance of two sets, the nearest digit.

The classifier is trained here in seconds, on the clean training images; it names 97 % of held-out digits correctly. Its features
are the 64 numbers before the last nonlinearity. They are nearer to Gaussian than those after it, as the Frechet distance assumes:
the worst skewness is 1.1 against 2.8, the worst fourth moment 3.9 against 11.1 (a Gaussian has 0 and 3). The network redraws the
digit as well as naming it, because features for the name alone forget which seven it was.

The Frechet distance of 1,000 held-out digits of 14x14 pixels, with a floor of 1.1: blurred by half a pixel, 2.6; with grain of
standard deviation .1, 1.2, hardly more than the floor; with .2, 1.9; averaged two by two, 9.9. Images are not clipped to [-1, 1]:
that would raise the 1.9 to 2.2, since it makes the background lighter.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ambient.randomness import generator
from harness import metrics
from harness.cache import Arrays, cached
from harness.errors import UserError
from harness.neighbours import nearest
from toy.data.digits import Digits

VERSION = 2  # of the training below; it must change whenever the training does
FEATURES, CHANNELS = 64, 16
STEPS, BATCH, LEARNING_RATE = 2000, 64, 1e-2
REDRAWING = 10.0  # weight of the mean square error of a redrawn pixel; the cross entropy of the label has weight 1
GRAIN = 0.3  # the largest standard deviation
CHUNK = 1000  # images at a time


class Features:
    """A function from flat images x (N, D) to features (N, 64), with mean 0 and variance 1 over the training images.

    So distances do not depend on the scale of a feature, and cosines are about the mean of the training images.
    """

    def __init__(self, size: int, arrays: Arrays):
        weights = {name: torch.from_numpy(array) for name, array in arrays.items()}
        self.mean, self.std, self.labels = (weights.pop(name) for name in ("mean", "std", "labels"))
        self.size = size
        self.network = _network(size, len(self.labels))
        self.network.load_state_dict(weights)

    def __call__(self, x: Tensor) -> Tensor:
        return (_in_chunks(self.network[0], self._images(x)) - self.mean) / self.std

    def label(self, x: Tensor) -> Tensor:
        """The labels that the classifier gives, (N,)."""
        return self.labels[_in_chunks(self.network, self._images(x))[:, : len(self.labels)].argmax(1)]

    def _images(self, x: Tensor) -> Tensor:
        if x.ndim != 2 or x.shape[1] != self.size**2:
            raise ValueError(f"features are of flat images of {self.size}x{self.size} pixels; got {tuple(x.shape)}")
        return x.float().reshape(-1, 1, self.size, self.size)


def features_of(digits: Digits) -> Features:
    """The features of a classifier trained on the training images and their labels; the cache keeps its weights.

    `digits` should hold all images, even where a model has seen few of them: features from a few hundred images are poor.

    Raises: UserError where the images have no labels.
    """
    if digits.train_labels is None:
        raise UserError(
            f"{digits.name} has no labels, so no classifier to take features from: no Frechet distance and no similarity; "
            "add y_train to the data, or keep to the held-out errors, which need none"
        )
    key = {
        "digest": digits.digest,
        "labels": digits.labels_digest,
        "images": len(digits.train),
        "size": digits.size,
        "version": VERSION,
    }
    labels = digits.train_labels
    return Features(digits.size, cached("features", key, lambda: _train(digits.train, labels, digits.size)))


def frechet(x: Tensor, y: Tensor) -> float:
    """The Frechet distance of two sets of features (N, F). Raises: UserError for fewer than F + 1 rows in one of them."""
    needed = x.shape[1] + 1
    for rows in (x, y):
        if len(rows) < needed:  # any covariance of so few is singular
            raise UserError(
                f"the Frechet distance of {needed - 1} features needs at least {needed} images a set; got {len(rows)}"
            )
    return metrics.frechet(x, y)


def similarity(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The largest cosine of each row of x (N, F) with a row of y (M, F), and the number of that row; both (N,).

    Cosines of `Features` are about their mean. Of two digits of different kinds they are near 0; of features that are all
    positive, as after a ReLU, they would be near 1, and no threshold would tell a copy from a stranger.
    """
    return nearest(x, y).first()


def _network(size: int, classes: int) -> nn.Sequential:
    """(features, reader). The reader gives the scores of the labels, then the pixels."""
    stride = 1 if size < 20 else 2
    inner = -(-size // stride) // 4
    features = nn.Sequential(
        nn.Conv2d(1, CHANNELS, 5, stride, 2),
        nn.SiLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(CHANNELS, 2 * CHANNELS, 3, 1, 1),
        nn.SiLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * CHANNELS * inner**2, FEATURES),
    )
    nn.utils.convert_conv2d_weight_memory_format(features, torch.channels_last)  # trains in half the time
    return nn.Sequential(features, nn.Sequential(nn.SiLU(), nn.Linear(FEATURES, classes + size**2)))


def _train(x: Tensor, labels: Tensor, size: int) -> Arrays:
    """The weights, and the moments of the features of the training images. One thread: the number of threads changes bits."""
    kinds, wanted = labels.unique(return_inverse=True)
    images, threads = x.reshape(-1, 1, size, size), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = _network(size, len(kinds))
        _fit(network, images, wanted)
        features = _in_chunks(network[0], images)
    finally:
        torch.set_num_threads(threads)
    mean, std = features.mean(0), features.std(0).clamp_min(1e-6)
    arrays = {name: weight.detach() for name, weight in network.state_dict().items()}
    return {name: value.numpy() for name, value in (arrays | {"mean": mean, "std": std, "labels": kinds}).items()}


def _fit(network: nn.Sequential, images: Tensor, wanted: Tensor) -> None:
    """Train to name and redraw images from degraded ones, so that the features of blurred and grainy copies stay near."""
    optimiser = torch.optim.AdamW(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=STEPS)
    kinds = int(wanted.max()) + 1
    for step in range(STEPS):
        draw = generator(0, "classifier of the features", step)
        index = torch.randint(len(images), (BATCH,), generator=draw)
        clean = _shifted(images[index], draw)
        scores, redrawn = network(_degraded(clean, draw)).tensor_split([kinds], 1)
        loss = nn.functional.cross_entropy(scores, wanted[index])
        loss = loss + REDRAWING * nn.functional.mse_loss(redrawn, clean.flatten(1))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


def _shifted(images: Tensor, draw: torch.Generator) -> Tensor:
    """Each image, moved by -1, 0 or 1 pixel down and across."""
    size = images.shape[-1]
    windows = _padded(images).unfold(2, size, 1).unfold(3, size, 1)
    down, across = torch.randint(3, (2, len(images)), generator=draw)
    return windows[torch.arange(len(images)), :, down, across]


def _degraded(images: Tensor, draw: torch.Generator) -> Tensor:
    """Each image with a random share of blur over 3 x 3 pixels and a random amount of grain."""
    blur, grain = torch.rand(2, len(images), 1, 1, 1, generator=draw)
    blurred = nn.functional.avg_pool2d(_padded(images), 3, 1)
    return images.lerp(blurred, blur) + GRAIN * grain * torch.randn(images.shape, generator=draw)


def _padded(images: Tensor) -> Tensor:
    return nn.functional.pad(images, (1, 1, 1, 1), mode="replicate")


@torch.no_grad()
def _in_chunks(network: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([network(some) for some in images.split(CHUNK)])
