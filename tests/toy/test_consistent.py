"""The toy's losses with consistency, against a reference written out sample by sample in float64.

The reference is told what the step drew, and nothing else. Every fault in FAULTS must be refused.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ambient import kernels, losses
from ambient.kernels import matched_trace
from tests.faults import planted
from tests.toy.recording import Recording, points
from toy.methods import ambient_only, consistent, recipes
from toy.methods.consistent import Recipe
from toy.problem import Problem
from toy.training import Counted

MIXED = points([0.5, 0.3, 0.1])
RECIPES = {
    "ours": recipes.OURS,
    "ours, with less weight": recipes.OURS.changed(("weight=0.3",)),
    "paper": recipes.PAPER,
    "paper, half at t_n": Recipe(antithetic=False, kernel="euler-maruyama", share_at_t_n=0.5, level_power=2.0, weight=0.3),
    "by trace": Recipe(kernel="matched-trace", descent_kernel="matched-trace", batch=16),
}


class Bent(nn.Module):
    """h(x, t): neither linear nor symmetric, with a weight that gradients reach."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.7, dtype=torch.float64))

    def forward(self, x: Tensor, t: Any, condition: Any = None) -> Tensor:
        times = torch.as_tensor(t, dtype=torch.float64).expand(len(x))[:, None]
        return self.w * x + (x.roll(1, 1) * self.w + times).sin() / 2


def rows(loss: Tensor) -> Tensor:
    assert loss.shape == (1,)
    return loss[0]


def reference(recipe: Recipe, problem: Problem, h: nn.Module, drawn: Recording) -> tuple[Tensor, Tensor]:
    """(ambient, consistency), each the mean over its samples in units of the prior's variance."""
    path, normals, spread = problem.path, iter(drawn.normals), problem.data_std

    def prior(t: Tensor) -> Tensor:
        alpha, sigma = path(t)
        return (sigma * spread) ** 2 / ((alpha * spread) ** 2 + sigma**2)

    x_n, t_n = drawn.batches[0]
    z, ambient = next(normals), []
    near, u, v = drawn.uniforms[:3]
    for i in range(len(x_n)):
        own = float(path.noise_to_signal(t_n[i])) or 0.1 * spread
        low, high, share = (0.02 * own, 3 * own, u[i]) if near[i] < 0.8 else (3 * own, max(8 * spread, 3 * own), v[i])
        added = low ** (1 - float(share)) * high ** float(share)
        t = path.t_from_noise_to_signal(math.hypot(float(path.noise_to_signal(t_n[i])), added))
        given = {"path": path, "t_n": t_n[i : i + 1], "t": t[None]}
        if recipe.antithetic:
            both = [rows(losses.ambient(h, x_n[i : i + 1], sign * z[i : i + 1], space="x_0", **given)) for sign in (1, -1)]
            ambient.append((both[0] + both[1]) / 2 / prior(t))
        else:
            ambient.append(rows(losses.ambient(h, x_n[i : i + 1], z[i : i + 1], **given)) / prior(t))
    x_n, t_n = drawn.batches[1]
    noisy = t_n > 0
    x_n, t_n = x_n[noisy], t_n[noisy]
    probes = [next(normals) if name.startswith("matched-") else None for name in (recipe.descent_kernel, recipe.kernel)]
    below, pair = next(normals), next(normals)
    crowd, anchor, length = drawn.uniforms[3:6]
    terms = []
    for i in range(len(x_n)):
        depth = math.log(1 / 0.03) * float(crowd[i]) ** recipe.level_power if anchor[i] >= recipe.share_at_t_n else 0.0
        ratio = float(path.noise_to_signal(t_n[i])) * math.exp(-depth)
        step = recipe.steps[0] + (recipe.steps[1] - recipe.steps[0]) * float(length[i])
        t, s = path.t_from_noise_to_signal(ratio), path.t_from_noise_to_signal(ratio * math.exp(-step))
        t = t_n[i] if depth == 0 else t

        def kernel(name: str, probe: Tensor | None, i: int = i) -> Any:
            if probe is None:
                return kernels.KERNELS[name]
            return lambda *a, **k: matched_trace(*a, probe=probe[i : i + 1], **k)

        with torch.no_grad():
            down = kernel(recipe.descent_kernel, probes[0])(h, x_n[i : i + 1], path=path, t=t_n[i : i + 1], s=t[None])
            x_t = down.draw(below[i : i + 1])
        options = {"path": path, "t": t[None], "s": s[None], "kernel": kernel(recipe.kernel, probes[1])}
        loss = losses.consistency(h, x_t, pair[:, i : i + 1], antithetic=recipe.antithetic, **options)
        terms.append(rows(loss) / prior(t))
    return torch.stack(ambient).mean(), torch.stack(terms).mean() if terms else torch.zeros(())


