"""The noise levels at which networks are trained, drawn in the ratio sigma / alpha, which treats all paths alike."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from toy.problem import Problem
from toy.training import Draw

FINEST = 0.02  # of the data's noise


def noise_ratio(problem: Problem, t_n: Tensor) -> Tensor:
    """sigma_n / alpha_n of each sample, float64 (B,); a tenth of the data's standard deviation where the data are clean."""
    return torch.where(t_n > 0, problem.path.noise_to_signal(t_n), 0.1 * problem.data_std)


def any_level(problem: Problem, count: int, draw: Draw) -> Tensor:
    """Times (count,), log-uniform over all levels: for methods that treat their targets as clean."""
    low, high = FINEST * problem.noise, problem.sigma_max_over_std * problem.data_std
    return problem.path.t_from_noise_to_signal(_log_uniform(draw, torch.full((count,), low), torch.full((count,), high)))


def level_above(problem: Problem, t_n: Tensor, draw: Draw) -> Tensor:
    """Times t >= t_n, (B,). The noise added is log-uniform: up to three times the data's in four of five cases, else beyond."""
    own = noise_ratio(problem, t_n)
    border, far = 3 * own, torch.full_like(own, problem.sigma_max_over_std * problem.data_std)
    near = draw.uniform(len(t_n)) < 0.8
    added = torch.where(near, _log_uniform(draw, FINEST * own, border), _log_uniform(draw, border, far.maximum(border)))
    return problem.path.t_from_noise_to_signal((problem.path.noise_to_signal(t_n) ** 2 + added**2).sqrt()).maximum(t_n.double())


def pair_below(
    problem: Problem, t_n: Tensor, draw: Draw, *, steps: tuple[float, float], level_power: float, share_at_t_n: float
) -> tuple[Tensor, Tensor]:
    """Times t <= t_n, and s below t by a step of log(sigma / alpha) that is uniform in `steps`; both (B,).

    A share `share_at_t_n` of the t are t_n itself. The others lie below t_n by log(1 / (1.5 FINEST)) u^level_power with u
    uniform: they are log-uniform for a power of 1, and nearer to t_n for a larger power.
    """
    depth = math.log(1 / (1.5 * FINEST)) * draw.uniform(len(t_n)).double() ** level_power
    depth = torch.where(draw.uniform(len(t_n)) < share_at_t_n, 0.0, depth)
    step = steps[0] + (steps[1] - steps[0]) * draw.uniform(len(t_n)).double()
    upper = problem.path.noise_to_signal(t_n) * torch.exp(-depth)
    t = torch.where(depth == 0, t_n.double(), problem.path.t_from_noise_to_signal(upper))
    return t, problem.path.t_from_noise_to_signal(upper * torch.exp(-step))


def _log_uniform(draw: Draw, low: Tensor, high: Tensor) -> Tensor:
    share = draw.uniform(len(low)).double()
    return torch.exp(low.double().log() * (1 - share) + high.double().log() * share)


def start_level(problem: Problem) -> float:
    """The time from which samplers start."""
    highest = max(problem.sigma_max_over_std * problem.data_std, 3 * problem.noise)
    return float(problem.path.t_from_noise_to_signal(highest))
