"""The ambient loss in 2-D, with a data level and a level t for each sample; and where t = t_n or t_n = 0."""

from __future__ import annotations

import pytest
import torch

from ambient import losses, tweedie
from ambient.paths import Path, RectifiedFlow, VarianceExploding, VariancePreserving, transition
from ambient.randomness import generator
from theory_checks.population import perturbed
from theory_checks.scorecard import Statement
from theory_checks.statistics_kit import deviation
from theory_checks.strategies import TILTED

SAMPLED = Statement("3.1 in 2-D, sampled", "the same excess with a data level and a level t for each sample, some of them clean")
SAMPLES = 2**17
PATHS = [VarianceExploding(), VariancePreserving(), RectifiedFlow()]


def mixed_batch(path: Path, stream: str) -> dict:
    """Data with a level for each sample, a quarter of it clean, and the noise that was added."""
    g = generator(0, stream)
    shape = (SAMPLES, 2)
    ratio = 0.2 + 0.5 * torch.rand(SAMPLES, generator=g, dtype=torch.float64)
    ratio[::4] = 0.0
    t = path.t_from_log_snr(-2 * (1.5 * ratio + 0.4 + torch.rand(SAMPLES, generator=g, dtype=torch.float64)).log())
    t_n = torch.where(ratio == 0, 0.0, path.t_from_log_snr(-2 * ratio.clamp_min(0.1).log()))
    first, second = (torch.randn(shape, generator=g, dtype=torch.float64) for _ in range(2))
    x_n = path(t_n).apply(TILTED.sample(SAMPLES, g), first)
    return {"x_n": x_n, "noise": second, "first": first, "t_n": t_n, "t": t}


def sampled(change, path: Path, space: str) -> tuple[float, float]:
    """Mean over the batch of (loss(h* + g) - loss(h*)) / weight - ||g(X_t)||^2, which is 0; an error of 15 % would be seen."""
    batch = mixed_batch(path, f"sampled {space}")
    exact, at_n, at_t = TILTED.denoiser(path), path(batch["t_n"]), path(batch["t"])
    q = transition(at_n=at_n, at_t=at_t).q
    weights = {"x_n": (at_n.alpha * q**2 / at_t.sigma**2) ** 2, "eps": (at_t.alpha * q / at_t.sigma**2) ** 2}
    size = []

    def g(x):
        size.append(losses.squared_norm(0.3 + 0.5 * x + 0.3 * x.flip(1).sin()))
        return 0.3 + 0.5 * x + 0.3 * x.flip(1).sin()

    used = change(batch)
    pair = [
        losses.ambient(h, used["x_n"], used["noise"], path=path, t_n=used["t_n"], t=batch["t"], space=space)
        for h in (exact, perturbed(exact, g))
    ]
    excesses = (pair[1] - pair[0]) / weights.get(space, torch.tensor(1.0)) - size[0]
    return deviation(excesses, 0.0, 0.15 * float(size[0].mean()))


SAMPLED_MUTANTS = {
    "one noise used twice": lambda batch: batch | {"noise": batch["first"]},
    "the mean level for all samples": lambda batch: batch | {"t_n": batch["t_n"].mean().expand(SAMPLES)},
    "noisy samples called clean": lambda batch: batch | {"t_n": 0 * batch["t_n"]},
    "a fixed noise for all samples": lambda batch: batch | {"noise": batch["noise"][:1].expand(SAMPLES, 2)},
}


@pytest.mark.parametrize("space", ["x_n", "eps", "x_0"])
def test_mixed_data_levels(space):
    for path in PATHS:
        SAMPLED.holds(*sampled(lambda batch: batch, path, space))


@pytest.mark.parametrize("name", SAMPLED_MUTANTS)
def test_mixed_levels_reject(name):
    SAMPLED.rejects(name, *sampled(SAMPLED_MUTANTS[name], VariancePreserving(), "x_n"))


@pytest.mark.parametrize("path", PATHS, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("space", ["x_n", "eps", "x_0"])
def test_finite_at_t_equal_t_n(space, path):
    """Value and gradient are finite at t = t_n, also for clean data; the loss is 0 in x_n space and ||Z||^2 in eps space."""
    t_n = torch.tensor([0.0, 0.3, 0.7], dtype=torch.float64)
    x_n, noise = torch.randn(2, 3, 2, generator=generator(0, "limit"), dtype=torch.float64)
    slope = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    value = losses.ambient(lambda x, t, c: slope * x, x_n, noise, path=path, t_n=t_n, t=t_n, space=space)
    value.sum().backward()
    assert bool(value.isfinite().all())
    assert bool(slope.grad.isfinite())
    if space == "x_n":
        assert float(value.detach()[1:].max()) == 0.0
    if space == "eps":
        assert torch.equal(value.detach(), losses.squared_norm(noise))


@pytest.mark.parametrize("path", PATHS, ids=lambda p: type(p).__name__)
def test_clean_data_is_denoising(path):
    """With t_n = 0 the loss is J_DSM in x_n and x_0 space, and the noise-prediction loss in eps space.

    Residuals are below 10; predicting eps divides by sigma_t >= .01, so squared residuals are rounded by some eps 10^2 / .01.
    """
    x_0, noise = torch.randn(2, 64, 2, generator=generator(0, "clean"), dtype=torch.float64)
    t = torch.linspace(0.01, 0.9, 64, dtype=torch.float64)

    def h(x, t, c=None):
        return x.sin()

    for space in ("x_n", "x_0"):
        value = losses.ambient(h, x_0, noise, path=path, t_n=0.0, t=t, space=space)
        torch.testing.assert_close(value, losses.denoising(h, x_0, noise, path=path, t=t), rtol=1e-13, atol=1e-13)
    x_t = path(t).apply(x_0, noise)
    predicted = tweedie.eps_from_x_0(x_t, h(x_t, t), at_t=path(t))
    value = losses.ambient(h, x_0, noise, path=path, t_n=0.0, t=t, space="eps")
    torch.testing.assert_close(value, losses.squared_norm(noise - predicted), rtol=1e-11, atol=1e-11)
