"""DDIM of second order: a step uses an estimate of X_0 that is extrapolated from the two latest ones to the step's middle."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ambient.denoisers import Denoiser
from ambient.kernels import Step, ddim
from ambient.paths import Path, Times


class SecondOrder:
    """A kernel that remembers the step before, and uses it if that step ended at x_t. It needs one evaluation for a step.

    With l = log(alpha / sigma), a step t -> s after one u -> t is DDIM's with h(x_t, t) replaced by
    h_t + (l_s - l_t) / (2 (l_t - l_u)) (h_t - h_u). The first step and steps to 0 are DDIM's. Times are numbers.
    Source: Lu et al. 2022 (DPM-Solver++), algorithm 2.
    """

    def __init__(self) -> None:
        self.latest: tuple[float, float, Tensor, Tensor] | None = None  # a step's ends u and t, h at u, and x_t

    def __call__(self, denoiser: Denoiser, x_t: Tensor, *, path: Path, t: Times, s: Times, condition: Any = None) -> Step:
        t, s = float(t), float(s)
        x_0_hat = middle = denoiser(x_t, t, condition)
        if self.latest is not None and self.latest[1] == t and s > 0 and torch.equal(self.latest[3], x_t):
            u, _, before, _ = self.latest
            at_u, at_t, at_s = (float(path.noise_to_signal(time).log()) for time in (u, t, s))
            middle = x_0_hat + (at_t - at_s) / (2 * (at_u - at_t)) * (x_0_hat - before)
        step = ddim(lambda x_t, t, condition=None: middle, x_t, path=path, t=t, s=s)._replace(x_0_hat=x_0_hat)
        self.latest = (t, s, x_0_hat, step.mean)  # DDIM draws nothing
        return step
