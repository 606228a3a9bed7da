"""Denoisers: one calling convention for exact answers, small networks and SDXL's UNet.

A denoiser h(x_t, t, condition) estimates E[X_0 | X_t = x_t]. `x_t` is (B, ...), `t` is () or (B,), `condition` is whatever
the network understands. Losses and samplers ask for nothing else; precision, guidance and the like are wrappers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ambient import tweedie
from ambient.paths import Level, Path, Times, expand


class Denoiser(Protocol):
    """h(x_t, t, condition) -> estimate of E[X_0 | X_t = x_t], shaped as x_t."""

    def __call__(self, x_t: Tensor, t: Times, condition: Any = None) -> Tensor: ...


X_0_FROM: dict[str, Callable[..., Tensor]] = {
    "eps": tweedie.x_0_from_eps,
    "v": tweedie.x_0_from_v,
    "flow": tweedie.x_0_from_flow,
    "x_0": lambda x_t, x_0_hat, *, at_t: x_0_hat,
}


class NetworkDenoiser(nn.Module):
    """A denoiser from a network that predicts eps, v, the flow velocity, or x_0 itself.

    Checked by: theory_checks/test_parametrisations.py

    Args: network(x_t, t, condition), with t as float64 (B,); prediction: one of "eps", "v", "flow", "x_0".
    Raises: ValueError for another prediction.
    """

    def __init__(self, network: Callable[..., Tensor], path: Path, prediction: str):
        super().__init__()
        if prediction not in X_0_FROM:
            raise ValueError(f"prediction must be one of {', '.join(X_0_FROM)}; got {prediction!r}")
        self.network, self.path, self.prediction = network, path, prediction

    def forward(self, x_t: Tensor, t: Times, condition: Any = None) -> Tensor:
        times = torch.as_tensor(t, dtype=torch.float64, device=x_t.device).expand(x_t.shape[0])
        return X_0_FROM[self.prediction](x_t, self.network(x_t, times, condition), at_t=self.path(times))


Skip = Callable[[Tensor, Level], Tensor]


def scalar_skip(data_std: float) -> Skip:
    """The posterior mean if X_0 were N(0, data_std^2 I): alpha_t s^2 x / (alpha_t^2 s^2 + sigma_t^2), EDM's skip connection."""

    def skip(x_t: Tensor, at_t: Level) -> Tensor:
        return expand(at_t.alpha * data_std**2 / (at_t.alpha**2 * data_std**2 + at_t.sigma**2), x_t) * x_t

    return skip


def gaussian_mmse(at_t: Level, data_std: float) -> Tensor:
    """Posterior variance of a coordinate if X_0 were N(0, data_std^2 I); shape of the level, float64.

    sigma_t^2 s^2 / (alpha_t^2 s^2 + sigma_t^2). Losses divided by it weigh all levels alike, EDM's lambda(sigma).
    Source: Karras et al. 2022, Table 1. Checked by: theory_checks/test_assumptions.py
    """
    return (at_t.sigma * data_std) ** 2 / (at_t.alpha**2 * data_std**2 + at_t.sigma**2)


class Preconditioned(nn.Module):
    """A network that corrects a simple denoiser and is exact on clean data.

    h(x, t) = skip(x, t) + c_out F(c_in (x - alpha_t m), c_noise),   c_in^2 = 1 / (alpha_t^2 s^2 + sigma_t^2),
    c_out^2 = `gaussian_mmse`, c_noise = ln(sigma_t / (alpha_t s)) within [-8, 8], s = data_std, m = the data's mean (0 if not
    given). h(x, 0) = x whatever F is, as (A1) asks.
    The default skip, on the VE path, gives EDM's preconditioning but for c_noise: EDM's is ln(sigma_t) / 4, blind to the data's
    scale; this one is 0 where noise is as strong as signal. The `denoise` of a world fitted to the data (a Wiener filter, a
    mixture of them) gives a better starting point.

    Paper: (A1) of Theorem A.6. Source: Karras et al. 2022, Table 1. Checked by: theory_checks/test_assumptions.py

    Args: network(x, c_noise, condition), with c_noise (B,) of x's type; skip(x_t, level), by default the posterior mean if X_0
    were N(m, s^2 I); mean m, as one sample of x.
    """

    def __init__(
        self,
        network: Callable[..., Tensor],
        path: Path,
        *,
        data_std: float,
        mean: Tensor | None = None,
        skip: Skip | None = None,
    ):
        super().__init__()
        if not 0 < data_std < float("inf"):
            raise ValueError(f"data_std must be positive and finite; got {data_std}")
        self.network, self.path, self.data_std = network, path, float(data_std)
        self.mean = mean if mean is not None else torch.zeros(())
        self.skip = skip

    def forward(self, x_t: Tensor, t: Times, condition: Any = None) -> Tensor:
        times = torch.as_tensor(t, dtype=torch.float64, device=x_t.device).expand(x_t.shape[0])
        at_t = self.path(times)
        alpha, sigma = at_t
        c_in = (alpha**2 * self.data_std**2 + sigma**2).rsqrt()
        c_noise = (sigma / (alpha * self.data_std)).log().clamp(-8.0, 8.0)
        mean = self.mean.to(x_t)
        centred = x_t - expand(alpha, x_t) * mean
        correction = self.network(expand(c_in, x_t) * centred, c_noise.to(x_t.dtype), condition)
        start = self.skip(x_t, at_t) if self.skip else mean + scalar_skip(self.data_std)(centred, at_t)
        return start + expand(gaussian_mmse(at_t, self.data_std).sqrt(), x_t) * correction


class GradientField(nn.Module):
    """The gradient in x of a scalar potential: a network whose Jacobian is symmetric by construction.

    F(x, c) = grad_x phi(x, c). As the network of `Preconditioned` with the default skip it makes (h(x, t) - x) / sigma_t^2
    the gradient of a scalar function, as (A2) asks.

    Paper: (A2) of Theorem A.6. Checked by: theory_checks/test_assumptions.py

    Args: potential(x, c_noise, condition) -> (B,).
    """

    def __init__(self, potential: Callable[..., Tensor]):
        super().__init__()
        self.potential = potential

    def forward(self, x: Tensor, c_noise: Tensor, condition: Any = None) -> Tensor:
        return torch.func.grad(lambda y: self.potential(y, c_noise, condition).sum())(x)
