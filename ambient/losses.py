"""The losses. Each takes its noise as an argument and returns one number per sample, which the caller weights and averages.

Notation: x_n is the noisy data at level t_n; t_n = 0 is clean data. X_t = r X_n + q Z for t >= t_n, where Z is the argument
`noise`. h is the denoiser, and D is the number of coordinates of a sample. A squared norm is a sum over coordinates. Losses and
their gradients are finite at t = t_n. Shapes, unless a docstring says otherwise: samples x and `noise` (B, ...); times t, s and
t_n () or (B,); every loss returns (B,).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ambient import tweedie
from ambient.denoisers import Denoiser
from ambient.kernels import Kernel, Step
from ambient.paths import Level, Path, Times, Transition, expand, flat, require_same_shape, transition

SMALLEST_Q_OVER_SIGMA_N = 1e-2  # the least q / sigma_n that `ambient` uses in space "x_0", where it divides by q


def squared_norm(x: Tensor) -> Tensor:
    """||x||^2 for each sample, (B,)."""
    return flat(x).square().sum(1)  # (B, ...) -> (B, D) -> (B,)


def denoising(denoiser: Denoiser, x_0: Tensor, noise: Tensor, *, path: Path, t: Times, condition: Any = None) -> Tensor:
    """The loss of denoising score matching for clean data: ||h(X_t, t) - X_0||^2 with X_t = alpha_t X_0 + sigma_t Z.

    Paper: J_DSM of Sec. 2.1. Checked by: theory_checks/test_tweedie.py
    """
    x_t = path(t).apply(x_0, noise)
    return squared_norm(denoiser(x_t, t, condition) - x_0)


def ambient(
    denoiser: Denoiser, x_n: Tensor, noise: Tensor, *, path: Path, t_n: Times, t: Times, space: str = "x_n", condition: Any = None
) -> Tensor:
    """The loss of ambient denoising score matching: for t > t_n its minimiser is E[X_0 | X_t], from noisy data alone.

    The space of a loss is the quantity whose error is measured: X_n (the paper's loss), the added noise Z, or X_0. In each space
    the mean of the loss is w E||h - E[X_0 | X_t]||^2 plus a constant that does not depend on h:
      "x_n": ||(alpha_n q^2 h + r sigma_n^2 X_t) / sigma_t^2 - X_n||^2, w = (alpha_n q^2 / sigma_t^2)^2.
      "eps": ||Z - (q / sigma_t) eps_h||^2 with eps_h = (X_t - alpha_t h) / sigma_t, w = (alpha_t q / sigma_t^2)^2.
      "x_0": ||h - Y||^2 + 2 (c / q) Z . (h - Y) - D sigma_n^2 / alpha_n^2 with Y = X_n / alpha_n and c = r sigma_n^2 / alpha_n,
             w = 1. Its mean is the denoising risk E||h - X_0||^2. Up to terms without h, this loss is ||h - Y + (c / q) Z||^2,
             which is the "x_n" loss divided by its w. So it uses Tweedie's formula twice as well and has the same minimiser.
    At t = t_n, w is 0 for "x_n" and "eps"; only "x_0" has a weight there. The variance of "x_0" grows as 1 / q^2, which
    `antithetic_ambient` avoids. If q < 0.01 sigma_n, "x_0" draws X_t with q = 0.01 sigma_n; h is still evaluated at t, which is a
    small bias: the noise in X_t is at most about 0.005 % stronger than at t.
    With t_n = 0 and t > 0, "x_n" and "x_0" equal `denoising`, and "eps" is the usual noise-prediction loss.

    Raises: ValueError where t is less noisy than t_n, and unless `space` is "x_n", "eps" or "x_0".
    Paper: Theorem 3.1, Theorem A.3, Theorem A.5. Checked by: theory_checks/test_ambient.py
    """
    at_n, at_t = path(t_n), path(t)
    added = transition(at_n=at_n, at_t=at_t)
    if space == "x_0":
        added = Transition(added.ratio, added.q.maximum(SMALLEST_Q_OVER_SIGMA_N * at_n.sigma))
    x_t = added.apply(x_n, noise)
    h = denoiser(x_t, t, condition)
    if space == "x_n":
        return squared_norm(tweedie.x_n_from_x_0(x_t, h, at_t=at_t, at_n=at_n) - x_n)
    if space == "eps":
        scale = torch.where(at_t.sigma == 0, 0.0, added.q / at_t.sigma**2)
        return squared_norm(noise - expand(scale, x_t) * (x_t - expand(at_t.alpha, x_t) * h))
    if space == "x_0":
        variance = (at_n.sigma / at_n.alpha) ** 2  # of the noise in X_n / alpha_n
        c_over_q = torch.where(added.q == 0, 0.0, added.ratio * at_n.alpha * variance / added.q)
        error = h - x_n / expand(at_n.alpha, x_n)
        cross = flat(noise * error).sum(1)  # (B, ...) -> (B,)
        return squared_norm(error) + 2 * c_over_q.to(cross) * cross - variance.to(cross) * x_n.shape[1:].numel()
    raise ValueError(f"space must be 'x_n', 'eps' or 'x_0'; got {space!r}")


def antithetic_ambient(
    denoiser: Denoiser, x_n: Tensor, noise: Tensor, *, path: Path, t_n: Times, t: Times, condition: Any = None
) -> Tensor:
    """The ambient loss in x_0 space, averaged over +Z and -Z: its variance stays bounded as t -> t_n.

    It is unbiased for E||h - X_0||^2, but for the small bias of `ambient` where q < 0.01 sigma_n. The terms in 1 / q cancel,
    except (c / q) Z . (h(r X_n + q Z) - h(r X_n - q Z)). As q tends to 0, this term tends to 2 c Z . (dh/dx) Z, and the loss to
    `sure` with the probe Z. At t_n it is a finite difference, with q = 0.01 sigma_n. So one loss serves every level t >= t_n.

    Raises: ValueError where t is less noisy than t_n.
    Paper: not in the paper; it extends Theorem A.3. Checked by: theory_checks/test_antithetic.py
    """
    both = ambient(
        denoiser,
        torch.cat([x_n, x_n]),  # (2 B, ...)
        torch.cat([noise, -noise]),
        path=path,
        t_n=repeat(_per_sample(t_n, x_n), 2),
        t=repeat(_per_sample(t, x_n), 2),
        space="x_0",
        condition=repeat(condition, 2),
    )
    return both.reshape(2, len(x_n)).mean(0)  # (2 B,) -> (2, B) -> (B,)


def consistency(
    denoiser: Denoiser,
    x_t: Tensor,
    noise: Tensor,
    *,
    path: Path,
    t: Times,
    s: Times,
    kernel: Kernel,
    antithetic: bool = False,
    condition: Any = None,
) -> Tensor:
    """An unbiased estimate of ||h(x_t, t) - E[h(X_s, s) | x_t]||^2: how far h is from a martingale along its reverse process.

    Theorem 3.4: a consistent h that meets (A1) and (A2) is the exact denoiser of some distribution. If h is also exact at t_n,
    this distribution and p_0 have the same noisy density there. Different distributions stay different under Gaussian noise, so
    the distribution is p_0, and h is exact at all lower levels.

    One step of `kernel` from x_t, which uses h, gives k draws of X_s and k residuals h(X_s^i, s) - h(x_t, t), independent given
    x_t. The estimate is the mean, over pairs i != j, of the inner product of residuals i and j. It may be negative. The paper
    has k = 2. Gradients flow through X_s.

    Args: noise: Z, (k, B, ...), k >= 2; antithetic: average each residual over +Z_i and -Z_i, so that its variance is of
    order e^2 instead of e, where e is the share of sigma / alpha that the step removes.
    Raises: ValueError for fewer than two draws, and where s is noisier than t.
    Paper: Eq. (3.5), two-sample estimator of Sec. 3.2. Checked by: theory_checks/test_estimators.py
    """
    step = kernel(denoiser, x_t, path=path, t=t, s=s, condition=condition)
    return martingale(denoiser, step, noise, s=s, antithetic=antithetic, condition=condition)


def martingale(
    denoiser: Denoiser, step: Step, noise: Tensor, *, s: Times, antithetic: bool = False, condition: Any = None
) -> Tensor:
    """The `consistency` loss of a step that a kernel has already returned, so that h(x_t, t) is not evaluated again.

    Args: step: a kernel's step from x_t to level s; noise: (k, B, ...), k >= 2; antithetic: as for `consistency`.
    Raises: ValueError for fewer than two draws.
    Paper: two-sample estimator of Sec. 3.2. Checked by: theory_checks/test_estimators.py
    """
    k, x_0_hat = noise.shape[0], step.x_0_hat
    if k < 2 or noise.shape[1:] != x_0_hat.shape:
        raise ValueError(f"noise must be (k, {', '.join(map(str, x_0_hat.shape))}) with k >= 2; got {tuple(noise.shape)}")
    if antithetic:
        noise = torch.cat([noise, -noise])  # (2 k, B, ...)
    draws = len(noise)
    s_each = repeat(_per_sample(s, x_0_hat), draws)
    h_s = denoiser(step.draw(noise).flatten(0, 1), s_each, repeat(condition, draws))  # (draws B, ...)
    residuals = (h_s.unflatten(0, noise.shape[:2]) - x_0_hat).reshape(*noise.shape[:2], x_0_hat.shape[1:].numel())
    if antithetic:  # (draws, B, D) -> (k, B, D)
        residuals = (residuals[:k] + residuals[k:]) / 2
    return (residuals.sum(0).square() - residuals.square().sum(0)).sum(1) / (k * (k - 1))


def sure(
    denoiser: Denoiser,
    x_n: Tensor,
    probe: Tensor | None = None,
    *,
    path: Path,
    t_n: Times,
    difference_step: float | None = None,
    condition: Any = None,
) -> Tensor:
    """Stein's unbiased risk estimate (SURE) of E||h(X_n, t_n) - X_0||^2, from noisy data alone.

    ||h - X_n / alpha_n||^2 + 2 (sigma_n^2 / alpha_n) div h - D sigma_n^2 / alpha_n^2
    Without a probe the divergence is exact and takes D Jacobian products. With a probe Z its estimate is Z . (dh/dx) Z, or
    Z . (h(X_n + e Z) - h(X_n)) / e for a `difference_step` e.

    Args: probe: (B, ...), of mean 0 and covariance I.
    Raises: ValueError for a difference_step that is 0 or not finite, where no signal is left (alpha_n = 0), and for a denoiser
    that records no gradient although the divergence needs one.
    Paper: J_SURE of Sec. 2.2 and its two estimators. Checked by: theory_checks/test_sure.py
    """
    if difference_step is not None and not 0 < abs(difference_step) < float("inf"):
        raise ValueError(f"difference_step must be finite and not 0; got {difference_step}")
    alpha, sigma = tweedie.require_signal(path(t_n))

    def h_at(x: Tensor) -> Tensor:
        return denoiser(x, t_n, condition)

    if probe is None:
        h, jacobian = tweedie.jacobian(h_at, x_n)
        divergence = jacobian.diagonal(dim1=1, dim2=2).sum(1)
    elif difference_step is None:
        h, product = tweedie.vector_jacobian(h_at, x_n, probe)
        divergence = flat(probe * product).sum(1)
    else:
        h = h_at(x_n)
        change = h_at(x_n + difference_step * require_same_shape(probe, x_n)) - h
        divergence = flat(probe * change).sum(1) / difference_step
    risk = squared_norm(h - x_n / expand(alpha, x_n))
    return risk + (2 * sigma**2 / alpha).to(risk) * divergence - ((sigma / alpha) ** 2).to(risk) * x_n.shape[1:].numel()


def noisier2noise(
    predictor: Denoiser, x_n: Tensor, noise: Tensor, *, path: Path, t_n: Times, t: Times, condition: Any = None
) -> Tensor:
    """||g(X_t, t) - X_n||^2: the predictor g learns E[X_n | X_t], which `tweedie.x_0_from_x_n` turns into E[X_0 | X_t].

    Raises: ValueError where t is less noisy than t_n.
    Paper: Noisier2Noise of Sec. 2.2 and Sec. 3.1. Source: Moran et al. 2020. Checked by: theory_checks/test_noisier2noise.py
    """
    x_t = transition(at_n=path(t_n), at_t=path(t)).apply(x_n, noise)
    return squared_norm(predictor(x_t, t, condition) - x_n)


def min_snr_weight(at_t: Level, *, prediction: str, gamma: float = 5.0) -> Tensor:
    """The min-SNR-gamma weight of the squared error of a network's prediction; shaped as the level.

    min(SNR, gamma) (d x_0 / d prediction)^2,  SNR = alpha^2 / sigma^2.
    For every prediction this puts the weight min(SNR, gamma) on ||h - X_0||^2. On variance-preserving paths it is
    min(SNR, gamma) / SNR for eps and min(SNR, gamma) / (SNR + 1) for v.

    Raises: ValueError unless `prediction` is "eps", "v", "flow" or "x_0".
    Source: Hang et al. 2023, Sec. 3.4. Checked by: theory_checks/test_parametrisations.py
    """
    alpha, sigma = at_t
    if prediction == "eps":
        return (gamma * (sigma / alpha) ** 2).clamp(max=1.0)
    capped = ((alpha / sigma) ** 2).clamp(max=gamma)
    if prediction == "x_0":
        return capped
    if prediction == "v":
        return capped * (sigma / (alpha**2 + sigma**2)) ** 2
    if prediction == "flow":
        return capped * (sigma / (alpha + sigma)) ** 2
    raise ValueError(f"prediction must be 'eps', 'v', 'flow' or 'x_0'; got {prediction!r}")


def _per_sample(value: Times, x: Tensor) -> Tensor:
    """One time for each sample of `x`, (B,). Raises: ValueError if `value` has neither one entry nor one for each sample."""
    times = torch.as_tensor(value, dtype=torch.float64)
    expand(times, x)  # raises ValueError for other shapes
    return times.expand(len(x))


def repeat(value: Any, copies: int) -> Any:
    """The condition of `copies` copies of a batch, one after another: tensors, also in dicts and lists, repeat on axis 0."""
    if isinstance(value, Tensor):
        return value if value.ndim == 0 else torch.cat([value] * copies)
    if isinstance(value, dict):
        return {key: repeat(entry, copies) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        entries = [repeat(entry, copies) for entry in value]
        return type(value)(*entries) if hasattr(value, "_fields") else type(value)(entries)  # a named tuple takes them one by one
    return value
