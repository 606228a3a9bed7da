"""The loss of a micro-batch: the ambient loss above each image's level, consistency below, no evaluation made twice.

For each image t is uniform on the levels from t_n to T; X_t is x_n with the noise that is missing, and h(X_t, t) is evaluated
once, for the ambient loss (twice for the antithetic one: with both signs of the noise). Images with a consistency pair use it
again, as the start of a reverse step to a level s < t: two evaluations at s (the paper's pair; with antithetic noise: four)
measure how far h is from a martingale. To reach levels far below t_n as well, a share `below` of these images first takes one
DDIM step, with the h already evaluated, to a level uniform below t_n. The pair starts there, which needs one more evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ambient import losses
from ambient.denoisers import Denoiser
from ambient.kernels import KERNELS, Kernel, ddim
from ambient.paths import Discrete, Times
from ambient.randomness import generator
from sdxl.train.options import TrainOptions


class Draws(NamedTuple):
    """All that is random in a micro-batch of B images, m of which have a consistency pair."""

    t: Tensor  # (B,), level of the ambient loss
    noise: Tensor  # (B, ...)
    paired: Tensor  # (m,), positions in the batch of the images with a pair
    descends: Tensor  # (m,), bool: whether the pair starts below t_n
    start: Tensor  # (m,), the level where it starts; t unless it descends
    end: Tensor  # (m,), s
    pair: Tensor  # (2, m, ...), noise of the two reverse steps


class Parts(NamedTuple):
    """Losses per image and coordinate: ambient (B,), consistency (m,)."""

    ambient: Tensor
    consistency: Tensor


@dataclass(frozen=True)
class Objective:
    """The loss, with its options.

    | space | ambient loss in units of | consistency in units of |
    |---|---|---|
    | "eps" | the noise that was added to x_n | eps at the level where the pair starts |
    | "x_n", the paper's | x_n | x_0: high levels weigh most |

    In "eps", `min_snr` = gamma multiplies both by min(SNR, gamma) / SNR at their level. For clean data that is the
    noise-prediction loss with min-SNR weights. The antithetic ambient loss has the units of a pair that starts at its level.

    Paper: the objective of Sec. 3.2. Checked by: tests/sdxl/test_objective.py
    """

    path: Discrete
    space: str = "eps"
    min_snr: float = 0.0  # 0: no min-SNR weight
    kernel: str = "ancestral"
    largest_step: int = 20  # of t, in a consistency pair
    antithetic: bool = False
    antithetic_ambient: bool = False
    below: float = 0.5

    @classmethod
    def of(cls, options: TrainOptions, path: Discrete) -> Objective:
        """The loss that the options of a training describe."""
        units = {"space": options.space, "min_snr": options.min_snr}
        pairs = {"kernel": options.kernel, "largest_step": options.largest_step, "below": options.below}
        return cls(path, **units, **pairs, antithetic=options.antithetic, antithetic_ambient=options.antithetic_ambient)

    def draw(self, t_n: Tensor, with_pair: list[bool], shape: torch.Size, *, seed: int, numbers: list[int]) -> Draws:
        """The draws of the images with these running numbers, which do not depend on the batch or the process they are in."""
        rows = [
            self._one(float(level), paired, shape, generator(seed, "training", n))
            for level, paired, n in zip(t_n.tolist(), with_pair, numbers, strict=True)
        ]
        pairs = [row for row, paired in zip(rows, with_pair, strict=True) if paired]
        return Draws(
            t=torch.tensor([row["t"] for row in rows], dtype=torch.float64),
            noise=torch.stack([row["noise"] for row in rows]),
            paired=torch.tensor([i for i, paired in enumerate(with_pair) if paired], dtype=torch.long),
            descends=torch.tensor([row["start"] < row["t"] for row in pairs], dtype=torch.bool),
            start=torch.tensor([row["start"] for row in pairs], dtype=torch.float64),
            end=torch.tensor([row["end"] for row in pairs], dtype=torch.float64),
            pair=torch.stack([row["pair"] for row in pairs], 1) if pairs else torch.empty(2, 0, *shape),
        )

    def _one(self, t_n: float, paired: bool, shape: torch.Size, source: torch.Generator) -> dict[str, Any]:
        def uniform(low: float, high: float) -> int:
            """A whole number from `low` to `high`, both included."""
            return int(torch.randint(int(low), int(high) + 1, (), generator=source))

        t, noise = uniform(max(1, t_n), self.path.t_max), torch.randn(shape, generator=source)
        if not paired:
            return {"t": t, "noise": noise}
        descends = bool(torch.rand((), generator=source) < self.below) and t_n > 0
        start = uniform(1, min(t_n, t)) if descends else t
        end = start - uniform(1, min(start, self.largest_step))
        return {"t": t, "noise": noise, "start": start, "end": end, "pair": torch.randn((2, *shape), generator=source)}

    def __call__(self, denoiser: Denoiser, x_n: Tensor, t_n: Tensor, condition: dict[str, Tensor], draws: Draws) -> Parts:
        """The losses of a micro-batch; no random numbers inside."""
        t, coordinates = draws.t, x_n[0].numel()
        at, denoise = {"path": self.path, "t_n": t_n, "t": t, "condition": condition}, _Recorded(denoiser)
        if self.antithetic_ambient:
            ambient = losses.antithetic_ambient(denoise, x_n, draws.noise, **at) * self._unit(t).to(x_n)
        else:
            ambient = losses.ambient(denoise, x_n, draws.noise, space=self.space, **at) * self._capped(t).to(x_n)
        ambient = ambient / coordinates
        x_t, h = denoise.x[: len(x_n)], denoise.h[: len(x_n)]
        if len(draws.paired) == 0:
            return Parts(ambient, ambient.new_zeros(0))
        rest = {key: value[draws.paired] for key, value in condition.items()}
        consistency = self._consistency(denoiser, x_t[draws.paired], h[draws.paired], t[draws.paired], rest, draws)
        return Parts(ambient, consistency * self._unit(draws.start).to(ambient) / coordinates)

    def _consistency(self, denoiser: Denoiser, x: Tensor, h: Tensor, t: Tensor, condition: Any, draws: Draws) -> Tensor:
        """The consistency loss of each image with a pair, (m,), in units of x_0."""
        low = draws.descends
        if bool(low.any()):
            with torch.no_grad():
                there = ddim(_known(h[low]), x[low], path=self.path, t=t[low], s=draws.start[low]).mean
            x, h = x.clone(), h.clone()
            x[low] = there
            h[low] = denoiser(there, draws.start[low], {key: value[low] for key, value in condition.items()})
        kernel: Kernel = KERNELS[self.kernel]
        step = kernel(_known(h), x, path=self.path, t=draws.start, s=draws.end)
        return losses.martingale(denoiser, step, draws.pair, s=draws.end, antithetic=self.antithetic, condition=condition)

    def _capped(self, t: Tensor) -> Tensor:
        """The min-SNR weight in units of eps, or 1 without --min-snr."""
        return losses.min_snr_weight(self.path(t), prediction="eps", gamma=self.min_snr) if self.min_snr else torch.ones(())

    def _unit(self, t: Tensor) -> Tensor:
        """The factor of ||h - h'||^2 for a pair that starts at t."""
        if self.space == "x_n":
            return torch.ones(())
        return self.path.noise_to_signal(t) ** -2 * self._capped(t)


class _Recorded:
    """A denoiser that keeps what it was given last, x, and what it answered, h."""

    def __init__(self, denoiser: Denoiser):
        self.denoiser = denoiser

    def __call__(self, x_t: Tensor, t: Times, condition: Any = None) -> Tensor:
        self.x, self.h = x_t, self.denoiser(x_t, t, condition)
        return self.h


def _known(h: Tensor) -> Denoiser:
    """A denoiser whose value at x_t, h, has been computed already."""

    def answer(x_t: Tensor, t: Times, condition: Any = None) -> Tensor:
        return h

    return answer


def has_pair(number: int, fraction: float) -> bool:
    """Whether the image with this running number on its process has a consistency pair: a `fraction` has one, evenly spread."""
    return int((number + 1) * fraction) > int(number * fraction)


def order(images: int, *, seed: int, numbers: list[int]) -> list[int]:
    """The index of the image of each running number: all images once an epoch, in a new order each epoch."""
    return [_epoch(images, seed, n // images)[n % images] for n in numbers]


@lru_cache(maxsize=2)  # a micro-batch may lie in two epochs
def _epoch(images: int, seed: int, number: int) -> list[int]:
    return torch.randperm(images, generator=generator(seed, "order of the images", number)).tolist()
