"""What a method is given: noisy points with their levels, and (for references and for scoring alone) the truth."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ambient.denoisers import Skip
from ambient.paths import Path, transition
from ambient.randomness import generator
from ambient.worlds import World

Noisy = tuple[Tensor, Tensor]  # x_n (B, D) and t_n (B,)


@dataclass(frozen=True)
class Problem:
    """Noisy data on a path. Methods that are not references touch `batch` and what is computed from it, nothing else."""

    path: Path
    batch: Callable[[int, torch.Generator], Noisy]
    points: Noisy  # all there are; for a stream, a million of them
    t_n: float  # the noisiest level in the data
    dim: int
    data_mean: Tensor  # (D,), of X_0, estimated from the noisy data
    data_covariance: Tensor  # (D, D), likewise
    held_out: Noisy
    count: int | None = None  # of data points; None for a stream
    scale: float = 1.0  # one unit of length here, in the units of the data as it was given
    world: World | None = None
    clean_batch: Callable[[int, torch.Generator], Tensor] | None = None
    clean_test: Tensor | None = None  # images kept from training: for scoring alone
    network: Callable[[], nn.Module] | None = None  # F of `Preconditioned`, freshly initialised; None for a small MLP
    mixture: World | None = None  # fitted to the noisy data: a mixture of Wiener filters
    thrift: int = 1  # batches are this many times smaller, for networks that cost more
    skip: Skip | None = None  # what the networks correct; None for a scalar times x_t
    noisiest: float = 8.0  # times the data's standard deviation: training ends and sampling starts there, as good as pure noise

    @property
    def data_std(self) -> float:
        """Root mean variance of a coordinate of X_0, as estimated from the noisy data."""
        return math.sqrt(float(self.data_covariance.diagonal().mean()))

    @property
    def clean(self) -> int:
        """How many of the points carry no noise."""
        return int((self.points[1] == 0).sum())

    def t_at(self, multiple: float) -> float:
        """The time at a multiple of the data's noise-to-signal ratio; at 1 t_n, where there and back ends a hair beside it."""
        ratio = self.path.noise_to_signal(self.t_n)
        return self.t_n if multiple == 1 else float(self.path.t_from_noise_to_signal(multiple * ratio))


def moments_of_clean(x_n: Tensor, t_n: Tensor, path: Path) -> tuple[Tensor, Tensor]:
    """Mean and covariance of X_0 from noisy points: those of X_n / alpha_n, less the noise's variance.

    The covariance is shrunk as Ledoit and Wolf (2004) do; what the noise leaves negative is mended without a change of the trace.
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
    """The nearest numbers >= least of the same sum, max(values - shift, least), from rising `values`; all `least` if it is small.

    Clipping would add to the sum: it drops chance where it says less variance and keeps it where it says more.
    """
    above = (values - least).flip(0)
    shifts = (above.cumsum(0) - above.sum().clamp_min(0)) / torch.arange(1, len(above) + 1)
    kept = max(1, int((above > shifts).sum()))  # of the largest; the shift that restores the sum if these stay positive
    return least + (values - least - shifts[kept - 1]).clamp_min(0)


def from_world(world: World, path: Path, t_n: float, *, count: int | None, seed: int) -> Problem:
    """Draws of a world, noised once each: a stream, or `count` fixed points that are reused."""

    def fresh(size: int, source: torch.Generator) -> tuple[Tensor, Noisy]:
        x_0 = world.sample(size, source).float()
        noise = torch.randn(x_0.shape, generator=source)
        return x_0, (path(t_n).apply(x_0, noise), torch.full((size,), t_n))

    x_0, (x_n, levels) = fresh(count or 1_000_000, generator(seed, "data"))
    _, held_out = fresh(20_000, generator(seed, "held-out data"))

    def batch(size: int, source: torch.Generator) -> Noisy:
        return fresh(size, source)[1] if count is None else _pick(x_n, levels, size, source)

    def clean_batch(size: int, source: torch.Generator) -> Tensor:
        return fresh(size, source)[0] if count is None else x_0[torch.randint(count, (size,), generator=source)]

    mean, covariance = moments_of_clean(x_n, levels, path)
    points, dim = (x_n, levels), x_n.shape[1]
    return Problem(path, batch, points, t_n, dim, mean, covariance, held_out, count, world=world, clean_batch=clean_batch)


def from_images(
    x_0: Tensor, levels: Tensor, noise: Tensor, path: Path, *, test: Tensor, seed: int, fresh: bool = False, world: World | None
) -> Problem:
    """Images (N, D), each at its own level, 0 for clean. Noised once each with `noise`; or, `fresh`, anew whenever drawn."""
    x_n, order = path(levels).apply(x_0, noise), generator(seed, "held-out noise")

    def batch(size: int, source: torch.Generator) -> Noisy:
        index = torch.randint(len(x_0), (size,), generator=source)
        if not fresh:
            return x_n[index], levels[index]
        return path(levels[index]).apply(x_0[index], torch.randn(size, x_0.shape[1], generator=source)), levels[index]

    def clean_batch(size: int, source: torch.Generator) -> Tensor:
        return x_0[torch.randint(len(x_0), (size,), generator=source)]

    t_n, count = float(levels.max()), len(test)
    held_out = path(torch.full((count,), t_n)).apply(test, torch.randn(test.shape, generator=order)), torch.full((count,), t_n)
    mean, covariance = moments_of_clean(x_n, levels, path)
    points, dim = (x_n, levels), x_n.shape[1]
    return Problem(
        path, batch, points, t_n, dim, mean, covariance, held_out, len(x_0), world=world, clean_batch=clean_batch, clean_test=test
    )


def from_points(x_n: Tensor, t_n: Tensor, path: Path, *, scale: float, seed: int) -> Problem:
    """The user's own noisy points; a tenth of them is held out."""
    order = torch.randperm(len(x_n), generator=generator(seed, "held-out split"))
    held, kept = order[: max(1, len(x_n) // 10)], order[max(1, len(x_n) // 10) :]
    points = (x_n[kept], t_n[kept])

    def batch(size: int, source: torch.Generator) -> Noisy:
        return _pick(*points, size, source)

    held_out = (x_n[held], t_n[held])
    mean, covariance = moments_of_clean(*points, path)
    t_max, dim = float(t_n.max()), x_n.shape[1]
    return Problem(path, batch, points, t_max, dim, mean, covariance, held_out, count=len(kept), scale=scale)


def _pick(x_n: Tensor, t_n: Tensor, size: int, source: torch.Generator) -> Noisy:
    index = torch.randint(len(x_n), (size,), generator=source)
    return x_n[index], t_n[index]


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
    levels = problem.points[1].double().sort().values
    if problem.count is None or bool(levels[0] == levels[-1]):
        return finest_recoverable(problem.t_n, problem.count)
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
