"""Identities and Jacobians as functions: types, levels by keyword, what is recorded, what is refused."""

from __future__ import annotations

import importlib
import inspect

import pytest
import torch

from ambient import tweedie
from ambient.paths import RectifiedFlow, VarianceExploding, VariancePreserving
from tests.ambient.doubles import PATHS, normal

VE = VarianceExploding()
ONE_LEVEL = ["score_from_x_0", "x_0_from_score", "x_0_from_eps", "eps_from_x_0", "x_0_from_v", "v_from_x_0", "x_0_from_flow",
             "flow_from_x_0"]  # fmt: skip
TWO_LEVELS = ["x_n_from_x_0", "x_0_from_x_n"]


def convert(name, x, y, t):
    levels = {"at_t": VE(t)} if name in ONE_LEVEL else {"at_t": VE(t), "at_n": VE(0.25)}
    return getattr(tweedie, name)(x, y, **levels)


@pytest.mark.parametrize("name", ONE_LEVEL + TWO_LEVELS)
@pytest.mark.parametrize("shape", [(1, 3), (4, 2, 3, 3)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_shapes_types_and_layout(name, shape, dtype):
    x, y = normal(*shape, dtype=dtype), normal(*shape, step=1, dtype=dtype)
    found = convert(name, x, y, 0.5)
    assert (found.shape, found.dtype) == (shape, dtype)
    assert torch.equal(found, convert(name, x, y, torch.full(shape[:1], 0.5)))
    strange = x.movedim(0, -1).contiguous().movedim(-1, 0)
    assert torch.equal(found, convert(name, strange, y, 0.5))


@pytest.mark.parametrize("name", TWO_LEVELS)
def test_less_noise_is_refused(name):
    with pytest.raises(ValueError, match="t is less noisy than t_n"):
        convert(name, normal(2, 3), normal(2, 3), torch.tensor([0.5, 0.2]))


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_nothing_is_learned_of_x_0_at_the_level_of_the_data(path):
    x, at = normal(2, 3), path(1 if path.t_max > 1 else 0.5)
    assert torch.allclose(tweedie.x_n_from_x_0(x, normal(2, 3), at_t=at, at_n=at), x, rtol=1e-15)
    with pytest.raises(ValueError, match="t must be strictly noisier"):
        tweedie.x_0_from_x_n(x, x, at_t=at, at_n=at)


@pytest.mark.parametrize("path", [VE, VariancePreserving(), RectifiedFlow()])
def test_clean_data_is_its_own_mean(path):
    x = normal(2, 3)
    assert torch.equal(tweedie.x_n_from_x_0(x, normal(2, 3, step=1), at_t=path(0.0), at_n=path(0.0)), x)


def test_levels_are_keywords():
    """t and n, or t and s, cannot be exchanged by position."""
    levels = {"at_t", "at_n", "at_s", "t_n", "t", "s"}
    found = 0
    for module in ("tweedie", "losses", "kernels", "paths"):
        for name, function in inspect.getmembers(importlib.import_module(f"ambient.{module}"), inspect.isfunction):
            if function.__module__ != f"ambient.{module}" or name == "min_snr_weight":
                continue
            for parameter in inspect.signature(function).parameters.values():
                if parameter.name in levels:
                    assert parameter.kind == inspect.Parameter.KEYWORD_ONLY, f"{name}({parameter.name})"
                    found += 1
    assert found > 30


def cubic(x):
    return x**3 * x.flip(-1)


def test_a_jacobian_is_that_of_each_sample():
    """Of x_i^3 x_(D-1-i), for flattened pictures; a product is the row vector's."""
    x, vector = normal(4, 2, 2), normal(4, 2, 2, step=1)
    value, found = tweedie.jacobian(cubic, x)
    assert torch.equal(value.detach(), cubic(x))
    for i in range(4):
        alone = torch.autograd.functional.jacobian(cubic, x[i : i + 1]).reshape(4, 4)
        assert torch.allclose(found[i].detach(), alone, rtol=1e-14)
    value, product = tweedie.vector_jacobian(cubic, x, vector)
    assert torch.equal(value.detach(), cubic(x))
    assert torch.allclose(product.flatten(1).detach(), torch.einsum("bi,bij->bj", vector.flatten(1), found.detach()), rtol=1e-13)


def both(f, x, **options):
    yield tweedie.jacobian(f, x, **options)
    yield tweedie.vector_jacobian(f, x, torch.ones_like(x), **options)


def test_a_jacobian_is_recorded_where_gradients_are_and_where_asked():
    w = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    x = normal(4, 3)
    for value, product in both(lambda y: w * y**2, x):
        assert value.requires_grad
        (gradient,) = torch.autograd.grad(product.sum(), w)  # d/dw sum 2 w x
        assert float(gradient) == pytest.approx(float(2 * x.sum()), rel=1e-12)
    for value, product in both(lambda y: w * y**2, x, create_graph=False):
        assert (value.requires_grad, product.requires_grad) == (True, False)
    with torch.no_grad():
        for value, product in both(lambda y: w * y**2, x):
            assert (value.requires_grad, product.requires_grad) == (False, False)
    assert x.requires_grad is False


def test_the_graph_of_the_point_goes_on():
    """Where x itself was computed from a parameter, the value's gradient reaches it."""
    w = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    for value, _ in both(lambda y: y**2, w * normal(4, 3)):
        (gradient,) = torch.autograd.grad(value.sum(), w, retain_graph=True)
        assert float(gradient) == pytest.approx(float(4 * normal(4, 3).square().sum()), rel=1e-12)


def test_what_does_not_depend_on_the_point_has_none():
    for value, product in both(lambda y: torch.ones(4, 3, dtype=torch.float64), normal(4, 3)):
        assert torch.equal(value, torch.ones(4, 3, dtype=torch.float64))
        assert float(product.abs().max()) == 0
    w = torch.ones((), dtype=torch.float64, requires_grad=True)
    for _, product in both(lambda y: w * torch.ones(4, 3, dtype=torch.float64), normal(4, 3)):
        assert float(product.detach().abs().max()) == 0
