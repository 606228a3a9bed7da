"""Kernels: one reverse step from X_t to a less noisy X_s. The consistency loss and the samplers use the same kernels.

Given X_t and X_0, X_s is Gaussian with mean (alpha_s q^2 X_0 + r sigma_s^2 X_t) / sigma_t^2 and variance
sigma_s^2 q^2 / sigma_t^2, where X_t = r X_s + q Z' (see `paths.transition`). Averaging over the posterior of X_0 gives

    E[X_s | X_t]   = (alpha_s q^2 E[X_0 | X_t] + r sigma_s^2 X_t) / sigma_t^2
    Cov(X_s | X_t) = (sigma_s^2 q^2 / sigma_t^2) I + (alpha_s q^2 / sigma_t^2)^2 Cov(X_0 | X_t)

A Gaussian kernel replaces E[X_0 | X_t] by h and Cov(X_0 | X_t) by an estimate. The Gaussian kernels differ only in this estimate
(D is the number of coordinates of a sample):

    ancestral        0                                       as if X_0 were h
    euler_maruyama   (sigma_t / alpha_t)^2 I                 makes Cov(X_s | X_t) = (q / r)^2 I
    matched          (sigma_t^2 / alpha_t) dh/dx             makes both moments exact (second-order Tweedie)
    matched_trace    (sigma_t^2 / alpha_t) tr(dh/dx) I / D   makes the mean and the total variance exact

The kernel `ddim`, a step of the probability flow, is deterministic. The bias of a step is the mean of h(X_s, s) over its draws
minus h(x_t, t). For the exact h it is of order 2 for `ancestral` and `euler_maruyama` and of order 3 for `matched`, in the share
of sigma / alpha that the step removes; theory_checks/test_reverse_sde.py measures the orders. On clean data (sigma_t = 0, so
s = t and q = 0) every kernel is the identity.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ambient import tweedie
from ambient.denoisers import Denoiser
from ambient.paths import Level, Path, Times, expand, flat, transition, without_autocast


class Step(NamedTuple):
    """The law of X_s given X_t: N(mean, std^2 I), or N(mean, std std^T) if `std` is a matrix."""

    x_0_hat: Tensor  # h(x_t, t), (B, ...)
    mean: Tensor  # (B, ...)
    std: Tensor  # broadcasts with `mean`, or (B, D, D) if `is_matrix`
    is_matrix: bool = False

    @without_autocast
    def draw(self, noise: Tensor) -> Tensor:
        """Draws of X_s, (..., B, *), from standard normal `noise` of the same shape; leading axes count the draws."""
        if not self.is_matrix:
            return self.mean + self.std * noise
        batch = noise.shape[: noise.ndim - self.mean.ndim + 1]
        rows = noise.reshape(*batch, self.mean.shape[1:].numel())  # (..., B, *) -> (..., B, D)
        return self.mean + torch.einsum("bij,...bj->...bi", self.std, rows).reshape(noise.shape)


class Kernel(Protocol):
    """A function that returns one reverse step from t to s and evaluates the denoiser once.

    Args: x_t: (B, ...), at level t; t, s: () or (B,), s no noisier than t.
    Raises: ValueError where s is noisier than t.
    """

    def __call__(self, denoiser: Denoiser, x_t: Tensor, *, path: Path, t: Times, s: Times, condition: Any = None) -> Step: ...


def _gaussian_step(x_t: Tensor, x_0_hat: Tensor, *, at_t: Level, at_s: Level, posterior_variance: Tensor | float) -> Step:
    """The step with Cov(X_0 | X_t) = posterior_variance I; `posterior_variance` is a number, () or (B,)."""
    offset, weight = _variance_terms(at_t=at_t, at_s=at_s)
    mean = tweedie.x_n_from_x_0(x_t, x_0_hat, at_t=at_t, at_n=at_s)
    return Step(x_0_hat, mean, expand((offset + weight * posterior_variance).sqrt(), x_t))


def _variance_terms(*, at_t: Level, at_s: Level) -> tuple[Tensor, Tensor]:
    """The offset and the weight of Cov(X_s | X_t) = offset I + weight Cov(X_0 | X_t); each () or (B,).

    offset = sigma_s^2 q^2 / sigma_t^2,  weight = (alpha_s q^2 / sigma_t^2)^2.
    """
    added_share = torch.where(at_t.sigma == 0, 0.0, transition(at_n=at_s, at_t=at_t).q ** 2 / at_t.sigma**2)
    return at_s.sigma**2 * added_share, (at_s.alpha * added_share) ** 2


def ancestral(denoiser: Denoiser, x_t: Tensor, *, path: Path, t: Times, s: Times, condition: Any = None) -> Step:
    """The posterior step of DDPM: the law of X_s given X_t and X_0 = h(x_t, t).

    Paper: one step of (2.3). Source: Ho et al. 2020, Eq. (6)-(7). Checked by: theory_checks/test_reverse_sde.py
    """
    x_0_hat = denoiser(x_t, t, condition)
    return _gaussian_step(x_t, x_0_hat, at_t=path(t), at_s=path(s), posterior_variance=0.0)


def euler_maruyama(denoiser: Denoiser, x_t: Tensor, *, path: Path, t: Times, s: Times, condition: Any = None) -> Step:
    """The Euler-Maruyama step of the reverse SDE in the variable sigma^2 / alpha^2; its noise has variance (q / r)^2.

    VE: x_s = x_t + (sigma_t^2 - sigma_s^2) grad log p_t + sqrt(sigma_t^2 - sigma_s^2) Z.

    Raises: ValueError where no signal is left at t (alpha_t = 0).
    Paper: one step of (2.2), (2.3). Checked by: theory_checks/test_reverse_sde.py
    """
    at_t = tweedie.require_signal(path(t))
    x_0_hat = denoiser(x_t, t, condition)
    return _gaussian_step(x_t, x_0_hat, at_t=at_t, at_s=path(s), posterior_variance=(at_t.sigma / at_t.alpha) ** 2)


def matched(denoiser: Denoiser, x_t: Tensor, *, path: Path, t: Times, s: Times, condition: Any = None) -> Step:
    """The step whose mean and covariance are those of X_s given X_t, from the Jacobian of h.

    It takes D Jacobian products, so it is meant for small D. No gradient flows through the covariance. The Jacobian of a network
    need not be symmetric or positive semi-definite: its symmetric part is used, and negative eigenvalues count as 0.

    Raises: ValueError where no signal is left at t (alpha_t = 0).
    Checked by: theory_checks/test_reverse_sde.py
    """
    at_t, at_s = tweedie.require_signal(path(t)), path(s)
    x_0_hat, jacobian = tweedie.jacobian(lambda x: denoiser(x, t, condition), x_t, create_graph=False)
    with torch.no_grad():
        jacobian = jacobian.to(torch.promote_types(jacobian.dtype, torch.float32))  # eigh has no half precision
        posterior = tweedie.posterior_covariance_from_jacobian((jacobian + jacobian.mT) / 2, at_t=at_t)
        values, vectors = torch.linalg.eigh(posterior)  # (B, D, D) -> (B, D), (B, D, D)
        offset, weight = (expand(term, values) for term in _variance_terms(at_t=at_t, at_s=at_s))
        std = (vectors * (offset + weight * values.clamp_min(0)).sqrt().unsqueeze(1)).to(x_t.dtype)  # (B, D, D), scaled columns
    return Step(x_0_hat, tweedie.x_n_from_x_0(x_t, x_0_hat, at_t=at_t, at_n=at_s), std, is_matrix=True)


def matched_trace(
    denoiser: Denoiser, x_t: Tensor, *, path: Path, t: Times, s: Times, condition: Any = None, probe: Tensor | None = None
) -> Step:
    """The step whose mean and total variance are those of X_s given X_t; all coordinates have the same variance.

    With a probe Z the trace of dh/dx is estimated by Z . (dh/dx) Z, which takes one Jacobian product. Without a probe it is
    exact and takes D products. No gradient flows through the variance.

    Args: probe: (B, ...), of mean 0 and covariance I.
    Raises: ValueError where no signal is left at t (alpha_t = 0).
    Checked by: theory_checks/test_reverse_sde.py
    """
    at_t, at_s = tweedie.require_signal(path(t)), path(s)

    def h(x: Tensor) -> Tensor:
        return denoiser(x, t, condition)

    if probe is None:
        x_0_hat, jacobian = tweedie.jacobian(h, x_t, create_graph=False)
        trace = jacobian.diagonal(dim1=1, dim2=2).sum(1)
    else:
        x_0_hat, product = tweedie.vector_jacobian(h, x_t, probe, create_graph=False)
        trace = flat(probe * product).sum(1)
    with torch.no_grad():
        variance = (at_t.sigma**2 / at_t.alpha) * trace.double().clamp_min(0) / x_t.shape[1:].numel()
    return _gaussian_step(x_t, x_0_hat, at_t=at_t, at_s=at_s, posterior_variance=variance)


def ddim(denoiser: Denoiser, x_t: Tensor, *, path: Path, t: Times, s: Times, condition: Any = None) -> Step:
    """The deterministic step of the probability flow: x_s = alpha_s h + (sigma_s / sigma_t) (x_t - alpha_t h).

    At s = t = 0 the quotient counts as 1, so that x_s = x_t.
    Source: Song et al. 2021 (DDIM), Eq. (12) with eta = 0. Checked by: theory_checks/test_reverse_sde.py
    """
    at_t, at_s = path(t), path(s)
    transition(at_n=at_s, at_t=at_t)  # raises ValueError for a step towards more noise
    x_0_hat = denoiser(x_t, t, condition)
    scale = torch.where(at_t.sigma == 0, 1.0, at_s.sigma / at_t.sigma)
    mean = expand(at_s.alpha - scale * at_t.alpha, x_t) * x_0_hat + expand(scale, x_t) * x_t
    return Step(x_0_hat, mean, torch.zeros_like(expand(at_s.sigma, x_t)))


KERNELS: dict[str, Kernel] = {
    "ancestral": ancestral,
    "euler-maruyama": euler_maruyama,
    "matched": matched,
    "matched-trace": matched_trace,
    "ddim": ddim,
}
