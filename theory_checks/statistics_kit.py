"""Monte Carlo checks with a fixed probability of a false alarm and with the power to detect an error of a given size.

All sampling checks together raise a false alarm with probability at most FALSE_ALARM: each of at most ASSERTIONS scalar
assertions gets an equal share. Seeds are fixed (`ambient.randomness.generator`), so a result is reproducible, and almost every
other seed would pass as well. Never use these checks inside `@given`, which searches for failures.
"""

from __future__ import annotations

import torch
from scipy import stats
from torch import Tensor

FALSE_ALARM = 1e-6
ASSERTIONS = 500
BLOCKS = 256


def student(draws: int) -> float:
    """The limit of the mean of so many draws in estimated standard errors, from Student's t."""
    return float(stats.t.isf(FALSE_ALARM / ASSERTIONS / 2, draws - 1))


def deviation(samples: Tensor, claimed: Tensor | float, smallest_bug: Tensor | float) -> tuple[float, float]:
    """How far the mean of independent samples (n, ...) is from the claimed one: (|z|, its limit), the largest of all entries.

    z is Student's t of BLOCKS block means, close to normal whatever the tails of the samples. Fails unless a true mean that is
    off by `smallest_bug` would be seen with probability 1 - FALSE_ALARM: bug >= (limit + z_(1 - FALSE_ALARM)) standard errors.
    """
    size = len(samples) // BLOCKS
    assert size >= 40, f"{len(samples)} samples are too few for {BLOCKS} blocks"
    blocks = samples[: size * BLOCKS].double().reshape(BLOCKS, size, -1).mean(1)
    error = blocks.std(0) / BLOCKS**0.5
    limit = student(BLOCKS)
    needed = (limit + float(stats.norm.isf(FALSE_ALARM))) * error
    bug = torch.as_tensor(smallest_bug, dtype=torch.float64).flatten()
    assert bool((needed <= bug).all()), (
        f"no power: an error of {float(needed.max()):.3g} is needed, {float(bug.min()):.3g} is to be seen"
    )
    z = (blocks.mean(0) - torch.as_tensor(claimed, dtype=torch.float64).flatten()).abs() / error
    return float(z.max()), limit


def mean_is(samples: Tensor, claimed: Tensor | float, smallest_bug: Tensor | float) -> tuple[float, float]:
    """Require that the mean of `samples` is `claimed`, with the power to see `smallest_bug`; returns (|z|, its limit)."""
    z, limit = deviation(samples, claimed, smallest_bug)
    assert z <= limit, f"the mean is {z:.2f} standard errors from the claimed one; the limit is {limit:.2f}"
    return z, limit
