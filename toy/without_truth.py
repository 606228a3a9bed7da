"""What noisy data alone can show of a denoiser, for data whose clean distribution is unknown."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ambient import losses
from ambient.kernels import euler_maruyama
from ambient.randomness import generator
from harness.statistics import mean
from toy.evaluation import generate, sliced_wasserstein
from toy.method import Fitted
from toy.problem import Problem

MULTIPLES = (1.0, 1.5, 3.0)  # of the data's noise, where the risk is estimated
PROBES = 32


def without_truth(fitted: Fitted, problem: Problem, *, count: int, seed: int) -> dict[str, Any]:
    """Held-out risk at and above the data's noise, inconsistency below it, and how re-noised samples match held-out data.

    Risks and inconsistency are in units of the data's variance, as [mean, standard error].
    """
    report: dict[str, Any] = {}
    if fitted.only_at is None:
        for multiple in MULTIPLES:
            report[f"risk_{multiple:g}"] = _mean_and_error(held_out_risk(fitted, problem, multiple, seed=seed))
    if fitted.only_at is None and fitted.stop == 0 and bool((problem.held_out[1] > 0).any()):
        report["inconsistency"] = _mean_and_error(held_out_inconsistency(fitted, problem, seed=seed))
    samples = generate(fitted, problem, max(count, len(problem.held_out[0])), seed=seed)
    x_n, t_n = problem.held_out
    noise = torch.randn(x_n.shape, generator=generator(seed, "re-noising"))
    at_n = problem.path(t_n)
    renoised, alpha = at_n.apply(samples[: len(x_n)], noise), at_n.like(x_n).alpha
    report["sw2_noisy"] = sliced_wasserstein(renoised / alpha, x_n / alpha)
    return {**report, "samples": samples}


@torch.no_grad()
def held_out_risk(fitted: Fitted, problem: Problem, multiple: float, *, seed: int) -> Tensor:
    """An unbiased estimate of E||h - X_0||^2 at a multiple of the noise, per held-out point: the antithetic ambient loss.

    It is averaged over probes. A clean point counts as if its noise were a tenth of the data's standard deviation.
    """
    (x_n, t_n), path = problem.held_out, problem.path
    t = path.t_from_noise_to_signal(multiple * path.noise_to_signal(t_n).clamp_min(0.1 * problem.data_std)).maximum(t_n.double())
    probes = [torch.randn(x_n.shape, generator=generator(seed, "held-out risk", i)) for i in range(PROBES)]
    risks = [losses.antithetic_ambient(fitted.denoiser, x_n, z, path=path, t_n=t_n, t=t) for z in probes]
    return torch.stack(risks).mean(0) / (problem.dim * problem.data_std**2)


@torch.no_grad()
def held_out_inconsistency(fitted: Fitted, problem: Problem, *, seed: int) -> Tensor:
    """The consistency loss from half to a quarter of the noise, per noisy held-out point."""
    x_n, t_n = (v[problem.held_out[1] > 0] for v in problem.held_out)
    path, source = problem.path, generator(seed, "held-out inconsistency")
    half, quarter = (path.t_from_noise_to_signal(part * path.noise_to_signal(t_n)) for part in (0.5, 0.25))
    x_t = euler_maruyama(fitted.denoiser, x_n, path=path, t=t_n, s=half).draw(torch.randn(x_n.shape, generator=source))
    noise = torch.randn(16, *x_n.shape, generator=source)
    options: dict[str, Any] = {"kernel": euler_maruyama, "antithetic": True}
    loss = losses.consistency(fitted.denoiser, x_t, noise, path=path, t=half, s=quarter, **options)
    return loss / (problem.dim * problem.data_std**2)


def _mean_and_error(values: Tensor) -> list[float | None]:
    average = mean(values.tolist())
    return [average.mean, average.error]
