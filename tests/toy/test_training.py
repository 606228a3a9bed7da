"""The toy's training loop: a step against Adam, clipping and averaging written out; the budget; what a step draws."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ambient.denoisers import Preconditioned
from harness.errors import UserError
from tests.toy.recording import points
from toy import training
from toy.problem import Problem
from toy.training import Counted, Draw, Optimiser, Trainer

PROBLEM = points([0.5])
STEPS = 130  # beyond the warm-up of 100


class Small(nn.Module):
    """F(x, c) = W x + c b, in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([[0.3, -0.2], [0.1, 0.4]], dtype=torch.float64))
        self.b = nn.Parameter(torch.tensor([0.5, -0.5], dtype=torch.float64))

    def forward(self, x: Tensor, c_noise: Tensor, condition: Any = None) -> Tensor:
        return x @ self.w.T + c_noise[:, None] * self.b


def trainer(folder: Path, budget: float, problem: Problem = PROBLEM, **changes: Any) -> Trainer:
    found = Trainer(problem, folder, {"seed": 3}, 3, budget, lambda *_: None, lambda: False, **changes)
    found.network = lambda: Preconditioned(Small(), problem.path, data_std=2.0)  # type: ignore[method-assign]
    return found


def loss_of(denoiser: Any, draw: Draw, size: int = 8) -> Tensor:
    """Something of which gradients are sometimes clipped: above a norm of 10."""
    x, t = draw.batch(size)
    target = draw.normal(*x.shape).double()
    return 5 * (denoiser(x, t) - target).square().mean()


def reference(optimiser: Optimiser, stage: str, *, size: int = 8) -> tuple[list[Tensor], list[Tensor], list[float], list[float]]:
    """Weights, their average, losses and norms of gradients, after STEPS steps of Adam."""
    denoiser = Preconditioned(Small(), PROBLEM.path, data_std=2.0)
    weights = list(denoiser.parameters())
    average = [p.detach().clone() for p in weights]
    first, second = [torch.zeros_like(p) for p in weights], [torch.zeros_like(p) for p in weights]
    losses, norms = [], []
    for step in range(STEPS):
        progress = step / STEPS
        draw = Draw(PROBLEM, training.generator(3, f"train {stage}", step), progress)
        loss = loss_of(denoiser, draw, size)
        gradients = torch.autograd.grad(loss, weights)
        norm = float(torch.stack([g.square().sum() for g in gradients]).sum().sqrt())
        rate = optimiser.learning_rate * min(1, (step + 1) / 100) * (0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2)
        keep = min(optimiser.averaging, (step + 1) / (step + 11))
        for p, g, m, v, mean in zip(weights, gradients, first, second, average, strict=True):
            g = g * min(1.0, 10 / (norm + 1e-6))
            m.mul_(0.9).add_(0.1 * g)
            v.mul_(0.99).add_(0.01 * g**2)
            p.data = p.data - rate * m / (1 - 0.9 ** (step + 1)) / ((v / (1 - 0.99 ** (step + 1))).sqrt() + 1e-8)
            mean.mul_(keep).add_((1 - keep) * p.data)
        losses.append(float(loss))
        norms.append(norm)
    return weights, average, losses, norms


@pytest.mark.parametrize("averaging", [0.999, 0.5])
def test_a_step_is_that_of_the_reference(tmp_path, averaging):
    """The learning rate warms up over 100 steps and falls as a cosine to a hundredth; gradients are clipped to 10."""
    optimiser = Optimiser(name="adam", learning_rate=2e-2, averaging=averaging)
    weights, average, losses, norms = reference(optimiser, "one")
    assert min(norms) < 10 < max(norms)
    found = trainer(tmp_path, 8 * STEPS).train("one", loss_of, optimiser=optimiser)
    for one, other in zip(found.parameters(), average, strict=True):
        torch.testing.assert_close(one.data, other, rtol=1e-9, atol=1e-12)
        assert not one.requires_grad
    assert not found.training
    assert any(not torch.allclose(a, b.data, rtol=1e-3) for a, b in zip(average, weights, strict=True))
    rows = [json.loads(line) for line in (tmp_path / "one/metrics.jsonl").read_text().splitlines()]
    assert [(row["step"], row["evaluations"]) for row in rows] == [(100, 800)]
    assert rows[0]["loss"] == pytest.approx(sum(losses[:100]) / 100, rel=1e-9)


def test_an_optimiser_is_what_its_name_says():
    weights = [nn.Parameter(torch.zeros(3, 3))]
    soap, adam = Optimiser().build(weights), Optimiser(name="adam", learning_rate=0.1).build(weights)
    assert type(soap).__name__ == "SOAP"
    settings = soap.param_groups[0]
    assert (settings["lr"], settings["betas"], settings["weight_decay"]) == (5e-3, (0.95, 0.95), 0.0)
    assert settings["precondition_frequency"] == 10
    assert type(adam) is torch.optim.Adam
    assert (adam.defaults["lr"], adam.defaults["betas"], adam.defaults["weight_decay"]) == (0.1, (0.9, 0.99), 0)
    assert Optimiser().averaging == 0.999


