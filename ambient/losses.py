"""The losses. Noise comes in, one number per sample goes out; weighting and reduction are the caller's.

Notation: x_n is the noisy data, at level t_n (one level per sample; t_n = 0 is clean data). X_t = r X_n + q Z for t >= t_n.
h is the denoiser, d the number of coordinates of a sample. Norms are sums over coordinates. Losses and their gradients are
finite at t = t_n. Shapes: x (B, ...), t and t_n () or (B,), noise as x unless said otherwise; all return (B,).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ambient import tweedie
from ambient.denoisers import Denoiser
from ambient.kernels import Kernel, Step
from ambient.paths import Level, Path, Times, Transition, expand, flat, shaped_like, transition

SMALLEST_PROBE = 1e-2  # of sigma_n; see `ambient`, x_0 space


def squared_norm(x: Tensor) -> Tensor:
    """||x||^2 for each sample, (B,)."""
    return flat(x).square().sum(1)


def denoising(denoiser: Denoiser, x_0: Tensor, noise: Tensor, *, path: Path, t: Times, condition: Any = None) -> Tensor:
    """||h(X_t, t) - X_0||^2 with X_t = alpha_t X_0 + sigma_t Z: denoising score matching, for clean data.

    Paper: J_DSM of Sec. 2.1. Checked by: theory_checks/test_tweedie.py
    """
    x_t = path(t).apply(x_0, noise)
    return squared_norm(denoiser(x_t, t, condition) - x_0)


def ambient(
    denoiser: Denoiser,
    x_n: Tensor,
    noise: Tensor,
    *,
    path: Path,
    t_n: Times,
    t: Times,
    space: str = "x_n",
    condition: Any = None,
) -> Tensor:
    """Ambient denoising score matching: learns E[X_0 | X_t] for t >= t_n from noisy data alone.

    With X_t = r X_n + q Z, the spaces differ by a weight on ||h - E[X_0 | X_t]||^2 and by a constant:
      "x_n": ||(alpha_n q^2 h + r sigma_n^2 X_t) / sigma_t^2 - X_n||^2, weight (alpha_n q^2 / sigma_t^2)^2: the paper's.
      "eps": ||Z - (q / sigma_t) eps_h||^2 with eps_h = (X_t - alpha_t h) / sigma_t, weight (alpha_t q / sigma_t^2)^2. The
             noise that was added is predicted, so nothing is divided by q.
      "x_0": ||h - Y||^2 + 2 (c / q) Z . (h - Y) - d sigma_n^2 / alpha_n^2, with Y = X_n / alpha_n and c = r sigma_n^2 / alpha_n:
             weight 1 and no constant, the mean is E||h - X_0||^2 itself. (It is ||h - Y + (c / q) Z||^2, whose target is X_0
             plus noise independent of X_t, less the part that h cannot change.) The variance grows as 1 / q^2; see
             `antithetic_ambient`. Closer to t_n than q = 0.01 sigma_n, Z is scaled by that much instead of q.
    With t_n = 0 "x_n" and "x_0" are `denoising`, "eps" is the usual noise-prediction loss.

    Paper: Theorem 3.1, Theorem A.3, Theorem A.5. Checked by: theory_checks/test_ambient.py
    Raises: ValueError where t is less noisy than t_n, or for an unknown space.
    """
    at_n, at_t = path(t_n), path(t)
    step = transition(at_n=at_n, at_t=at_t)
    if space == "x_0":
        step = Transition(step.ratio, step.sigma.maximum(SMALLEST_PROBE * at_n.sigma))
    x_t = step.apply(x_n, noise)
    h = denoiser(x_t, t, condition)
    if space == "x_n":
        return squared_norm(tweedie.x_n_from_x_0(x_t, h, at_t=at_t, at_n=at_n) - x_n)
    if space == "eps":
        scale = torch.where(at_t.sigma == 0, 0.0, step.sigma / at_t.sigma**2)
        return squared_norm(noise - expand(scale, x_t) * (x_t - expand(at_t.alpha, x_t) * h))
    if space == "x_0":
        noise_to_signal = (at_n.sigma / at_n.alpha) ** 2
        pull = torch.where(step.sigma == 0, 0.0, step.ratio * at_n.alpha * noise_to_signal / step.sigma)  # c / q
        error = h - x_n / expand(at_n.alpha, x_n)
        cross = flat(noise * error).sum(1)
        return squared_norm(error) + 2 * pull.to(cross) * cross - noise_to_signal.to(cross) * x_n.shape[1:].numel()
    raise ValueError(f"space must be 'x_n', 'eps' or 'x_0'; got {space!r}")


def antithetic_ambient(
    denoiser: Denoiser, x_n: Tensor, noise: Tensor, *, path: Path, t_n: Times, t: Times, condition: Any = None
) -> Tensor:
    """The ambient loss in x_0 space averaged over +Z and -Z: unbiased for E||h - X_0||^2, with bounded variance as t -> t_n.

    The terms in 1 / q cancel but for (c / q) Z . (h(r X_n + q Z) - h(r X_n - q Z)), which tends to 2 c Z . (dh/dx) Z: at
    t = t_n this is SURE with a Hutchinson probe. One loss from t_n upwards, two evaluations a sample, no Jacobian product.

    Paper: not in it; extends Theorem A.3. Checked by: theory_checks/test_antithetic.py
    Raises: ValueError where t is less noisy than t_n.
    """
    both = ambient(
        denoiser,
        torch.cat([x_n, x_n]),
        torch.cat([noise, -noise]),
        path=path,
        t_n=repeat(_each(t_n, x_n), 2),
        t=repeat(_each(t, x_n), 2),
        space="x_0",
        condition=repeat(condition, 2),
    )
    return both.reshape(2, len(x_n)).mean(0)


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
    """How far h is from a martingale along its own reverse process: ||h(x_t, t) - E[h(X_s, s) | x_t]||^2, unbiased.

    X_s is one `kernel` step from x_t, driven by h. The square of the mean needs independent residuals
    D_i = h(X_s^i, s) - h(x_t, t); the estimate is the mean of D_i . D_j over pairs i != j, which may be negative. k = 2 is the
    paper's pair. `antithetic` makes each D_i the mean over +Z_i and -Z_i, whose noise is of second order in the step.
    Gradients flow through the step as well.

    Paper: Eq. (3.5), two-sample estimator of Sec. 3.2. Checked by: theory_checks/test_estimators.py

    Args: noise: (k, B, ...), k >= 2.
    Raises: ValueError for fewer than two draws, or where s is noisier than t.
    """
    step = kernel(denoiser, x_t, path=path, t=t, s=s, condition=condition)
    return martingale(denoiser, step, noise, s=s, antithetic=antithetic, condition=condition)


def martingale(
    denoiser: Denoiser, step: Step, noise: Tensor, *, s: Times, antithetic: bool = False, condition: Any = None
) -> Tensor:
    """`consistency` over a step that is known: where h(x_t, t) has been evaluated for another loss, it is not evaluated again.

    Paper: two-sample estimator of Sec. 3.2. Checked by: theory_checks/test_estimators.py

    Args: step: of a kernel, from x_t to level s; noise: (k, B, ...), k >= 2.
    Raises: ValueError for fewer than two draws.
    """
    k, x_0_hat = noise.shape[0], step.x_0_hat
    if k < 2 or noise.shape[1:] != x_0_hat.shape:
        raise ValueError(f"noise must be (k, {', '.join(map(str, x_0_hat.shape))}) with k >= 2; got {tuple(noise.shape)}")
    if antithetic:
        noise = torch.cat([noise, -noise])
    draws = len(noise)
    s_each = repeat(_each(s, x_0_hat), draws)
    h_s = denoiser(step.draw(noise).flatten(0, 1), s_each, repeat(condition, draws))
    residuals = (h_s.unflatten(0, noise.shape[:2]) - x_0_hat).reshape(*noise.shape[:2], x_0_hat.shape[1:].numel())  # (k, B, D)
    if antithetic:
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
    """Stein's unbiased risk estimate of E||h(X_n, t_n) - X_0||^2, from noisy data alone.

    ||h - X_n / alpha_n||^2 + 2 (sigma_n^2 / alpha_n) div h - d sigma_n^2 / alpha_n^2
    The divergence is exact without a probe (d Jacobian products); with a probe Z of mean 0 and covariance I it is Z . (dh/dx) Z,
    or Z . (h(X_n + e Z) - h(X_n)) / e for a `difference_step` e.

    Paper: J_SURE of Sec. 2.2 and its two estimators. Checked by: theory_checks/test_sure.py
    Raises: ValueError for a difference_step that is 0 or not finite, where no signal is left (alpha_n = 0), and for a denoiser
    that records no gradient where the divergence needs one.
    """
    if difference_step is not None and not 0 < abs(difference_step) < float("inf"):
        raise ValueError(f"difference_step must be finite and not 0; got {difference_step}")
    alpha, sigma = tweedie.with_signal(path(t_n))

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
        change = h_at(x_n + difference_step * shaped_like(probe, x_n)) - h
        divergence = flat(probe * change).sum(1) / difference_step
    risk = squared_norm(h - x_n / expand(alpha, x_n))
    return risk + (2 * sigma**2 / alpha).to(risk) * divergence - ((sigma / alpha) ** 2).to(risk) * x_n.shape[1:].numel()


def noisier2noise(
    predictor: Denoiser, x_n: Tensor, noise: Tensor, *, path: Path, t_n: Times, t: Times, condition: Any = None
) -> Tensor:
    """||g(X_t, t) - X_n||^2: g learns E[X_n | X_t]; `tweedie.x_0_from_x_n` then gives E[X_0 | X_t], at the one t of training.

    Paper: Noisier2Noise of Sec. 2.2 and Sec. 3.1. Source: Moran et al. 2020. Checked by: theory_checks/test_noisier2noise.py
    Raises: ValueError where t is less noisy than t_n.
    """
    x_t = transition(at_n=path(t_n), at_t=path(t)).apply(x_n, noise)
    return squared_norm(predictor(x_t, t, condition) - x_n)


def min_snr_weight(at_t: Level, *, prediction: str, gamma: float = 5.0) -> Tensor:
    """min-SNR-gamma as a weight on ||prediction error||^2 of a network that predicts `prediction`; shape of the level.

    min(SNR, gamma) (d x_0 / d prediction)^2, SNR = alpha^2 / sigma^2: the same weight on ||h - X_0||^2 for all of them.
    On variance-preserving paths min(SNR, gamma) / SNR for eps and / (SNR + 1) for v.
    Source: Hang et al. 2023, Sec. 3.4. Checked by: theory_checks/test_parametrisations.py
    Raises: ValueError for a prediction other than "eps", "v", "flow", "x_0".
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


def _each(value: Times, x: Tensor) -> Tensor:
    """A time for each sample of `x`, (B,), from one or from as many. Raises: ValueError for another number of them."""
    times = torch.as_tensor(value, dtype=torch.float64)
    expand(times, x)  # refuses other shapes
    return times.expand(len(x))


def repeat(value: Any, times: int) -> Any:
    """`value` for a batch stacked `times` times: tensors are repeated along the batch axis, also inside dicts and lists."""
    if isinstance(value, Tensor):
        return value if value.ndim == 0 else torch.cat([value] * times)
    if isinstance(value, dict):
        return {key: repeat(entry, times) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        entries = [repeat(entry, times) for entry in value]
        return type(value)(*entries) if hasattr(value, "_fields") else type(value)(entries)  # a named tuple takes them one by one
    return value
