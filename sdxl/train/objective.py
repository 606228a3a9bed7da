"""What a micro-batch is trained on: the ambient loss above each image's level, consistency below, no evaluation made twice.

For each image t is uniform on the levels from t_n to T; X_t is x_n with the noise that is missing, and h(X_t, t) is evaluated
once. The ambient loss uses it. Images that pay for consistency use it again, as the start of a reverse step to a level s < t:
two evaluations at s (the paper's pair; antithetic: four) tell how far h is from a martingale. So that levels far below t_n are
reached too, a share `below` of them first takes one DDIM step, by the h that is known, to a level uniform below t_n, and
starts there: one evaluation more.
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
from ambient.paths import Discrete, Times, transition
from ambient.randomness import generator

SPACES = ("eps", "x_n")
STEPS = ("ancestral", "euler-maruyama")  # kernels that cost no more than one evaluation


class Draws(NamedTuple):
    """All that is random in a micro-batch of B images, m of which pay for consistency."""

    t: Tensor  # (B,), of the ambient loss
    noise: Tensor  # (B, ...)
    paying: Tensor  # (m,), which of the B
    descends: Tensor  # (m,), bool: whether the pair starts below t_n
    start: Tensor  # (m,), the level where it starts; t unless it descends
    end: Tensor  # (m,), s
    pair: Tensor  # (2, m, ...)


class Parts(NamedTuple):
    """Losses per image and coordinate: ambient (B,), consistency (m,)."""

    ambient: Tensor
    consistency: Tensor


@dataclass(frozen=True)
class Objective:
    """The loss, with its options.

    space "eps": the ambient loss in units of the noise that was added, consistency in those of eps at its start; with `min_snr`
    both times min(SNR, min_snr) / SNR there, which for clean data is min-SNR's noise-prediction loss. "x_n": the paper's, ambient
    in units of x_n, consistency in those of x_0, in which high levels weigh most.

    Paper: the objective of Sec. 3.2. Checked by: tests/sdxl/test_objective.py
    """

    path: Discrete
    space: str = "eps"
    min_snr: float = 0.0  # 0: no min-SNR weight
    kernel: str = "ancestral"
    largest_step: int = 20  # of t, in a consistency pair
    antithetic: bool = False
    below: float = 0.5

    def draw(self, t_n: Tensor, paying: list[bool], shape: torch.Size, *, seed: int, numbers: list[int]) -> Draws:
        """What the images with these running numbers get: the same whatever the batch and the process they fall into."""
        rows = [
            self._one(float(level), pays, shape, generator(seed, "training", n))
            for level, pays, n in zip(t_n.tolist(), paying, numbers, strict=True)
        ]
        paid = [row for row, pays in zip(rows, paying, strict=True) if pays]
        pair = torch.stack([row["pair"] for row in paid], 1) if paid else torch.empty(2, 0, *shape)
        return Draws(
            t=torch.tensor([row["t"] for row in rows], dtype=torch.float64),
            noise=torch.stack([row["noise"] for row in rows]),
            paying=torch.tensor([i for i, pays in enumerate(paying) if pays], dtype=torch.long),
            descends=torch.tensor([row["start"] < row["t"] for row in paid], dtype=torch.bool),
            start=torch.tensor([row["start"] for row in paid], dtype=torch.float64),
            end=torch.tensor([row["end"] for row in paid], dtype=torch.float64),
            pair=pair,
        )

    def _one(self, t_n: float, pays: bool, shape: torch.Size, source: torch.Generator) -> dict[str, Any]:
        def uniform(low: float, high: float) -> int:
            """A whole number from `low` to `high`, both included."""
            return int(torch.randint(int(low), int(high) + 1, (), generator=source))

        t, noise = uniform(max(1, t_n), self.path.t_max), torch.randn(shape, generator=source)
        if not pays:
            return {"t": t, "noise": noise}
        descends = bool(torch.rand((), generator=source) < self.below) and t_n > 0
        start = uniform(1, min(t_n, t)) if descends else t
        end = start - uniform(1, min(start, self.largest_step))
        return {"t": t, "noise": noise, "start": start, "end": end, "pair": torch.randn((2, *shape), generator=source)}

    def __call__(self, denoiser: Denoiser, x_n: Tensor, t_n: Tensor, condition: dict[str, Tensor], draws: Draws) -> Parts:
        """The losses of a micro-batch; no random numbers inside."""
        path, t = self.path, draws.t
        x_t = transition(at_n=path(t_n), at_t=path(t)).apply(x_n, draws.noise)
        h = denoiser(x_t, t, condition)
        ambient = losses.ambient(_known(h), x_n, draws.noise, path=path, t_n=t_n, t=t, space=self.space)
        coordinates = x_n[0].numel()
        ambient = ambient * self._capped(t).to(ambient) / coordinates
        if len(draws.paying) == 0:
            return Parts(ambient, ambient.new_zeros(0))
        rest = {key: value[draws.paying] for key, value in condition.items()}
        consistency = self._consistency(denoiser, x_t[draws.paying], h[draws.paying], t[draws.paying], rest, draws)
        return Parts(ambient, consistency * self._unit(draws.start).to(ambient) / coordinates)

    def _consistency(self, denoiser: Denoiser, x: Tensor, h: Tensor, t: Tensor, condition: Any, draws: Draws) -> Tensor:
        """(m,), in units of x_0."""
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
        """The min-SNR weight in units of eps; 1 without."""
        return losses.min_snr_weight(self.path(t), prediction="eps", gamma=self.min_snr) if self.min_snr else torch.ones(())

    def _unit(self, t: Tensor) -> Tensor:
        """What ||h - h'||^2 at t is multiplied by."""
        if self.space == "x_n":
            return torch.ones(())
        return self.path.noise_to_signal(t) ** -2 * self._capped(t)


def _known(h: Tensor) -> Denoiser:
    """The denoiser that has been asked already."""

    def answer(x_t: Tensor, t: Times, condition: Any = None) -> Tensor:
        return h

    return answer


def pays(number: int, fraction: float) -> bool:
    """Whether the image with this running number on its process pays: `fraction` of them do, evenly spread."""
    return int((number + 1) * fraction) > int(number * fraction)


def order(images: int, *, seed: int, numbers: list[int]) -> list[int]:
    """Which image each running number is: all images once an epoch, in another order each."""
    return [_epoch(images, seed, n // images)[n % images] for n in numbers]


@lru_cache(maxsize=2)  # a micro-batch may lie in two epochs
def _epoch(images: int, seed: int, number: int) -> list[int]:
    return torch.randperm(images, generator=generator(seed, "order of the images", number)).tolist()
