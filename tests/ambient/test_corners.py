"""Every public function of the mathematics where code breaks: no samples, samples that are numbers, half precision, inference
mode, autocast, levels without noise or signal, times rounded to float32, gradients in time.

The right answer, or a ValueError of one line.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from ambient import losses, samplers, tweedie
from ambient.denoisers import GradientField, NetworkDenoiser, Preconditioned, gaussian_mmse, scalar_skip
from ambient.kernels import KERNELS, Step, matched_trace
from ambient.noisy_mixture import fit
from ambient.paths import (
    Level,
    RectifiedFlow,
    VarianceExploding,
    VariancePreserving,
    expand,
    flat,
    require_same_shape,
    transition,
)
from ambient.randomness import generator
from ambient.subspace import SubspaceMixture
from ambient.worlds import Empirical, GaussianMixture
from tests.ambient.doubles import LOSSES, PATHS, normal

VE, VP, FLOW = VarianceExploding(), VariancePreserving(), RectifiedFlow()
Call = Callable[[Tensor, Tensor], Any]  # of samples and of noise shaped like them


def wave(x_t: Tensor, t: Any, condition: Any = None) -> Tensor:
    """A denoiser whose Jacobian is neither 0 nor constant."""
    return (0.7 * x_t).tanh() + 0.1 * x_t**2


def potential(x: Tensor, c_noise: Tensor, condition: Any = None) -> Tensor:
    return flat(x).cos().sum(1)


AT_T, AT_N = VP(0.5), VP(0.3)
ONE_LEVEL = ["score_from_x_0", "x_0_from_score", "x_0_from_eps", "eps_from_x_0", "x_0_from_v", "v_from_x_0", "x_0_from_flow",
             "flow_from_x_0"]  # fmt: skip
TWO_LEVELS = [name for name in LOSSES if "ambient" in name or "consistency" in name or name == "Noisier2Noise"]
SMOOTH = {**KERNELS, "matched-trace, probe": lambda h, x, **options: matched_trace(h, x, probe=torch.ones_like(x), **options)}
CALLS: dict[str, Call] = {
    **{f"loss {name}": partial(lambda f, x, z: f(wave, x, z, path=VP, t_n=0.3, t=0.5), f) for name, f in LOSSES.items()},
    **{
        f"kernel {name}": partial(lambda f, x, z: f(wave, x, path=VP, t=0.5, s=0.3).draw(z), f) for name, f in SMOOTH.items()
    },
    **{
        f"tweedie.{name}": partial(lambda f, x, z: f(x, z, at_t=AT_T), getattr(tweedie, name))
        for name in ONE_LEVEL
    },
    **{
        f"tweedie.{name}": partial(lambda f, x, z: f(x, z, at_t=AT_T, at_n=AT_N), getattr(tweedie, name))
        for name in ("x_n_from_x_0", "x_0_from_x_n")
    },
    "tweedie.jacobian": lambda x, z: tweedie.jacobian(lambda y: wave(y, 0), x)[1],
    "tweedie.vector_jacobian": lambda x, z: tweedie.vector_jacobian(lambda y: wave(y, 0), x, z)[1],
    "tweedie.posterior_covariance_from_jacobian": lambda x, z: tweedie.posterior_covariance_from_jacobian(
        torch.ones(len(x), 2, 2), at_t=AT_T
    ),
    "losses.squared_norm": lambda x, z: losses.squared_norm(x),
    "losses.repeat": lambda x, z: losses.repeat({"x": x}, 2)["x"],
    "Level.apply": lambda x, z: AT_T.apply(x, z),
    "Transition.apply": lambda x, z: transition(at_n=AT_N, at_t=AT_T).apply(x, z),
    "paths.expand": lambda x, z: expand(torch.ones(len(x)), x),
    "paths.flat": lambda x, z: flat(x),
    "paths.require_same_shape": lambda x, z: require_same_shape(z, x),
    "NetworkDenoiser": lambda x, z: NetworkDenoiser(wave, VP, "eps")(x, 0.5),
    "Preconditioned": lambda x, z: Preconditioned(wave, VP, data_std=0.7)(x, 0.5),
    "GradientField": lambda x, z: GradientField(potential)(x, torch.zeros(len(x))),
    "scalar_skip": lambda x, z: scalar_skip(0.7)(x, AT_T),
    "samplers.sample": lambda x, z: samplers.sample(
        wave, x, [0.5, 0.3, 0.0], path=VP, kernel=KERNELS["matched"], noise=lambda i: z
    ),
}  # fmt: skip
EVERY_CALL = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)

MIXTURE = GaussianMixture(torch.tensor([0.25, 0.75]), normal(2, 3).float(), 0.3 * torch.eye(3).expand(2, 3, 3))
BASIS = torch.linalg.qr(normal(5, 5).float()).Q
WORLDS = {
    "mixture": MIXTURE,
    "subspace": SubspaceMixture(MIXTURE, BASIS, torch.tensor([0.2, 0.1]), normal(5, step=1).float()),
    "data set": Empirical(normal(9, 3).float()),
}
QUESTIONS = ("log_prob", "denoise", "score")
ASKED = [pytest.param(world, name, id=f"{key}.{name}") for key, world in WORLDS.items() for name in QUESTIONS]
ASKED += [pytest.param(MIXTURE, name, id=f"mixture.{name}") for name in ("posterior_covariance", "log_components")]


def dimension(world: Any) -> int:
    return world.sample(1, generator(0, "shape")).shape[1]


def test_nothing_public_is_left_out():
    """Functions that take samples, by the names of their arguments."""
    samples = {"x", "x_t", "x_0", "x_n", "noise"}
    known = {*LOSSES, *CALLS, "sure", "consistency", "martingale", "ambient", "antithetic_ambient", "noisier2noise"}
    known |= {f.__name__ for f in KERNELS.values()} | {"reverse_process", "sample_x_0"}
    missing = []
    for module in ("tweedie", "losses", "kernels", "paths", "samplers", "denoisers"):
        for name, thing in vars(importlib.import_module(f"ambient.{module}")).items():
            own = inspect.isfunction(thing) and thing.__module__ == f"ambient.{module}" and not name.startswith("_")
            if own and samples & set(inspect.signature(thing).parameters) and not {name, f"{module}.{name}"} & known:
                missing.append(name)
    assert missing == []


# No samples, and samples that are numbers


@EVERY_CALL
@pytest.mark.parametrize("shape", [(0, 3), (0, 2, 3, 3), (0,)], ids=str)
def test_no_samples_have_no_answers(call, shape):
    found = call(normal(*shape), normal(*shape))
    assert found.shape[0] == 0


@pytest.mark.parametrize(("world", "name"), ASKED)
def test_no_points_have_no_answers(world, name):
    assert len(getattr(world, name)(torch.zeros(0, dimension(world)), VE(0.5))) == 0


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_no_points_can_be_drawn(world):
    assert world.sample(0, generator(0, "none")).shape == (0, dimension(world))


@EVERY_CALL
def test_samples_that_are_numbers_are_samples_of_one_coordinate(call):
    x, z = normal(5), normal(5, step=1)
    numbers, column = call(x, z), call(x[:, None], z[:, None])
    assert torch.equal(numbers.reshape(-1), column.reshape(-1))


# Precision


@EVERY_CALL
def test_half_precision(call):
    """Within some roundings of bfloat16 of the answer in float64; estimates from a step over q and from differences lose more."""
    x, z = normal(5, 3), normal(5, 3, step=1)
    exact, found = call(x, z), call(x.bfloat16(), z.bfloat16())
    assert found.dtype in (torch.bfloat16, torch.float32)
    assert float((found.double() - exact).detach().abs().max()) < 0.06 * (1 + float(exact.detach().abs().max()))


def under_autocast(call: Callable[[], Any]) -> Any:
    with torch.autocast("cpu", torch.bfloat16):
        return call()


@pytest.mark.parametrize(("world", "name"), ASKED)
def test_worlds_are_left_alone_by_autocast(world, name):
    x, ask = normal(6, dimension(world)).float(), getattr(world, name)
    assert torch.equal(under_autocast(lambda: ask(x, VE(0.05))), ask(x, VE(0.05)))


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_draws_are_left_alone_by_autocast(world):
    assert torch.equal(under_autocast(lambda: world.sample(6, generator(0, "x"))), world.sample(6, generator(0, "x")))


def test_what_is_made_under_autocast_is_what_is_made_without():
    x, labels = normal(40, 3).float(), torch.arange(40) % 2
    options: Any = {"warm_up": (1, 20), "sweeps": 1, "leading_count": 2}
    worlds = [under_autocast(lambda: fit(x, VE(0.5), labels, **options)), fit(x, VE(0.5), labels, **options)]
    assert torch.equal(worlds[0].mixture.covariances, worlds[1].mixture.covariances)
    parts = MIXTURE.weights, MIXTURE.means, MIXTURE.axes, MIXTURE.variances
    ours, plain = under_autocast(lambda: GaussianMixture.from_axes(*parts)), GaussianMixture.from_axes(*parts)
    assert torch.equal(ours.covariances, plain.covariances)
    assert all(torch.equal(a, b) for a, b in zip(under_autocast(MIXTURE.moments), MIXTURE.moments(), strict=True))
    under_autocast(lambda: SubspaceMixture(MIXTURE, BASIS, torch.tensor([0.2, 0.1]), torch.zeros(5)))


def test_a_matrix_step_draws_without_autocast():
    step = Step(torch.zeros(4, 3), torch.zeros(4, 3), normal(4, 3, 3).float(), is_matrix=True)
    noise = normal(2, 4, 3).float()
    assert torch.equal(under_autocast(lambda: step.draw(noise)), step.draw(noise))


# Gradients that nobody records


@EVERY_CALL
def test_inference_mode_changes_nothing(call):
    """Inputs made inside it, too."""
    x, z = normal(5, 3), normal(5, 3, step=1)
    with torch.inference_mode():
        found = call(x.clone(), z.clone())
    assert torch.equal(found, call(x, z).detach())


NEED_A_JACOBIAN = ["loss SURE", "loss SURE, probe", "kernel matched", "kernel matched-trace", "kernel matched-trace, probe"]


@pytest.mark.parametrize("name", NEED_A_JACOBIAN)
@pytest.mark.parametrize("cut", ["no_grad", "inference_mode", "detach", "detach, with weights that record"])
def test_a_denoiser_that_records_nothing_is_refused(name, cut, monkeypatch):
    """Its Jacobian would be 0: SURE without its divergence, a matched step without its covariance."""
    weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def denoiser(x_t: Tensor, t: Any, condition: Any = None) -> Tensor:
        if "detach" in cut:
            return (weight if "weights" in cut else 0.7) * x_t.detach()
        with getattr(torch, cut)():
            return 0.7 * x_t

    monkeypatch.setitem(globals(), "wave", denoiser)
    for x in (normal(5, 3), normal(5, 3).requires_grad_()):
        with pytest.raises(ValueError, match=r"the denoiser records no gradient in x .*, so its Jacobian is unknown"):
            CALLS[name](x, normal(5, 3, step=1))


@pytest.mark.parametrize("name", NEED_A_JACOBIAN)
@pytest.mark.parametrize("records", [False, True])
def test_a_constant_has_no_slope(name, records, monkeypatch):
    """SURE of a constant c has no divergence; a matched step from it is the ancestral one."""
    constant = torch.full((3,), 0.3, dtype=torch.float64, requires_grad=records)
    monkeypatch.setitem(globals(), "wave", lambda x_t, t, condition=None: constant.expand_as(x_t))
    x, z = normal(5, 3), normal(5, 3, step=1)
    if "SURE" in name:
        ratio = float(AT_N.sigma / AT_N.alpha)
        expected = losses.squared_norm(0.3 - x / AT_N.alpha) - 3 * ratio**2
    else:
        expected = CALLS["kernel ancestral"](x, z)
    assert torch.allclose(CALLS[name](x, z), expected, rtol=1e-12)


# Levels


def finite_or_refused(call: Callable[[], Tensor]) -> str | None:
    """What a refusal says, in one line; None where the answer is finite."""
    try:
        found = call()
    except ValueError as error:
        said = str(error)
    else:
        assert bool(found.isfinite().all())
        return None
    assert "\n" not in said
    return said


NOTHING, EVERYTHING = Level(*torch.tensor([0.0, 1.0], dtype=torch.float64)), Level(*torch.tensor([1.0, 0.0], dtype=torch.float64))


@pytest.mark.parametrize(
    "name", [name for name in CALLS if name.startswith("tweedie.") and "jac" not in name and "x_n" not in name]
)
@pytest.mark.parametrize("at", [NOTHING, EVERYTHING], ids=["no signal", "no noise"])
def test_conversions_at_the_ends_are_finite_or_refused(name, at):
    convert = getattr(tweedie, name.removeprefix("tweedie."))
    said = finite_or_refused(lambda: convert(normal(5, 3), normal(5, 3, step=1), at_t=at))
    assert said is None or ("no signal" if at is NOTHING else "no noise") in said


ENDS = [(FLOW, 1.0, 1.0), (FLOW, 0.0, 1.0), (VE, 0.0, 0.5), (VP, 0.0, 0.0), (FLOW, 0.5, 1.0)]


@pytest.mark.parametrize("name", [*LOSSES, *SMOOTH])
@pytest.mark.parametrize(("path", "t_n", "t"), ENDS)
def test_losses_and_steps_at_the_ends_are_finite_or_refused(name, path, t_n, t):
    x, z = normal(5, 3), normal(5, 3, step=1)
    if name in LOSSES:
        said = finite_or_refused(lambda: LOSSES[name](wave, x, z, path=path, t_n=t_n, t=t))
    else:
        said = finite_or_refused(lambda: SMOOTH[name](wave, x, path=path, t=t, s=t_n).draw(z))
    assert said is None or (t == 1 and "signal" in said)


@pytest.mark.parametrize(("world", "name"), ASKED)
def test_worlds_without_noise_answer_or_refuse(world, name):
    """There is no score of p_0 from its posterior mean, which is the point itself."""
    x = normal(6, dimension(world)).float()
    if name == "score":
        with pytest.raises(ValueError, match=r"there is no noise \(sigma = 0 at .* levels\)"):
            world.score(x, VE(0.0))
    else:
        assert bool(getattr(world, name)(x, VE(0.0)).isfinite().all())


@pytest.mark.parametrize(
    "name", ["ambient, x_n", "ambient, eps", "ambient, x_0", "antithetic ambient", "consistency", "Noisier2Noise"]
)
@pytest.mark.parametrize("t_n", [0.35, 0.1, 0.7, 1 / 3, 0.9])
@pytest.mark.parametrize("path", [VE, VP, FLOW], ids=["VE", "VP", "flow"])
def test_a_time_rounded_to_float32_is_the_time(name, t_n, path):
    """Of x by 1e-7, and of the variances by as much; on VP and at the end of the flow by some tens of that."""
    x, z = normal(5, 3), normal(5, 3, step=1)
    below = torch.full((5,), t_n).nextafter(torch.zeros(5))
    exact, found = (LOSSES[name](wave, x, z, path=path, t_n=t_n, t=t) for t in (t_n, below))
    assert torch.allclose(found, exact, rtol=1e-4, atol=1e-2)
    with pytest.raises(ValueError, match="t is less noisy than t_n"):
        LOSSES[name](wave, x, z, path=path, t_n=t_n, t=0.999 * t_n)


@pytest.mark.parametrize(
    "name", ["ambient, x_n", "ambient, eps", "ambient, x_0", "antithetic ambient", "consistency", "Noisier2Noise"]
)
@pytest.mark.parametrize("path", [VE, VP, FLOW], ids=["VE", "VP", "flow"])
def test_gradients_in_time_are_finite_above_t_n_and_refused_at_it(name, path):
    t = torch.full((5,), 0.5, dtype=torch.float64, requires_grad=True)
    x, z = normal(5, 3), normal(5, 3, step=1)
    LOSSES[name](wave, x, z, path=path, t_n=0.3, t=t).sum().backward()
    assert bool(t.grad.isfinite().all())
    with pytest.raises(ValueError, match="the gradient in t is infinite at t = t_n"):
        LOSSES[name](wave, x, z, path=path, t_n=0.5, t=t)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_no_times_have_no_levels(path):
    level = path(torch.zeros(0))
    assert level.alpha.shape == level.sigma.shape == gaussian_mmse(level, 0.7).shape == (0,)
