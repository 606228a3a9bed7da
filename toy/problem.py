"""What a method is given: noisy points with their levels, and (for references and for scoring alone) the truth."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ambient.denoisers import Skip
from ambient.paths import Path, transition
from ambient.randomness import generator
from ambient.worlds import GaussianMixture, World

Noisy = tuple[Tensor, Tensor]  # x_n (B, D) and t_n (B,)
Batch = Callable[[int, torch.Generator], Noisy]  # of a size, drawn with a generator


@dataclass(frozen=True)
class Problem:
    """Noisy data on a path. Methods that are not references use `batch` and what is computed from it, and nothing else."""

    path: Path
    batch: Batch
    points: Noisy  # all noisy points; of a stream, a million of them
    t_n: float  # the noisiest level of the data
    dim: int
    data_mean: Tensor  # (D,), of X_0, estimated from the noisy data
    data_covariance: Tensor  # (D, D), likewise
    held_out: Noisy
    count: int | None = None  # of data points; None for a stream
    scale: float = 1.0  # one unit of length here, in the units in which the user gave the data
    world: World | None = None
    clean_batch: Callable[[int, torch.Generator], Tensor] | None = None
    clean_test: Tensor | None = None  # held-out images: for scoring alone
    related_batch: Callable[[int, torch.Generator], Tensor] | None = None  # clean images of other classes than the data's
    network: Callable[[], nn.Module] | None = None  # F of `Preconditioned`, freshly initialised; None for a small MLP
    mixture: World | None = None  # fitted to the noisy data: a mixture of Wiener filters
    batch_divisor: int = 1  # batches are this many times smaller than the method says, for networks that cost more
    skip: Skip | None = None  # the denoiser that networks correct; None for a scalar times x_t
    sigma_max_over_std: float = 8.0  # the largest noise of training and sampling, over the data's standard deviation

    @property
    def data_std(self) -> float:
        """Root mean variance of a coordinate of X_0, as estimated from the noisy data."""
        return math.sqrt(float(self.data_covariance.diagonal().mean()))

    @property
    def noise(self) -> float:
        """sigma_n / alpha_n at the noisiest level: the standard deviation of the data's noise, once divided by alpha."""
        return float(self.path.noise_to_signal(self.t_n))

    @property
    def clean(self) -> int:
        """How many of the points carry no noise."""
        return int((self.points[1] == 0).sum())

    def gaussian(self) -> GaussianMixture:
        """The Gaussian with the moments that the noisy data give X_0."""
        return GaussianMixture(torch.ones(1), self.data_mean[None], self.data_covariance[None])

    def t_at(self, multiple: float) -> float:
        """The time at a multiple of the data's noise-to-signal ratio; exactly t_n at 1, which the formula misses by rounding."""
        ratio = self.path.noise_to_signal(self.t_n)
        return self.t_n if multiple == 1 else float(self.path.t_from_noise_to_signal(multiple * ratio))


