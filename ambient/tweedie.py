"""Tweedie's formula and what follows from it: pure functions of tensors and levels.

Tweedie turns the score of the noisy density into the posterior mean. Applied to the pairs (X_t, X_0) and (X_t, X_n) it
expresses the same score twice; eliminating the score ties E[X_n | X_t], which noisy data can teach, to E[X_0 | X_t], which
is what we want. That elimination, `x_n_from_x_0`, is the first idea of the paper.

Shapes: x_t and estimates (B, ...); levels () or (B,). Functions read `a_from_b`. Levels are keyword-only.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ambient.paths import Level, expand, flat, shaped_like, transition


def with_signal(level: Level) -> Level:
    """The level itself. Raises: ValueError where no signal is left, so that nothing follows about X_0."""
    if torch.any(level.alpha == 0):
        raise ValueError("no signal is left at this level (alpha = 0), so X_0 does not follow from what is given; use less noise")
    return level


def _noisy(level: Level) -> Level:
    """The level itself. Raises: ValueError where there is no noise, so that nothing follows about it from X_0."""
    if torch.any(level.sigma == 0):
        raise ValueError("there is no noise at this level (sigma = 0), so neither score nor noise follows from X_0")
    return level


def score_from_x_0(x_t: Tensor, x_0_hat: Tensor, *, at_t: Level) -> Tensor:
    """The score of p_t from the posterior mean.

    grad log p_t(x) = (alpha_t E[X_0 | X_t = x] - x) / sigma_t^2
    Paper: Eq. (2.1), Lemma 3.2, Lemma A.1. Checked by: theory_checks/test_tweedie.py
    Raises: ValueError where there is no noise (sigma_t = 0).
    """
    alpha, sigma = _noisy(at_t).like(x_t)
    return (alpha * x_0_hat - x_t) / sigma**2


def x_0_from_score(x_t: Tensor, score: Tensor, *, at_t: Level) -> Tensor:
    """The posterior mean from the score, E[X_0 | X_t = x] = (x + sigma_t^2 grad log p_t(x)) / alpha_t.

    Paper: Eq. (2.1), Lemma 3.2, Lemma A.1. Checked by: theory_checks/test_tweedie.py
    Raises: ValueError where no signal is left (alpha_t = 0).
    """
    alpha, sigma = with_signal(at_t).like(x_t)
    return (x_t + sigma**2 * score) / alpha


def x_n_from_x_0(x_t: Tensor, x_0_hat: Tensor, *, at_t: Level, at_n: Level) -> Tensor:
    """Double Tweedie: E[X_n | X_t] from E[X_0 | X_t], for t at least as noisy as n.

    E[X_n | X_t = x] = (alpha_n q^2 E[X_0 | X_t = x] + r sigma_n^2 x) / sigma_t^2,
    with X_t = r X_n + q Z. It is also the mean of X_n given X_t and X_0, which is linear in X_0.
    Finite for every path, at t = t_n (gives x) and where no signal is left at t (r = 0).

    Paper: identity of Sec. 3.1, Lemma A.2, Lemma A.4. Checked by: theory_checks/test_double_tweedie.py
    Raises: ValueError where t is less noisy than n.
    """
    from_x_0, from_x_t = _double_tweedie_weights(at_t=at_t, at_n=at_n)
    return expand(from_x_0, x_t) * x_0_hat + expand(from_x_t, x_t) * x_t


def x_0_from_x_n(x_t: Tensor, x_n_hat: Tensor, *, at_t: Level, at_n: Level) -> Tensor:
    """Double Tweedie inverted: E[X_0 | X_t] from E[X_n | X_t], for t strictly noisier than n.

    E[X_0 | X_t = x] = (sigma_t^2 E[X_n | X_t = x] - r sigma_n^2 x) / (alpha_n q^2); condition number sigma_t^2 / q^2.

    Paper: Lemma A.2, Lemma A.4, (A.28). Checked by: theory_checks/test_double_tweedie.py
    Raises: ValueError where t is not strictly noisier than n.
    """
    from_x_0, from_x_t = _double_tweedie_weights(at_t=at_t, at_n=at_n)
    if torch.any(from_x_0 == 0):
        raise ValueError("E[X_0 | X_t] does not follow from E[X_n | X_t] at t = t_n; t must be strictly noisier")
    return (x_n_hat - expand(from_x_t, x_t) * x_t) / expand(from_x_0, x_t)


def _double_tweedie_weights(*, at_t: Level, at_n: Level) -> tuple[Tensor, Tensor]:
    """The weights of x_0 and of x_t in E[X_n | X_t, X_0]: (alpha_n q^2, r sigma_n^2) / sigma_t^2; at two clean levels 0, 1."""
    ratio, q = transition(at_n=at_n, at_t=at_t)
    clean = at_t.sigma == 0
    variance = torch.where(clean, 1.0, at_t.sigma**2)
    return at_n.alpha * q**2 / variance, torch.where(clean, 1.0, ratio * at_n.sigma**2 / variance)


def x_0_from_eps(x_t: Tensor, eps: Tensor, *, at_t: Level) -> Tensor:
    """x_0 = (x_t - sigma_t eps) / alpha_t, with eps = E[Z | X_t]. Checked by: theory_checks/test_parametrisations.py

    Raises: ValueError where no signal is left (alpha_t = 0).
    """
    alpha, sigma = with_signal(at_t).like(x_t)
    return (x_t - sigma * eps) / alpha


def eps_from_x_0(x_t: Tensor, x_0_hat: Tensor, *, at_t: Level) -> Tensor:
    """eps = (x_t - alpha_t x_0) / sigma_t. Checked by: theory_checks/test_parametrisations.py

    Raises: ValueError where there is no noise (sigma_t = 0), as do `v_from_x_0` and `flow_from_x_0`.
    """
    alpha, sigma = _noisy(at_t).like(x_t)
    return (x_t - alpha * x_0_hat) / sigma


def x_0_from_v(x_t: Tensor, v: Tensor, *, at_t: Level) -> Tensor:
    """x_0 = (alpha_t x_t - sigma_t v) / (alpha_t^2 + sigma_t^2), with v = alpha_t eps - sigma_t x_0.

    On variance-preserving paths the denominator is 1, as in Salimans and Ho 2022.
    Checked by: theory_checks/test_parametrisations.py
    """
    alpha, sigma = at_t.like(x_t)
    return (alpha * x_t - sigma * v) / (alpha**2 + sigma**2)


def v_from_x_0(x_t: Tensor, x_0_hat: Tensor, *, at_t: Level) -> Tensor:
    """v = alpha_t eps - sigma_t x_0. Checked by: theory_checks/test_parametrisations.py"""
    alpha, sigma = at_t.like(x_t)
    return alpha * eps_from_x_0(x_t, x_0_hat, at_t=at_t) - sigma * x_0_hat


def x_0_from_flow(x_t: Tensor, flow: Tensor, *, at_t: Level) -> Tensor:
    """x_0 = (x_t - sigma_t u) / (alpha_t + sigma_t), with u = eps - x_0, the velocity of rectified flow.

    Checked by: theory_checks/test_parametrisations.py
    """
    alpha, sigma = at_t.like(x_t)
    return (x_t - sigma * flow) / (alpha + sigma)


def flow_from_x_0(x_t: Tensor, x_0_hat: Tensor, *, at_t: Level) -> Tensor:
    """u = eps - x_0. Checked by: theory_checks/test_parametrisations.py"""
    return eps_from_x_0(x_t, x_0_hat, at_t=at_t) - x_0_hat


def vector_jacobian(
    f: Callable[[Tensor], Tensor], x: Tensor, vector: Tensor, *, create_graph: bool | None = None
) -> tuple[Tensor, Tensor]:
    """(f(x), vector^T df/dx), both (B, ...), in one pass each way. `f` treats the samples of `x` separately.

    The product is differentiable if `create_graph`, by default wherever gradients are being recorded. Both answers are right
    under `torch.no_grad` and `torch.inference_mode` too. What `f` computes without gradients counts as constant.
    Raises: ValueError for an f that depends on x and records no gradient at all.
    """
    value, (product,) = _products(f, x, [shaped_like(vector, x)], create_graph)
    return value, product


def jacobian(f: Callable[[Tensor], Tensor], x: Tensor, *, create_graph: bool | None = None) -> tuple[Tensor, Tensor]:
    """(f(x), df/dx (B, D, D)) with the samples flattened to D; D passes back, so for small D. The rest as `vector_jacobian`."""
    size = x.shape[1:].numel()
    basis = torch.eye(size, dtype=x.dtype, device=x.device).reshape(size, 1, *x.shape[1:])
    value, rows = _products(f, x, [unit.expand_as(x) for unit in basis], create_graph)
    return value, torch.stack([flat(row) for row in rows], 1)


def _products(
    f: Callable[[Tensor], Tensor], x: Tensor, vectors: list[Tensor], create_graph: bool | None
) -> tuple[Tensor, list[Tensor]]:
    """f(x), and vector^T df/dx for each of the vectors."""
    recording = torch.is_grad_enabled()
    create_graph = recording if create_graph is None else create_graph
    with torch.inference_mode(False), torch.enable_grad():
        leaf = x.clone() if x.is_inference() else x  # inference mode marks its tensors, and autograd takes none of them
        leaf = leaf if leaf.requires_grad else leaf.detach().requires_grad_()
        value = f(leaf)
        products = [_pull_back(value, leaf, vector, create_graph) for vector in vectors]
        if any(product is None for product in products):
            _refuse_a_cut_graph(f, leaf, value)
        products = [torch.zeros_like(leaf) if product is None else product for product in products]
    return (value if recording else value.detach()), products


def _pull_back(value: Tensor, leaf: Tensor, vector: Tensor, create_graph: bool) -> Tensor | None:
    """vector^T d value / d leaf, None where no graph leads from one to the other."""
    if not value.requires_grad:
        return None
    vector = vector.clone() if vector.is_inference() else vector
    return torch.autograd.grad(value, leaf, vector, create_graph=create_graph, retain_graph=True, allow_unused=True)[0]


def _refuse_a_cut_graph(f: Callable[[Tensor], Tensor], x: Tensor, value: Tensor) -> None:
    """Without a graph the derivative is 0 if f is constant; it is looked at elsewhere to see whether it is.

    Raises: ValueError if it is not.
    """
    size = x.shape[1:].numel()
    elsewhere = x.detach() + torch.linspace(0.3, 1.7, size, dtype=x.dtype, device=x.device).reshape(x.shape[1:])
    if not torch.equal(f(elsewhere), value):
        raise ValueError(
            "the denoiser records no gradient in x (torch.no_grad, torch.inference_mode or detach inside it), so its Jacobian "
            "is unknown; let it record gradients, or take a step or a loss that needs no Jacobian"
        )


def posterior_covariance_from_jacobian(jacobian_x_0: Tensor, *, at_t: Level) -> Tensor:
    """Second-order Tweedie: Cov(X_0 | X_t = x) = (sigma_t^2 / alpha_t) d E[X_0 | X_t = x] / dx.

    Args: jacobian_x_0: (B, D, D). Returns: (B, D, D). Checked by: theory_checks/test_tweedie.py
    Raises: ValueError where no signal is left (alpha_t = 0).
    """
    alpha, sigma = with_signal(at_t).like(jacobian_x_0)
    return sigma**2 / alpha * jacobian_x_0