def check(code: ModuleType, name: str, problem: Problem, progress: float = 0.5) -> None:
    """Loss, gradient and evaluations of a step are those of the reference."""
    settings = vars(RECIPES[name])
    recipe, h, other = code.Recipe(**settings), Bent(), Bent()
    drawn, counted = Recording(problem, progress=progress), Counted(h)
    loss = recipe.loss(problem, counted, drawn)
    ambient, consistency = reference(RECIPES[name], problem, other, drawn)
    expected = ambient + settings["weight"] * consistency
    assert float(loss) == pytest.approx(float(expected), rel=1e-10)
    loss.backward()
    expected.backward()
    assert float(h.w.grad) == pytest.approx(float(other.w.grad), rel=1e-9)
    assert consistency != 0
    assert drawn.batches[0][0].shape == (ambient_only.BATCH, problem.dim)
    assert drawn.batches[1][0].shape == (settings["batch"], problem.dim)
    each = 4 if settings["antithetic"] else 2
    noisy, dim = int((drawn.batches[1][1] > 0).sum()), problem.dim
    products = sum(dim if k == "matched" else k == "matched-trace" for k in (settings["kernel"], settings["descent_kernel"]))
    first = (2 if settings["antithetic"] else 1) * ambient_only.BATCH
    assert counted.evaluations == first + noisy * (2 + each + products)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("clean", [False, True])
def test_a_step_is_that_of_the_reference(name, clean):
    check(consistent, name, points([0.5, 0.3, 0.0]) if clean else MIXED)


def test_many_coordinates_are_matched_by_their_trace():
    """Up to eight of them in full: there one Jacobian product a coordinate is counted, then one in all."""
    for dim, products in ((8, 8), (9, 1)):
        problem, counted, recipe = points([0.5], dim=dim), Counted(Bent()), Recipe(batch=4)
        drawn = Recording(problem)
        recipe.consistency_term(problem, counted, drawn)
        assert counted.evaluations == 4 * (2 + 4 + products)
        assert len(drawn.normals) == (2 if dim == 8 else 3)  # and the probe


def test_consistency_begins_when_it_is_told_and_not_without_a_weight():
    for recipe, progress, twice in (
        (Recipe(warmup_share=0.1), 0.0999, False),
        (Recipe(warmup_share=0.1), 0.1, True),
        (Recipe(warmup_share=0.0), 0.0, True),
        (Recipe(weight=0.0), 0.5, False),
    ):
        drawn = Recording(MIXED, progress=progress)
        loss, ambient = recipe.loss(MIXED, Counted(Bent()), drawn), drawn.batches
        assert len(ambient) == 1 + twice
        assert loss.requires_grad


def test_clean_points_alone_leave_the_ambient_loss():
    problem = points([0.0])
    drawn, again = Recording(problem), Recording(problem)
    loss, ambient = (Recipe().loss(problem, Counted(Bent()), drawn), ambient_only.ambient_term(problem, Counted(Bent()), again))
    assert float(loss) == float(ambient)
    loss.backward()


WEIGHED = "(loss / gaussian_mmse(problem.path(t), problem.data_std)).mean()\n\n    @staticmethod"
FAULTS = {
    "all samples have the level of the first": ("path=problem.path, t=t_n, s=t", "path=problem.path, t=t_n[:1], s=t"),
    "all pairs start at the level of the first": (
        "path=problem.path, t=t, s=s,",
        "path=problem.path, t=t[:1].expand(len(t)), s=s[:1].expand(len(t)),",
    ),
    "the pair reuses the noise of the way down": (
        "noise = draw.normal(2, *x_n.shape)",
        "noise = 0 * draw.normal(2, *x_n.shape) + draw.normals[-2]",
    ),
    "gradients flow through the way down": ("with torch.no_grad():", "with torch.enable_grad():"),
    "consistency is weighed by its end": (WEIGHED, WEIGHED.replace("path(t)", "path(s)")),
    "consistency is summed": (WEIGHED, WEIGHED.replace("mean", "sum")),
    "the weight is left out": ("ambient + self.weight *", "ambient +"),
    "clean points are kept": ("x_n[t_n > 0], t_n[t_n > 0]", "x_n[t_n >= 0], t_n[t_n >= 0]"),
    "Jacobian products are free": ("denoiser.evaluations += len(x_n) * dim", "pass"),
    "kernels change places": ("for name in (self.descent_kernel, self.kernel)", "for name in (self.kernel, self.descent_kernel)"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_consistency_are_refused(fault):
    changed = planted(consistent, FAULTS[fault])
    with pytest.raises(AssertionError):
        check(changed, "ours, with less weight", points([0.5, 0.3, 0.0]))


OURS = {
    "antithetic": True,
    "kernel": "matched",
    "descent_kernel": "ddim",
    "weight": 1.0,
    "steps": (0.1, 1.0),
    "level_power": 3.0,
    "share_at_t_n": 0.7,
    "batch": 64,
    "warmup_share": 0.1,
    "optimiser": "soap",
    "learning_rate": 5e-3,
}
PAPERS = {
    "antithetic": False,
    "kernel": "ancestral",
    "descent_kernel": "ancestral",
    "weight": 0.1,
    "steps": (0.02, 0.2),
    "level_power": 1.0,
    "share_at_t_n": 0.0,
    "optimiser": "adam",
    "learning_rate": 2e-3,
}


def test_the_published_tables_were_made_with_these_recipes():
    """A change of any of these values needs new tables in docs/results.md."""
    assert asdict(recipes.OURS) == OURS
    assert asdict(recipes.PAPER) == OURS | PAPERS


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("learning_rate=1", "--recipe learning_rate must be above 0 and below 1; got 1"),
        ("steps=0.1", "--recipe steps takes 2 values; got 1"),
        ("steps=1,0.1", "--recipe steps must rise; got 1.0 0.1"),
    ],
)
def test_values_that_a_recipe_cannot_take_are_refused(word, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        recipes.OURS.changed((word,))
