"""Whether noise is standard normal and independent, with the limits and the power of theory_checks/statistics_kit.py."""

from __future__ import annotations

from itertools import combinations

from torch import Tensor

from theory_checks.statistics_kit import mean_is

SMALLEST = 0.12  # error of a mean, a variance or a correlation that must be seen


def check_independent(streams: dict[str, Tensor]) -> None:
    """Mean 0, variance 1, no number twice; no correlation of neighbours, of two streams, or of their squares.

    Args: streams: by name, (numbers,) each, float32, at least 60,000 of them.
    """
    for z in streams.values():
        mean_is(z, 0.0, SMALLEST)
        mean_is(z.square(), 1.0, SMALLEST)
        mean_is(z[1:] * z[:-1], 0.0, SMALLEST)
        assert len(z.unique()) > 0.99 * len(z), "numbers are not unique"  # float32 itself repeats 1 in 2,000 here
    for one, other in combinations(streams.values(), 2):
        mean_is(one * other, 0.0, SMALLEST)
        mean_is((one.square() - 1) * (other.square() - 1), 0.0, SMALLEST)
