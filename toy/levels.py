"""The levels at which networks are trained, drawn in the ratio sigma / alpha so that every path is served alike."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from toy.problem import Problem
from toy.training import Draw

FINEST = 0.02  # times the data's noise


def noise_ratio(problem: Problem, t_n: Tensor) -> Tensor:
    """sigma_n / alpha_n of each sample, float64 (B,); a tenth of the data's standard deviation where the data is clean."""
    return torch.where(t_n > 0, problem.path.noise_to_signal(t_n), 0.1 * problem.data_std)


def any_level(problem: Problem, count: int, draw: Draw) -> Tensor:
    """Log-uniform over all levels: for methods that treat their targets as clean."""
    low, high = FINEST * float(problem.path.noise_to_signal(problem.t_n)), problem.noisiest * problem.data_std
    return problem.path.t_from_noise_to_signal(_log_uniform(draw, torch.full((count,), low), torch.full((count,), high)))


def level_above(problem: Problem, t_n: Tensor, draw: Draw) -> Tensor:
    """t >= t_n, log-uniform in the noise added: four in five up to three times the data's noise, the rest beyond."""
    nature = noise_ratio(problem, t_n)
    border, far = 3 * nature, torch.full_like(nature, problem.noisiest * problem.data_std)
    near = draw.uniform(len(t_n)) < 0.8
    added = torch.where(near, _log_uniform(draw, FINEST * nature, border), _log_uniform(draw, border, far.maximum(border)))
    return problem.path.t_from_noise_to_signal((problem.path.noise_to_signal(t_n) ** 2 + added**2).sqrt()).maximum(t_n.double())


def pair_below(
    problem: Problem, t_n: Tensor, draw: Draw, *, steps: tuple[float, float], crowding: float, anchored: float
) -> tuple[Tensor, Tensor]:
    """t <= t_n, and s below it by a step of log(sigma / alpha) uniform in `steps`.

    A share `anchored` of the t are t_n itself; the others lie below it by log(1 / (1.5 FINEST)) u^crowding, u uniform:
    log-uniform for a crowding of 1, crowded towards t_n for more.
    """
    depth = math.log(1 / (1.5 * FINEST)) * draw.uniform(len(t_n)).double() ** crowding
    depth = torch.where(draw.uniform(len(t_n)) < anchored, 0.0, depth)
    step = steps[0] + (steps[1] - steps[0]) * draw.uniform(len(t_n)).double()
    upper = problem.path.noise_to_signal(t_n) * torch.exp(-depth)
    t = torch.where(depth == 0, t_n.double(), problem.path.t_from_noise_to_signal(upper))
    return t, problem.path.t_from_noise_to_signal(upper * torch.exp(-step))


def _log_uniform(draw: Draw, low: Tensor, high: Tensor) -> Tensor:
    where = draw.uniform(len(low)).double()
    return torch.exp(low.double().log() * (1 - where) + high.double().log() * where)


def start_level(problem: Problem) -> float:
    """The level from which samplers start."""
    nature = float(problem.path.noise_to_signal(problem.t_n))
    return float(problem.path.t_from_noise_to_signal(max(problem.noisiest * problem.data_std, 3 * nature)))
