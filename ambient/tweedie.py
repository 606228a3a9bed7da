"""Tweedie's formula and what follows from it: pure functions of tensors and levels.

Tweedie's formula expresses the score of p_t, the density of X_t, through a posterior mean. It holds for X_t = alpha_t X_0 +
sigma_t Z and, for t noisier than n, for X_t = r X_n + q Z' (see `paths.transition`). The same score is therefore

    grad log p_t(x) = (alpha_t E[X_0 | X_t = x] - x) / sigma_t^2 = (r E[X_n | X_t = x] - x) / q^2.

Solving the second equality for E[X_n | X_t = x], with alpha_t = r alpha_n and sigma_t^2 - q^2 = r^2 sigma_n^2, gives

    E[X_n | X_t = x] = (alpha_n q^2 E[X_0 | X_t = x] + r sigma_n^2 x) / sigma_t^2.

Regression on noisy data can learn the left side, and E[X_0 | X_t], which is wanted, follows. This is the first idea of the paper;
the function is `x_n_from_x_0`. All conversions have names of this form: `score_from_x_0` returns the score, given E[X_0 | X_t].
Their tensors are (B, ...). Levels are () or (B,) and are passed by keyword.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ambient.paths import Level, expand, flat, require_same_shape, transition


def require_signal(level: Level) -> Level:
    """The level itself. Raises: ValueError where no signal is left (alpha = 0), so that X_0 cannot be computed."""
    without = level.alpha == 0
    if torch.any(without):
        found = f"alpha = 0 at {int(without.sum())} of {without.numel()} levels"
        raise ValueError(f"no signal is left ({found}), so X_0 cannot be computed; use a less noisy time")
    return level


def _require_noise(level: Level) -> Level:
    """The level itself. Raises: ValueError where there is no noise (sigma = 0), so that neither score nor noise is defined."""
    without = level.sigma == 0
    if torch.any(without):
        found = f"sigma = 0 at {int(without.sum())} of {without.numel()} levels"
        raise ValueError(f"there is no noise ({found}), so neither the score nor eps follows from X_0; use a time above 0")
    return level


def score_from_x_0(x_t: Tensor, x_0_hat: Tensor, *, at_t: Level) -> Tensor:
    """The score of p_t from the posterior mean: grad log p_t(x) = (alpha_t E[X_0 | X_t = x] - x) / sigma_t^2.

    Raises: ValueError where there is no noise (sigma_t = 0).
    Paper: Eq. (2.1), Lemma 3.2, Lemma A.1. Checked by: theory_checks/test_tweedie.py
    """
    alpha, sigma = _require_noise(at_t).like(x_t)
    return (alpha * x_0_hat - x_t) / sigma**2


def x_0_from_score(x_t: Tensor, score: Tensor, *, at_t: Level) -> Tensor:
    """The posterior mean from the score: E[X_0 | X_t = x] = (x + sigma_t^2 grad log p_t(x)) / alpha_t.

    Raises: ValueError where no signal is left (alpha_t = 0).
    Paper: Eq. (2.1), Lemma 3.2, Lemma A.1. Checked by: theory_checks/test_tweedie.py
    """
    alpha, sigma = require_signal(at_t).like(x_t)
    return (x_t + sigma**2 * score) / alpha


def x_n_from_x_0(x_t: Tensor, x_0_hat: Tensor, *, at_t: Level, at_n: Level) -> Tensor:
    """Double Tweedie: E[X_n | X_t] from E[X_0 | X_t], for t at least as noisy as n.

    E[X_n | X_t = x] = (alpha_n q^2 E[X_0 | X_t = x] + r sigma_n^2 x) / sigma_t^2,  with X_t = r X_n + q Z'.
    With X_0 in place of E[X_0 | X_t = x], the formula gives E[X_n | X_t = x, X_0], the mean of X_n if X_0 is known as well.
    The result is finite on every path. At t = t_n it is x. At a level t without signal (r = 0) it is alpha_n E[X_0].

    Raises: ValueError where t is less noisy than n.
    Paper: identity of Sec. 3.1, Lemma A.2, Lemma A.4. Checked by: theory_checks/test_double_tweedie.py
    """
    from_x_0, from_x_t = _double_tweedie_weights(at_t=at_t, at_n=at_n)
    return expand(from_x_0, x_t) * x_0_hat + expand(from_x_t, x_t) * x_t


def x_0_from_x_n(x_t: Tensor, x_n_hat: Tensor, *, at_t: Level, at_n: Level) -> Tensor:
    """Double Tweedie inverted: E[X_0 | X_t] from E[X_n | X_t], for t strictly noisier than n.

    E[X_0 | X_t = x] = (sigma_t^2 E[X_n | X_t = x] - r sigma_n^2 x) / (alpha_n q^2).
    An error in E[X_n | X_t] is multiplied by sigma_t^2 / (alpha_n q^2), which grows without limit as t approaches t_n.

    Raises: ValueError where t is not strictly noisier than n.
    Paper: Lemma A.2, Lemma A.4, (A.28). Checked by: theory_checks/test_double_tweedie.py
    """
    from_x_0, from_x_t = _double_tweedie_weights(at_t=at_t, at_n=at_n)
    if torch.any(from_x_0 == 0):
        raise ValueError("E[X_0 | X_t] does not follow from E[X_n | X_t] at t = t_n; t must be strictly noisier")
    return (x_n_hat - expand(from_x_t, x_t) * x_t) / expand(from_x_0, x_t)


def _double_tweedie_weights(*, at_t: Level, at_n: Level) -> tuple[Tensor, Tensor]:
    """The weights of x_0 and of x_t in E[X_n | X_t, X_0], (alpha_n q^2, r sigma_n^2) / sigma_t^2; (0, 1) if both are clean."""
    ratio, q = transition(at_n=at_n, at_t=at_t)
    clean = at_t.sigma == 0
    variance = torch.where(clean, 1.0, at_t.sigma**2)
    return at_n.alpha * q**2 / variance, torch.where(clean, 1.0, ratio * at_n.sigma**2 / variance)


def x_0_from_eps(x_t: Tensor, eps: Tensor, *, at_t: Level) -> Tensor:
    """x_0 = (x_t - sigma_t eps) / alpha_t, with eps = E[Z | X_t].

    Raises: ValueError where no signal is left (alpha_t = 0). Checked by: theory_checks/test_parametrisations.py
    """
    alpha, sigma = require_signal(at_t).like(x_t)
    return (x_t - sigma * eps) / alpha


def eps_from_x_0(x_t: Tensor, x_0_hat: Tensor, *, at_t: Level) -> Tensor:
    """eps = (x_t - alpha_t x_0) / sigma_t.

    Raises: ValueError where there is no noise (sigma_t = 0). Checked by: theory_checks/test_parametrisations.py
    """
    alpha, sigma = _require_noise(at_t).like(x_t)
    return (x_t - alpha * x_0_hat) / sigma


def x_0_from_v(x_t: Tensor, v: Tensor, *, at_t: Level) -> Tensor:
    """x_0 = (alpha_t x_t - sigma_t v) / (alpha_t^2 + sigma_t^2), with v = alpha_t eps - sigma_t x_0.

    On variance-preserving paths the denominator is 1. Source: Salimans and Ho 2022.
    Checked by: theory_checks/test_parametrisations.py
    """
    alpha, sigma = at_t.like(x_t)
    return (alpha * x_t - sigma * v) / (alpha**2 + sigma**2)


def v_from_x_0(x_t: Tensor, x_0_hat: Tensor, *, at_t: Level) -> Tensor:
    """v = alpha_t eps - sigma_t x_0.

    Raises: ValueError where there is no noise (sigma_t = 0). Checked by: theory_checks/test_parametrisations.py
    """
    alpha, sigma = at_t.like(x_t)
    return alpha * eps_from_x_0(x_t, x_0_hat, at_t=at_t) - sigma * x_0_hat


def x_0_from_flow(x_t: Tensor, flow: Tensor, *, at_t: Level) -> Tensor:
    """x_0 = (x_t - sigma_t u) / (alpha_t + sigma_t), with u = eps - x_0, the velocity of rectified flow.

    Checked by: theory_checks/test_parametrisations.py
    """
    alpha, sigma = at_t.like(x_t)
    return (x_t - sigma * flow) / (alpha + sigma)


def flow_from_x_0(x_t: Tensor, x_0_hat: Tensor, *, at_t: Level) -> Tensor:
    """u = eps - x_0, the velocity of rectified flow.

    Raises: ValueError where there is no noise (sigma_t = 0). Checked by: theory_checks/test_parametrisations.py
    """
    return eps_from_x_0(x_t, x_0_hat, at_t=at_t) - x_0_hat


def vector_jacobian(
    f: Callable[[Tensor], Tensor], x: Tensor, vector: Tensor, *, create_graph: bool | None = None
) -> tuple[Tensor, Tensor]:
    """(f(x), vector^T df/dx), both (B, ...), by one forward and one backward pass.

    `f` must treat the samples of `x` separately. A part of f that is computed without gradients counts as constant. The result
    is the same under `torch.no_grad` and `torch.inference_mode`.

    Args: create_graph: whether the product is differentiable; by default, whether gradients are being recorded.
    Raises: ValueError if f depends on x but records no gradient in x at all.
    """
    value, (product,) = _vector_jacobian_products(f, x, [require_same_shape(vector, x)], create_graph)
    return value, product


def jacobian(f: Callable[[Tensor], Tensor], x: Tensor, *, create_graph: bool | None = None) -> tuple[Tensor, Tensor]:
    """(f(x), df/dx), (B, ...) and (B, D, D), with the samples flattened to D coordinates.

    It takes D backward passes, so it is meant for small D. Everything else is as for `vector_jacobian`.
    """
    size = x.shape[1:].numel()
    basis = torch.eye(size, dtype=x.dtype, device=x.device).reshape(size, 1, *x.shape[1:])  # (D, 1, ...)
    value, rows = _vector_jacobian_products(f, x, [unit.expand_as(x) for unit in basis], create_graph)
    return value, torch.stack([flat(row) for row in rows], 1)  # D rows (B, D) -> (B, D, D)


def _vector_jacobian_products(
    f: Callable[[Tensor], Tensor], x: Tensor, vectors: list[Tensor], create_graph: bool | None
) -> tuple[Tensor, list[Tensor]]:
    """f(x), and vector^T df/dx for each vector; all (B, ...)."""
    recording = torch.is_grad_enabled()
    create_graph = recording if create_graph is None else create_graph
    with torch.inference_mode(False), torch.enable_grad():
        leaf = x.clone() if x.is_inference() else x  # autograd refuses tensors made in inference mode
        leaf = leaf if leaf.requires_grad else leaf.detach().requires_grad_()
        value = f(leaf)
        products = [_backward(value, leaf, vector, create_graph) for vector in vectors]
        if any(product is None for product in products):
            _require_constant(f, leaf, value)
        products = [torch.zeros_like(leaf) if product is None else product for product in products]
    return (value if recording else value.detach()), products


def _backward(value: Tensor, leaf: Tensor, vector: Tensor, create_graph: bool) -> Tensor | None:
    """vector^T d value / d leaf, or None if no graph connects `value` to `leaf`."""
    if not value.requires_grad:
        return None
    vector = vector.clone() if vector.is_inference() else vector
    return torch.autograd.grad(value, leaf, vector, create_graph=create_graph, retain_graph=True, allow_unused=True)[0]


def _require_constant(f: Callable[[Tensor], Tensor], x: Tensor, value: Tensor) -> None:
    """Evaluate f at other points. Raises: ValueError if f(x) changes: f is not constant, so a missing graph is a mistake."""
    size = x.shape[1:].numel()
    elsewhere = x.detach() + torch.linspace(0.3, 1.7, size, dtype=x.dtype, device=x.device).reshape(x.shape[1:])
    if not torch.equal(f(elsewhere), value):
        raise ValueError(
            "the denoiser records no gradient in x (torch.no_grad, torch.inference_mode or detach inside it), so its Jacobian "
            "is unknown; let it record gradients, or use a kernel or a loss that needs no Jacobian"
        )


def posterior_covariance_from_jacobian(jacobian_x_0: Tensor, *, at_t: Level) -> Tensor:
    """Second-order Tweedie: Cov(X_0 | X_t = x) = (sigma_t^2 / alpha_t) d E[X_0 | X_t = x] / dx.

    Args: jacobian_x_0: d E[X_0 | X_t = x] / dx, (B, D, D). Returns: (B, D, D).
    Raises: ValueError where no signal is left (alpha_t = 0).
    Checked by: theory_checks/test_tweedie.py
    """
    alpha, sigma = require_signal(at_t).like(jacobian_x_0)
    return sigma**2 / alpha * jacobian_x_0