def test_a_stage_spends_its_share_of_the_budget(tmp_path):
    """A step is made as long as the budget is not spent; all stages count, and each draws for itself."""
    drawn: dict[str, list[tuple[float, float]]] = {"one": [], "two": [], "more": []}

    def noted(stage: str, size: int) -> Any:
        def loss(denoiser: Any, draw: Draw) -> Tensor:
            drawn[stage].append((draw.progress, float(draw.normal(1))))
            return loss_of(denoiser, draw, size)

        return loss

    both = trainer(tmp_path, 100)
    both.train("one", noted("one", 8), share=0.5)
    assert both.evaluations == 56  # seven steps of eight: six are 48, below 50
    both.train("two", noted("two", 8), share=0.5)
    assert both.evaluations == 112
    assert [progress for progress, _ in drawn["one"]] == pytest.approx([8 * i / 50 for i in range(7)])
    assert len({normal for stage in ("one", "two") for _, normal in drawn[stage]}) == 14
    trainer(tmp_path / "again", 48).train("one", noted("more", 8))
    assert [normal for _, normal in drawn["more"]] == [normal for _, normal in drawn["one"][:6]]
    other = trainer(tmp_path / "other", 8)
    other.seed = 4
    other.train("one", noted("more", 8))
    assert drawn["more"][-1][1] != drawn["one"][0][1]


def test_batches_are_smaller_where_networks_cost_more():
    for batch_divisor, expected in ((1, 8), (4, 2), (100, 1)):
        draw = Draw(
            points([0.5], batch_divisor=batch_divisor, clean_batch=lambda n, source: torch.zeros(n, 2)), torch.Generator(), 0.0
        )
        assert len(draw.batch(8)[0]) == len(draw.clean_batch(8)) == expected


def test_evaluations_are_counted_by_the_sample():
    counted = Counted(nn.Identity())
    counted.denoiser.forward = lambda x, t, condition=None: x + t  # type: ignore[method-assign]
    assert float(counted(torch.zeros(5, 2), 2.0)[0, 0]) == 2
    counted(torch.zeros(3, 2), 2.0)
    assert counted.evaluations == 8


def test_a_network_is_the_same_for_every_method_of_a_seed(tmp_path):
    """Without a trace in the global generator; of the problem's own kind where it has one, and then about the data's mean."""
    problem = points([0.5], data_mean=torch.ones(2))

    def made(seed: int, given: Problem = problem) -> Preconditioned:
        return Trainer(given, tmp_path, {}, seed, 1, lambda *_: None, lambda: False).network()

    before = torch.random.get_rng_state()
    one, same, other = (made(seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    plain = made(0)
    assert (plain.data_std, plain.path, float(plain.mean)) == (2.0, problem.path, 0.0)
    own = made(0, points([0.5], data_mean=torch.ones(2), network=Small, skip=lambda x, level: 7 * x))
    assert type(own.network) is Small
    assert own.mean.tolist() == [1.0, 1.0]
    assert own.skip is not None
    assert float(own.skip(torch.ones(1), None)) == 7


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_it(tmp_path, wrong):
    with pytest.raises(UserError, match=r"the loss of one is not finite at step 1; see .*one/metrics.jsonl"):
        trainer(tmp_path, 80).train("one", lambda h, draw: loss_of(h, draw) * wrong)


def test_progress_is_reported_with_the_mean_of_the_last_losses(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "REPORT_SECONDS", -1.0)
    told: list[tuple[str, float, float]] = []
    found = trainer(tmp_path, 8 * STEPS)
    found.report = lambda *row: told.append(row)
    optimiser = Optimiser(name="adam", learning_rate=2e-2)
    found.train("one", loss_of, optimiser=optimiser)
    losses = reference(optimiser, "one")[2]
    assert [row[:2] for row in told] == [("one", pytest.approx(i / STEPS)) for i in range(STEPS)]
    for i in (0, 5, 60, 99, 119, 129):
        last = losses[max(0, i - 19) : i + 1]
        assert told[i][2] == pytest.approx(sum(last) / len(last), rel=1e-9)


def test_a_checkpoint_is_written_every_few_seconds(tmp_path, monkeypatch):
    """By a clock that goes on by a second a step: where more than five have passed, and at the end."""
    seconds, saved, save = iter(range(10**6)), [], training.Run.save
    monkeypatch.setattr(training.time, "monotonic", lambda: float(next(seconds)))
    monkeypatch.setattr(training.Run, "save", lambda run, step, state: (saved.append(step), save(run, step, state)))
    trainer(tmp_path, 8 * 20).train("one", loss_of)
    assert saved == [6, 12, 18, 20]
