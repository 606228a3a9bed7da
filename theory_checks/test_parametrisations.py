"""What a network may predict: eps, v, the flow velocity or x_0. Conversions, adapters, and min-SNR weights in matching units."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ambient import losses, tweedie
from ambient.denoisers import NetworkDenoiser
from ambient.paths import Level, Path
from ambient.worlds import GaussianMixture
from theory_checks.quadrature import CLEAN, EPS, conditional_mean, rounding
from theory_checks.scorecard import Statement, worst
from theory_checks.strategies import EXAMPLES, likely_points, mixtures, paths, points, times

CONVERSIONS = Statement("eps, v, flow", "each determines x_0 and follows from it: eps = Z, v = alpha Z - sigma X_0, u = Z - X_0")
ADAPTERS = Statement("network denoisers", "a network that predicts the mean of eps, v, u or X_0 given X_t becomes E[X_0 | X_t]")
MIN_SNR = Statement("min-SNR weights", "the weighted eps, v, flow and x_0 losses are one number, min(SNR, gamma) ||h - X_0||^2")

TRUE = {
    "eps": (tweedie.x_0_from_eps, tweedie.eps_from_x_0),
    "v": (tweedie.x_0_from_v, tweedie.v_from_x_0),
    "flow": (tweedie.x_0_from_flow, tweedie.flow_from_x_0),
}


def targets(x_0: Tensor, z: Tensor, at_t: Level) -> dict[str, Tensor]:
    """The definitions, as combinations of X_0 and Z. They are linear, so they hold for posterior means too."""
    return {"eps": z, "v": at_t.alpha * z - at_t.sigma * x_0, "flow": z - x_0, "x_0": x_0}


def conversions(formulas, at_t: Level, x_0: Tensor, z: Tensor) -> tuple[float, float]:
    """Every conversion against the definitions. Dividing by alpha or sigma amplifies the rounding of x_t; C = 16."""
    x_t = at_t.apply(x_0, z)
    errors = []
    for name, (to_x_0, from_x_0) in formulas.items():
        target = targets(x_0, z, at_t)[name]
        errors += [to_x_0(x_t, target, at_t=at_t) - x_0, from_x_0(x_t, x_0, at_t=at_t) - target]
    size = float((x_0.abs() + z.abs()).max() * (1 + at_t.sigma))
    return max(float(error.abs().max()) for error in errors), 16 * EPS * size * float(1 / at_t.alpha + 1 / at_t.sigma) ** 2


CONVERSION_MUTANTS = {
    "v with the wrong sign": TRUE | {"v": (lambda x, v, *, at_t: tweedie.x_0_from_v(x, -v, at_t=at_t), tweedie.v_from_x_0)},
    "v on VP only": TRUE | {"v": (lambda x, v, *, at_t: at_t.alpha * x - at_t.sigma * v, tweedie.v_from_x_0)},
    "flow with alpha + sigma = 1": TRUE | {"flow": (lambda x, u, *, at_t: x - at_t.sigma * u, tweedie.flow_from_x_0)},
    "sigma^2 for sigma": TRUE | {"eps": (lambda x, e, *, at_t: (x - at_t.sigma**2 * e) / at_t.alpha, tweedie.eps_from_x_0)},
    "alpha missing from eps": TRUE | {"eps": (tweedie.x_0_from_eps, lambda x, h, *, at_t: (x - h) / at_t.sigma)},
    "alpha and sigma exchanged in v": TRUE
    | {"v": (tweedie.x_0_from_v, lambda x, h, *, at_t: tweedie.v_from_x_0(x, h, at_t=Level(at_t.sigma, at_t.alpha)))},
}  # fmt: skip


@given(st.data())
def test_predictions_and_x_0_determine_one_another(data):
    world, path = data.draw(mixtures()), data.draw(paths())
    at_t = path(data.draw(times(path)))
    x_0, noise_like = data.draw(points(world, CLEAN)), data.draw(points(world, CLEAN))
    CONVERSIONS.holds(*conversions(TRUE, at_t, x_0, noise_like))


@pytest.mark.parametrize("name", CONVERSION_MUTANTS)
def test_conversions_reject(name):
    cases = []
    for e in EXAMPLES:
        x_0 = likely_points(e.world, CLEAN)
        cases.append(conversions(CONVERSION_MUTANTS[name], e.path(e.t), x_0, x_0.flip(0).cos()))
    CONVERSIONS.rejects(name, *worst(cases))


def adapter(path: Path, world: GaussianMixture, t: float, x_t: Tensor, label) -> tuple[float, float]:
    """Networks that predict the posterior mean of each target, declared as label(prediction), against conditioned Gaussians.

    The network's output is compared at the times that it is given, which must be float64 and one for each sample.
    """

    def network(prediction: str):
        def predict(x, times, condition):
            assert times.dtype == torch.float64
            assert times.shape == x.shape[:1]
            at_t = path(times).like(x)
            mean = torch.cat([conditional_mean(world, x[i : i + 1], at_n=CLEAN, at_t=path(times[i])) for i in range(len(x))])
            return targets(mean, (x - at_t.alpha * mean) / at_t.sigma, at_t)[prediction]

        return predict

    at_t, errors = path(t), []
    expected = conditional_mean(world, x_t, at_n=CLEAN, at_t=at_t)
    for prediction in ("eps", "v", "flow", "x_0"):
        denoiser = NetworkDenoiser(network(prediction), path, label(prediction))
        errors.append(float((denoiser(x_t, t) - expected).abs().max()))
    size = float(x_t.abs().max() + expected.abs().max() + 1)
    tolerance = size * rounding(world, x_t, at_t) * float(1 / at_t.alpha + 1 / at_t.sigma) ** 2
    return max(errors), tolerance


LABELS = {
    "eps declared v": {"eps": "v"},
    "v declared eps": {"v": "eps"},
    "v declared flow": {"v": "flow"},
    "flow declared v": {"flow": "v"},
    "x_0 declared eps": {"x_0": "eps"},
}


@given(st.data())
def test_networks_become_denoisers(data):
    world, path = data.draw(mixtures()), data.draw(paths())
    t = data.draw(times(path))
    ADAPTERS.holds(*adapter(path, world, t, data.draw(points(world, path(t), count=2)), lambda prediction: prediction))


@pytest.mark.parametrize("name", LABELS)
def test_networks_reject(name):
    def label(prediction):
        return LABELS[name].get(prediction, prediction)

    ADAPTERS.rejects(name, *worst(adapter(e.path, e.world, e.t, likely_points(e.world, e.path(e.t)), label) for e in EXAMPLES))


def weighted(weight, path: Path, t: float, gamma: float, x_0: Tensor, z: Tensor) -> tuple[float, float]:
    """Relative differences of the weighted losses of h = x_0 + .7, from min(SNR, gamma) ||h - x_0||^2.

    Each error is a difference of numbers of size |x_0| + |z| divided by alpha or sigma, and is squared; C = 64.
    """
    at_t = path(t)
    h = x_0 + 0.7
    true, guessed = targets(x_0, z, at_t), targets(h, (at_t.apply(x_0, z) - at_t.alpha * h) / at_t.sigma, at_t)
    expected = min(float(at_t.alpha / at_t.sigma) ** 2, gamma) * losses.squared_norm(h - x_0)
    errors = []
    for prediction in ("x_0", "eps", "v", "flow"):
        found = weight(at_t, prediction=prediction, gamma=gamma) * losses.squared_norm(guessed[prediction] - true[prediction])
        errors.append(float((found / expected - 1).abs().max()))
    size = float((x_0.abs() + z.abs()).max()) + 1
    return max(errors), 64 * EPS * size * float(1 / at_t.alpha + 1 / at_t.sigma) ** 2


WEIGHT_MUTANTS = {
    "x_0 weight for every prediction": lambda at_t, *, prediction, gamma: losses.min_snr_weight(
        at_t, prediction="x_0", gamma=gamma
    ),
    "eps weight for v": lambda at_t, *, prediction, gamma: losses.min_snr_weight(
        at_t, prediction="eps" if prediction == "v" else prediction, gamma=gamma
    ),
    "never clipped": lambda at_t, *, prediction, gamma: losses.min_snr_weight(at_t, prediction=prediction, gamma=1e9),
    "square root of the SNR": lambda at_t, *, prediction, gamma: losses.min_snr_weight(
        Level(at_t.alpha.sqrt(), at_t.sigma.sqrt()), prediction=prediction, gamma=gamma
    ),
}


@given(st.data())
def test_min_snr_weights_speak_of_one_loss(data):
    world, path = data.draw(mixtures()), data.draw(paths())
    x_0, z = data.draw(points(world, CLEAN)), data.draw(points(world, CLEAN))
    MIN_SNR.holds(*weighted(losses.min_snr_weight, path, data.draw(times(path)), data.draw(st.floats(0.5, 20.0)), x_0, z))


@pytest.mark.parametrize("name", WEIGHT_MUTANTS)
def test_min_snr_weights_reject(name):
    cases = []
    for e in EXAMPLES:
        x_0 = likely_points(e.world, CLEAN)
        cases.append(weighted(WEIGHT_MUTANTS[name], e.path, e.t_n, 5.0, x_0, x_0.flip(0).cos()))
    MIN_SNR.rejects(name, *worst(cases))
