"""One reverse step X_t -> X_s, s less noisy than t: the same step serves the consistency loss and the samplers.

Given X_t and X_0 the law of X_s is Gaussian, with mean (alpha_s q^2 X_0 + r sigma_s^2 X_t) / sigma_t^2 and variance
sigma_s^2 q^2 / sigma_t^2 (r, q of the transition s -> t). Averaged over the posterior of X_0 its first two moments are

    mean = (alpha_s q^2 h(x_t, t) + r sigma_s^2 x_t) / sigma_t^2
    Cov  = (sigma_s^2 q^2 / sigma_t^2) I + (alpha_s q^2 / sigma_t^2)^2 Cov(X_0 | X_t)

so a Gaussian step is a guess of Cov(X_0 | X_t), and the usual ones differ in nothing else:

    ancestral        0                            X_0 is taken to be h
    Euler-Maruyama   (sigma_t / alpha_t)^2 I      Cov = (q / r)^2 I: Euler's step of (2.3) in the variable sigma^2 / alpha^2
    matched          (sigma_t^2 / alpha_t) dh/dx  both moments exact (second-order Tweedie)
    matched_trace    its trace, spread evenly     one Jacobian product with a Hutchinson probe

DDIM, the probability-flow step, moves by the predicted noise and draws none. Bias of one step on E h(X_s): see
theory_checks/test_reverse_sde.py, which also shows that ancestral and Euler-Maruyama are of first order and `matched` of
second order in the step. From clean data (sigma_t = 0, so s = t) every step is the identity: no noise was added, q = 0.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ambient import tweedie
from ambient.denoisers import Denoiser
from ambient.paths import Level, Path, Times, expand, flat, in_own_precision, transition


class Step(NamedTuple):
    """The law of X_s given X_t: N(mean, std^2 I), or N(mean, std std^T) for a matrix `std` (B, D, D); x_0_hat is h(x_t, t)."""

    x_0_hat: Tensor
    mean: Tensor
    std: Tensor
    is_matrix: bool = False

    @in_own_precision
    def draw(self, noise: Tensor) -> Tensor:
        """X_s for standard normal `noise`, (..., B, *), any number of draws at once."""
        if not self.is_matrix:
            return self.mean + self.std * noise
        batch = noise.shape[: noise.ndim - self.mean.ndim + 1]
        rows = noise.reshape(*batch, self.mean.shape[1:].numel())
        return self.mean + torch.einsum("bij,...bj->...bi", self.std, rows).reshape(noise.shape)


class Kernel(Protocol):
    """A reverse step from t to s driven by a denoiser; evaluates it once. Raises ValueError where s is noisier than t."""

    def __call__(self, denoiser: Denoiser, x_t: Tensor, *, path: Path, t: Times, s: Times, condition: Any = None) -> Step: ...


def _gaussian_step(x_t: Tensor, x_0_hat: Tensor, *, at_t: Level, at_s: Level, posterior_variance: Tensor | float) -> Step:
    """The step for Cov(X_0 | X_t) = posterior_variance I, given as () or (B,)."""
    floor, weight = _variance_terms(at_t=at_t, at_s=at_s)
    mean = tweedie.x_n_from_x_0(x_t, x_0_hat, at_t=at_t, at_n=at_s)
    return Step(x_0_hat, mean, expand((floor + weight * posterior_variance).sqrt(), x_t))


def _variance_terms(*, at_t: Level, at_s: Level) -> tuple[Tensor, Tensor]:
    """(sigma_s^2 q^2 / sigma_t^2, (alpha_s q^2 / sigma_t^2)^2): Cov(X_s | X_t) = first I + second Cov(X_0 | X_t)."""
    share = torch.where(at_t.sigma == 0, 0.0, transition(at_n=at_s, at_t=at_t).sigma ** 2 / at_t.sigma**2)
    return at_s.sigma**2 * share, (at_s.alpha * share) ** 2


def ancestral(denoiser: Denoiser, x_t: Tensor, *, path: Path, t: Times, s: Times, condition: Any = None) -> Step:
    """The posterior step of DDPM: X_s given X_t and X_0 = h(x_t, t).

    Paper: one step of (2.3). Source: Ho et al. 2020, Eq. (6)-(7). Checked by: theory_checks/test_reverse_sde.py
    """
    x_0_hat = denoiser(x_t, t, condition)
    return _gaussian_step(x_t, x_0_hat, at_t=path(t), at_s=path(s), posterior_variance=0.0)


def euler_maruyama(denoiser: Denoiser, x_t: Tensor, *, path: Path, t: Times, s: Times, condition: Any = None) -> Step:
    """Euler-Maruyama on the reverse SDE, in the variable sigma^2 / alpha^2; its noise has variance (q / r)^2.

    VE: x_s = x_t + (sigma_t^2 - sigma_s^2) grad log p_t + sqrt(sigma_t^2 - sigma_s^2) Z.
    Paper: one step of (2.2), (2.3). Checked by: theory_checks/test_reverse_sde.py
    Raises: ValueError where no signal is left at t (alpha_t = 0).
    """
    at_t = tweedie.with_signal(path(t))
    x_0_hat = denoiser(x_t, t, condition)
    return _gaussian_step(x_t, x_0_hat, at_t=at_t, at_s=path(s), posterior_variance=(at_t.sigma / at_t.alpha) ** 2)


def matched(denoiser: Denoiser, x_t: Tensor, *, path: Path, t: Times, s: Times, condition: Any = None) -> Step:
    """Both moments of X_s given X_t, from the Jacobian of h: D Jacobian products, so for small D.

    No gradient flows through the covariance; directions that h says have negative variance are given none.
    Checked by: theory_checks/test_reverse_sde.py
    Raises: ValueError where no signal is left at t (alpha_t = 0).
    """
    at_t, at_s = tweedie.with_signal(path(t)), path(s)
    x_0_hat, jacobian = tweedie.jacobian(lambda x: denoiser(x, t, condition), x_t, create_graph=False)
    with torch.no_grad():
        jacobian = jacobian.to(torch.promote_types(jacobian.dtype, torch.float32))  # eigenvalues are not for half precision
        posterior = tweedie.posterior_covariance_from_jacobian((jacobian + jacobian.mT) / 2, at_t=at_t)
        values, vectors = torch.linalg.eigh(posterior)
        floor, weight = (expand(term, values) for term in _variance_terms(at_t=at_t, at_s=at_s))
        std = (vectors * (floor + weight * values.clamp_min(0)).sqrt().unsqueeze(1)).to(x_t.dtype)
    return Step(x_0_hat, tweedie.x_n_from_x_0(x_t, x_0_hat, at_t=at_t, at_n=at_s), std, is_matrix=True)


def matched_trace(
    denoiser: Denoiser, x_t: Tensor, *, path: Path, t: Times, s: Times, condition: Any = None, probe: Tensor | None = None
) -> Step:
    """The mean and the total variance of X_s given X_t, spread evenly over the coordinates.

    With a `probe` Z (as x_t, mean 0, covariance I) the trace of dh/dx is estimated by Z . (dh/dx) Z, one Jacobian product;
    without, it is exact, D products. No gradient flows through the variance. Checked by: theory_checks/test_reverse_sde.py
    Raises: ValueError where no signal is left at t (alpha_t = 0).
    """
    at_t, at_s = tweedie.with_signal(path(t)), path(s)

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
    """The probability-flow step x_s = alpha_s h + (sigma_s / sigma_t) (x_t - alpha_t h); deterministic. 0 / 0 is 1 at s = t = 0.

    Source: Song et al. 2021 (DDIM), Eq. (12) with eta = 0. Checked by: theory_checks/test_reverse_sde.py
    """
    at_t, at_s = path(t), path(s)
    transition(at_n=at_s, at_t=at_t)  # refuses a step towards more noise
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