def moments_of_clean(x_n: Tensor, t_n: Tensor, path: Path) -> tuple[Tensor, Tensor]:
    """Mean and covariance of X_0 from noisy points: those of X_n / alpha_n, less the noise's variance.

    The covariance is shrunk as Ledoit and Wolf (2004) do; negative eigenvalues are then raised, at an unchanged trace.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage  # takes a second

    alpha, sigma = path(t_n).like(x_n)
    scaled, noise = x_n / alpha, float((sigma / alpha).square().mean())
    raw, dim = torch.cov(scaled.T).reshape(x_n.shape[1], -1), x_n.shape[1]
    kept = 1 - float(ledoit_wolf_shrinkage(scaled.numpy()))
    shrunk = kept * raw + (1 - kept) * raw.diagonal().mean() * torch.eye(dim)
    values, vectors = torch.linalg.eigh(shrunk - noise * torch.eye(dim))
    covariance = (vectors * _nearest_positive(values, 1e-3 * noise + 1e-6)) @ vectors.T
    return scaled.mean(0), (covariance + covariance.T) / 2


def _nearest_positive(values: Tensor, least: float) -> Tensor:
    """The nearest numbers that are at least `least` and have the same sum, max(values - shift, least); `values` must rise.

    All are `least` where the sum is too small for that.
    Clipping alone would make the sum larger: it would undo chance errors below `least` and keep those above.
    """
    above = (values - least).flip(0)
    shifts = (above.cumsum(0) - above.sum().clamp_min(0)) / torch.arange(1, len(above) + 1)
    unclipped = max(1, int((above > shifts).sum()))  # how many of the largest stay above `least`: they set the shift
    return least + (values - least - shifts[unclipped - 1]).clamp_min(0)


def _problem(path: Path, points: Noisy, held_out: Noisy, batch: Batch | None = None, **more: Any) -> Problem:
    """The problem of these points; by default batches are drawn from them with replacement. `more`: other fields."""
    (x_n, t_n), (mean, covariance) = points, moments_of_clean(*points, path)

    def picked(size: int, source: torch.Generator) -> Noisy:
        index = torch.randint(len(x_n), (size,), generator=source)
        return x_n[index], t_n[index]

    fields = {"t_n": float(t_n.max()), "dim": x_n.shape[1], "data_mean": mean, "data_covariance": covariance, **more}
    return Problem(path=path, batch=batch or picked, points=points, held_out=held_out, **fields)


def batches_of(x_0: Tensor) -> Callable[[int, torch.Generator], Tensor]:
    """A function that draws a number of these rows with replacement."""
    return lambda size, source: x_0[torch.randint(len(x_0), (size,), generator=source)]


def from_world(world: World, path: Path, t_n: float, *, count: int | None, seed: int) -> Problem:
    """Draws of a world, each noised once: a stream of new ones, or `count` fixed points that are used again and again."""

    def fresh(size: int, source: torch.Generator) -> tuple[Tensor, Noisy]:
        x_0 = world.sample(size, source).float()
        noise = torch.randn(x_0.shape, generator=source)
        return x_0, (path(t_n).apply(x_0, noise), torch.full((size,), t_n))

    x_0, points = fresh(count or 1_000_000, generator(seed, "data"))
    _, held_out = fresh(20_000, generator(seed, "held-out data"))

    def clean_batch(size: int, source: torch.Generator) -> Tensor:
        return fresh(size, source)[0] if count is None else x_0[torch.randint(count, (size,), generator=source)]

    stream = (lambda size, source: fresh(size, source)[1]) if count is None else None
    return _problem(path, points, held_out, stream, t_n=t_n, count=count, world=world, clean_batch=clean_batch)


def from_images(
    x_0: Tensor, levels: Tensor, noise: Tensor, path: Path, *, test: Tensor, seed: int, fresh: bool = False, world: World | None
) -> Problem:
    """Images (N, D), each at its own level, 0 for clean. Each is noised once with `noise`, or anew at each use if `fresh`."""
    at_levels, order = path(levels), generator(seed, "held-out noise")

    def noised_anew(size: int, source: torch.Generator) -> Noisy:
        index = torch.randint(len(x_0), (size,), generator=source)
        return path(levels[index]).apply(x_0[index], torch.randn(size, x_0.shape[1], generator=source)), levels[index]

    t_n = torch.full((len(test),), float(levels.max()))
    held_out = path(t_n).apply(test, torch.randn(test.shape, generator=order)), t_n
    return _problem(
        path, (at_levels.apply(x_0, noise), levels), held_out, noised_anew if fresh else None, count=len(x_0), world=world,
        clean_batch=batches_of(x_0), clean_test=test,
    )  # fmt: skip


def from_points(x_n: Tensor, t_n: Tensor, path: Path, *, scale: float, seed: int) -> Problem:
    """The user's own noisy points; a tenth of them is held out."""
    order = torch.randperm(len(x_n), generator=generator(seed, "held-out split"))
    held, used = order.tensor_split([max(1, len(x_n) // 10)])
    return _problem(path, (x_n[used], t_n[used]), (x_n[held], t_n[held]), t_n=float(t_n.max()), count=len(used), scale=scale)


def add_noise(x_n: Tensor, t_n: Tensor, t: Tensor | float, path: Path, source: torch.Generator) -> Tensor:
    """Noisy data taken up to level t >= t_n."""
    step = transition(at_n=path(t_n), at_t=path(torch.as_tensor(t).expand(len(x_n))))
    return step.apply(x_n, torch.randn(x_n.shape, generator=source))


def finest_recoverable(sigma_n: float, count: int | None) -> float:
    """The separation d of modes below which `count` noisy points hold no trace of them.

    A modulation of wavelength d survives the noise with amplitude exp(-2 pi^2 (sigma_n / d)^2), which must exceed
    5 / sqrt(count).
    """
    strength = math.log(math.sqrt(count or 10**7) / 5) if (count or 10**7) > 25 else 0.0
    return math.inf if strength <= 0 else sigma_n * math.pi * math.sqrt(2 / strength)


def finest_of(problem: Problem) -> float:
    """`finest_recoverable` from the k least noisy points, at the noise of the last of them, at the best k."""
    levels = problem.path.noise_to_signal(problem.points[1]).sort().values
    if problem.count is None or bool(levels[0] == levels[-1]):
        return finest_recoverable(problem.noise, problem.count)
    levels, counts = levels.unique_consecutive(return_counts=True)
    return min(finest_recoverable(level, k) for level, k in zip(levels.tolist(), counts.cumsum(0).tolist(), strict=True))


def remarks(problem: Problem) -> list[str]:
    """Where the wall is for these data, and warnings where nothing can be learned; for the terminal and the report."""
    found, finest = [], finest_of(problem)
    if problem.count is not None and problem.count < 100:
        found.append(
            f"warning: only {problem.count} points; the paper reports that the ambient loss did not work on fewer than 100"
        )
    poor = "expect no more than its mean and covariance"
    if math.isinf(finest):
        return [*found, f"warning: with this noise no structure of the data leaves a trace in {problem.count} points; {poor}"]
    if finest == 0:
        return [*found, f"no wall: {problem.clean:,} of the points are clean"]
    if problem.count is not None:
        amount = f"{problem.count:,} points with their noise"
        fine = f"{finest * problem.scale:.2g}"
        found.append(f"the wall: structure finer than about {fine} leaves no trace in {amount}, for any method")
    if finest > 2 * problem.data_std:
        wide = f"more than two standard deviations of the data ({problem.data_std * problem.scale:.2g})"
        fine = f"{finest * problem.scale:.2g}"
        found.append(f"warning: structure must be wider than {fine} to leave a trace, and that is {wide}; {poor}")
    return found
