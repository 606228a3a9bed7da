"""Denoisers: one calling convention for exact posterior means, small networks and SDXL's UNet.

A denoiser h(x_t, t, condition) estimates E[X_0 | X_t = x_t]. Here `x_t` is (B, ...), `t` is () or (B,), and `condition` is
whatever the network takes, or None. Losses and samplers need nothing else of a denoiser.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ambient import tweedie
from ambient.paths import Level, Path, Times, expand


class Denoiser(Protocol):
    """h(x_t, t, condition), an estimate of E[X_0 | X_t = x_t], shaped as x_t."""

    def __call__(self, x_t: Tensor, t: Times, condition: Any = None) -> Tensor: ...


X_0_FROM: dict[str, Callable[..., Tensor]] = {  # by what a network predicts: the function that turns it into x_0
    "eps": tweedie.x_0_from_eps,
    "v": tweedie.x_0_from_v,
    "flow": tweedie.x_0_from_flow,
    "x_0": lambda x_t, x_0_hat, *, at_t: x_0_hat,
}


class NetworkDenoiser(nn.Module):
    """The denoiser of a network that predicts eps, v, the flow velocity, or x_0 itself.

    Args: network: a function of x_t, t (float64, (B,)) and the condition; prediction: "eps", "v", "flow" or "x_0".
    Raises: ValueError for another prediction.
    Checked by: theory_checks/test_parametrisations.py
    """

    def __init__(self, network: Callable[..., Tensor], path: Path, prediction: str):
        super().__init__()
        if prediction not in X_0_FROM:
            raise ValueError(f"prediction must be one of {', '.join(X_0_FROM)}; got {prediction!r}")
        self.network, self.path, self.prediction = network, path, prediction

    def forward(self, x_t: Tensor, t: Times, condition: Any = None) -> Tensor:
        times = torch.as_tensor(t, dtype=torch.float64, device=x_t.device).expand(x_t.shape[0])
        return X_0_FROM[self.prediction](x_t, self.network(x_t, times, condition), at_t=self.path(times))


Skip = Callable[[Tensor, Level], Tensor]  # a simple denoiser, of x_t and its level, that a network corrects: see `Preconditioned`


def scalar_skip(data_std: float) -> Skip:
    """The posterior mean if X_0 were N(0, data_std^2 I): alpha_t data_std^2 x / (alpha_t^2 data_std^2 + sigma_t^2).

    Source: Karras et al. 2022 (EDM), Table 1, the skip connection.
    """

    def skip(x_t: Tensor, at_t: Level) -> Tensor:
        return expand(at_t.alpha * data_std**2 / (at_t.alpha**2 * data_std**2 + at_t.sigma**2), x_t) * x_t

    return skip


def gaussian_mmse(at_t: Level, data_std: float) -> Tensor:
    """The posterior variance of one coordinate if X_0 were N(0, data_std^2 I); float64, shaped as the level.

    sigma_t^2 data_std^2 / (alpha_t^2 data_std^2 + sigma_t^2). The minimum mean square error (MMSE) of a sample with D coordinates
    is D times as large. If a loss is divided by this variance, all levels have about the same weight. On the VE path, the inverse
    of this variance is the weight lambda(sigma) of EDM.

    Source: Karras et al. 2022, Table 1. Checked by: theory_checks/test_assumptions.py
    """
    return (at_t.sigma * data_std) ** 2 / (at_t.alpha**2 * data_std**2 + at_t.sigma**2)


class Preconditioned(nn.Module):
    """A denoiser that returns clean data unchanged: a network F corrects a simple denoiser, which is called the skip.

    h(x, t) = skip(x, t) + c_out F(c_in (x - alpha_t m), c_noise),  where m is the mean of X_0,
    c_in^2 = 1 / (alpha_t^2 data_std^2 + sigma_t^2),  c_out = sigma_t data_std c_in,  c_noise = ln(sigma_t / (alpha_t data_std)).
    c_out^2 is `gaussian_mmse`, and c_noise is clamped to [-8, 8].
    If skip(x, 0) = x, then h(x, 0) = x for every F, as assumption (A1) requires; of the worlds, `Empirical` alone has no such
    `denoise`, because at 0 it returns the nearest data point. With the default skip on the VE path this is the preconditioning
    of EDM, except that EDM has c_noise = ln(sigma_t) / 4. The c_noise used here does not depend on the scale of the data; it is 0
    where noise and signal are equally strong. A better skip than the default is the exact denoiser of a distribution that was
    fitted to the data: `denoise` of a `World`, for example of the result of `noisy_mixture.fit`.

    Args: network: a function of the scaled x, c_noise ((B,), of the type of x) and the condition; mean: m, one sample, by
    default 0; skip: a function of x_t and the level, by default the posterior mean if X_0 were N(m, data_std^2 I).
    Raises: ValueError for a data_std that is not positive and finite.
    Paper: (A1) of Theorem A.6. Source: Karras et al. 2022, Table 1. Checked by: theory_checks/test_assumptions.py
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
        skip = self.skip(x_t, at_t) if self.skip else mean + scalar_skip(self.data_std)(centred, at_t)
        return skip + expand(gaussian_mmse(at_t, self.data_std).sqrt(), x_t) * correction


class GradientField(nn.Module):
    """The gradient in x of a scalar potential: a network whose Jacobian is symmetric by construction.

    F(x, c) = grad_x phi(x, c). If it is the network of `Preconditioned` with the default skip, then
    (alpha_t h(x, t) - x) / sigma_t^2 is the gradient of a scalar function, as assumption (A2) requires.

    Args: potential: phi, a function of x, c_noise and the condition that returns (B,).
    Paper: (A2) of Theorem A.6. Checked by: theory_checks/test_assumptions.py
    """

    def __init__(self, potential: Callable[..., Tensor]):
        super().__init__()
        self.potential = potential

    def forward(self, x: Tensor, c_noise: Tensor, condition: Any = None) -> Tensor:
        return torch.func.grad(lambda y: self.potential(y, c_noise, condition).sum())(x)
