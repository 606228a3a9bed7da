"""What a step of `sdxl train` computes, against a plain reference, number by number in float64.

The reference takes one image after the other and knows neither micro-batches nor processes: it adds up `ambient.losses`, and
AdamW, clipping, the average of the weights are written out. It shares with the loop only how random numbers are drawn, which
tests/sdxl/test_draws.py checks. Every fault in FAULTS must be refused.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from ambient import kernels, losses
from ambient.randomness import generator
from sdxl.corrupt.noisy_set import NoisySet
from sdxl.model import lora
from sdxl.model.base import Base
from sdxl.model.unet import denoiser
from sdxl.train import loop, objective
from sdxl.train.objective import Objective, order
from sdxl.train.options import TrainOptions
from tests.faults import planted
from tests.sdxl.conftest import write_set
from tests.sdxl.exact import DoubleBase, State, in_double, loops, null_condition, steps_of

LEVELS = [0.0, 30, 300, 500, 500, 800]
COMMON = {
    "batch": 8,
    "steps": 3,
    "learning_rate": 1e-2,
    "weight_decay": 0.1,
    "max_norm": 0.003,
    "ema": 0.7,
    "rank": 2,
    "alpha": 3.0,
}
COMMON |= {"weight": 0.5, "caption_dropout": 0.4, "seed": 5, "largest_step": 60, "dtype": "float32", "checkpointing": False}
PAPERS = {"space": "x_n", "kernel": "euler-maruyama", "fraction": 1.0, "below": 0.0}
CASES = {  # processes, and options
    "one process": (1, {"micro_batch": 4, "min_snr": 5.0, "antithetic": True, "fraction": 0.5}),
    "one process, one micro-batch": (1, {"micro_batch": 8, **PAPERS, "max_norm": 0.0, "weight": 1e-3}),
    "two processes": (2, {"micro_batch": 2, "fraction": 0.4, "min_snr": 1.0, "consistency_from": 1, "steps": 4}),
    "two processes, two steps": (2, {"micro_batch": 2, "fraction": 0.4, "min_snr": 1.0, "steps": 2, "decay": 0.8}),
    "four processes": (4, {"micro_batch": 1, "fraction": 0.25}),
    "more layers, and a rate that falls": (2, {"micro_batch": 4, "fraction": 0.5, "layers": "convolutions", "decay": 0.7}),
    "an antithetic ambient loss": (2, {"micro_batch": 4, "fraction": 0.5, "min_snr": 5.0, "antithetic_ambient": True}),
    "the ambient loss alone, not clipped": (2, {"micro_batch": 4, "weight": 0.0, "max_norm": 10.0}),
}


@pytest.fixture(autouse=True)
def double(monkeypatch):
    in_double(monkeypatch)


@pytest.fixture(scope="module")
def base(tiny_base) -> Base:
    return DoubleBase(tiny_base.folder)


@pytest.fixture(scope="module")
def data(base, tmp_path_factory) -> NoisySet:
    folder: Path = tmp_path_factory.mktemp("set") / "noisy"
    return NoisySet(write_set(folder, base, t_n=LEVELS, size=4, null=null_condition()))


def reference(config: TrainOptions, processes: int, base: Base, data: NoisySet) -> list[State]:
    """The same training, written out."""
    path, unet, found = base.path(), base.unet(), []
    weights = lora.add(unet, rank=config.rank, alpha=config.alpha, seed=config.seed, layers=config.layers)
    h, null = denoiser(unet, path, base.prediction()), data.null()
    first, second, averages = ([torch.zeros_like(p) for p in weights] for _ in range(3))
    averages = [p.detach().clone() for p in weights]

    def condition_of(number: int, rows: dict[str, Tensor]) -> dict[str, Tensor]:
        dropped = float(torch.rand((), generator=generator(config.seed, "captions", number))) < config.caption_dropout
        caption = null if dropped else {name: rows[name] for name in ("prompt_embeds", "pooled")}
        return {"time_ids": rows["time_ids"].double(), **{name: value.double() for name, value in caption.items()}}

    def has_term(number: int) -> bool:
        """Image i of each process's own has one where i f passes a whole number; a process takes blocks of a micro-batch."""
        block, within = divmod(number, config.micro_batch)
        own, f = block // processes * config.micro_batch + within, config.fraction
        late_enough = number >= config.consistency_from * config.batch
        return config.weight > 0 and late_enough and math.floor((own + 1) * f) > math.floor(own * f)

    def weight_at(t: Tensor) -> Tensor:
        snr = path.alphas_cumprod[t.long()] / (1 - path.alphas_cumprod[t.long()])
        return snr.clamp(max=config.min_snr) / snr if config.min_snr else torch.ones_like(snr)

    for step in range(config.steps):
        ambient, consistency = [], []
        for number in range(step * config.batch, (step + 1) * config.batch):
            rows = data.rows(order(len(data), seed=config.seed, numbers=[number]))
            x_n, t_n, condition = rows["x_n"], rows["t_n"], condition_of(number, rows)
            d = Objective.of(config, base.path()).draw(t_n, [has_term(number)], x_n.shape[1:], seed=config.seed, numbers=[number])
            noise, given = d.noise.double(), {"path": path, "condition": condition}
            if config.antithetic_ambient:
                signs = [losses.ambient(h, x_n, z, t_n=t_n, t=d.t, space="x_0", **given) for z in (noise, -noise)]
                loss = (signs[0] + signs[1]) / 2 * path.noise_to_signal(d.t) ** -2
            else:
                loss = losses.ambient(h, x_n, noise, t_n=t_n, t=d.t, space=config.space, **given)
            ambient.append((loss / x_n.numel() * weight_at(d.t)).squeeze())
            if has_term(number):
                variance = path(d.t).sigma ** 2 - (path(d.t).alpha / path(t_n).alpha * path(t_n).sigma) ** 2
                x = path(d.t).alpha / path(t_n).alpha * x_n + variance.clamp(min=0).sqrt() * noise
                with torch.no_grad():
                    x = kernels.ddim(h, x, t=d.t, s=d.start, **given).mean if float(d.start) < float(d.t) else x
                options = given | {"kernel": kernels.KERNELS[config.kernel], "antithetic": config.antithetic}
                loss = losses.consistency(h, x, d.pair.double(), t=d.start, s=d.end, **options) / x_n.numel()
                unit = path.noise_to_signal(d.start) ** -2 * weight_at(d.start) if config.space == "eps" else torch.ones(1)
                consistency.append(loss.squeeze() * unit.squeeze())
        whole = torch.stack(ambient).sum() / config.batch
        if consistency:
            whole = whole + config.weight * torch.stack(consistency).sum() / (config.fraction * config.batch)
        gradients = torch.autograd.grad(whole, weights)
        norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt()
        falling = (config.steps - step) / (config.decay * config.steps) if config.decay else 1.0
        rate = config.learning_rate * min(1.0, falling)
        for p, g, m, v, mean in zip(weights, gradients, first, second, averages, strict=True):
            g = g * (config.max_norm / (norm + 1e-6)).clamp(max=1) if config.max_norm else g
            m.mul_(0.9).add_(0.1 * g)
            v.mul_(0.999).add_(0.001 * g**2)
            change = m / (1 - 0.9 ** (step + 1)) / ((v / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
            p.data = p.data - rate * (config.weight_decay * p.data + change)
            mean.mul_(config.ema).add_((1 - config.ema) * p.data)
        row = {"ambient": float(torch.stack(ambient).mean()), "gradient": float(norm)}
        row |= {"consistency": float(torch.stack(consistency).mean())} if consistency else {}
        found.append(State(row, [p.detach().clone() for p in weights], [mean.clone() for mean in averages]))
    return found


def config_of(case: str) -> tuple[TrainOptions, int]:
    processes, options = CASES[case]
    return TrainOptions(**(COMMON | options)), processes


def compare(found: list[State], expected: list[State]) -> None:
    """Float64 leaves eleven digits."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert {w.dtype for w in one.weights} == {torch.float64}
        assert one.row == pytest.approx(other.row, rel=1e-10)
        for ours, theirs in ((one.weights, other.weights), (one.averages, other.averages)):
            for a, b in zip(ours, theirs, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("case", CASES)
def test_a_step_is_that_of_the_reference(base, data, case):
    config, processes = config_of(case)
    expected = reference(config, processes, base, data)
    norms = [state.row["gradient"] for state in expected]
    assert config.max_norm not in (0.003,) or min(norms) > 2 * config.max_norm  # it is clipped
    compare(steps_of(loops(config, base, data, processes)), expected)


def scaled(base: Base, data: NoisySet, code: ModuleType = loop) -> list[State]:
    """Two processes with a loss scale, as in float16: losses are multiplied by it, and gradients divided again."""
    config, processes = config_of("two processes, two steps")
    members = loops(config, base, data, processes, code=code)
    for member in members:
        member.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    return steps_of(members)


def test_a_loss_scale_changes_not_one_bit(base, data, monkeypatch):
    """It is a power of two. In float32: torch's scaler takes no float64."""
    monkeypatch.undo()
    config, processes = config_of("two processes, two steps")
    plain, members = steps_of(loops(config, base, data, processes)), scaled(base, data)
    assert plain[-1].weights[0].dtype == torch.float32
    assert all(torch.equal(a, b) for a, b in zip(plain[-1].weights, members[-1].weights, strict=True))
    wrong = scaled(
        base, data, planted(loop, ("        self.scaler.unscale_(self.optimiser)\n", ""))
    )  # clipped with the scale in it
    assert not torch.equal(plain[-1].weights[0], wrong[-1].weights[0])


def test_all_processes_have_consistency_in_the_same_micro_batches(base, data):
    """Otherwise they would wait for one another in each of them."""
    config, size = config_of("four processes")
    members = loops(config, base, data, size)
    accumulated = config.batch // (config.micro_batch * size)
    counts = [[len(member.losses(number, micro, accumulated)[1]) for number in range(4) for micro in range(accumulated)]
              for member in members]  # fmt: skip
    assert counts == [counts[0]] * size
    assert counts[0] == [0, 0, 0, 1] * 2


@cache
def expected_of(case: str, base: Base, data: NoisySet) -> list[State]:
    config, processes = config_of(case)
    return reference(config, processes, base, data)


LERP = """        for mean, parameter in zip(self.average, self.parameters, strict=False):
            mean.lerp_(parameter.detach(), 1 - self.config.ema)
"""
NORM = "norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, self.config.max_norm or math.inf))"
BEFORE = "        gradients = [p.grad for p in self.parameters if p.grad is not None]\n"
NULL = "rows[name][i] = value[0].to(rows[name])"
FAULTS = {
    "the loss is not divided by the processes": [("/ (accumulated * group.size)).backward", "/ accumulated).backward")],
    "the loss is not divided by the micro-batches": [("/ (accumulated * group.size)).backward", "/ group.size).backward")],
    "the learning rate never falls": [("learning_rate_at(number)", "learning_rate_at(0)")],
    "the learning rate falls a step early": [("learning_rate_at(number)", "learning_rate_at(number + 1)")],
    "the average is taken before the step": [(LERP, ""), (BEFORE, LERP + BEFORE)],
    "consistency is divided by those that have it": [("(config.fraction * config.micro_batch)", "len(consistency)")],
    "consistency is averaged over the micro-batch": [("(config.fraction * config.micro_batch)", "config.micro_batch")],
    "dropped captions get zeros": [(NULL, "rows[name][i] = 0")],
    "dropped captions keep the pooled embedding": [(NULL, f"{NULL} if name != 'pooled' else rows[name][i]")],
    "the gradient is clipped before the sum": [(NORM, ""), (BEFORE, f"        {NORM}\n{BEFORE}")],
    "consistency is counted by the global number": [("mine = (number * accumulated + micro) * size", "mine = first")],
    "consistency is counted anew each step": [("mine = (number * accumulated + micro) * size", "mine = micro * size")],
    "all processes take the same images": [("(micro * group.size + rank) * size", "(micro * group.size) * size")],
    "losses are told of one process alone": [("group.total(sums)", "sums")],
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_the_loop_are_refused(base, data, fault):
    config, processes = config_of("two processes, two steps")
    members = loops(config, base, data, processes, code=planted(loop, *FAULTS[fault]))
    with pytest.raises(AssertionError):
        compare(steps_of(members), expected_of("two processes, two steps", base, data))


FAULTS_OF_THE_OBJECTIVE = {
    "the ambient loss is told t_n for t": ('"t_n": t_n, "t": t,', '"t_n": t_n, "t": t_n,'),
    "min-SNR is left out of consistency": ("* self._capped(t)\n\n", "\n\n"),
    "min-SNR of consistency is taken at its end": ("self._unit(draws.start)", "self._unit(draws.t)"),
    "the pair starts where the ambient loss is": ("x, path=self.path, t=draws.start, s", "x, path=self.path, t=t, s"),
    "the condition is that of other images": ("value[draws.paired] for", "value[: len(draws.paired)] for"),
    "all images have the least level": ('"t_n": t_n, "t": t,', '"t_n": t_n.min(), "t": t,'),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS_OF_THE_OBJECTIVE)
def test_faults_of_the_objective_are_refused(base, data, fault):
    config, processes = config_of("two processes, two steps")
    members, changed = loops(config, base, data, processes), planted(objective, FAULTS_OF_THE_OBJECTIVE[fault])
    for member in members:
        member.objective = changed.Objective(**vars(member.objective))
    with pytest.raises(AssertionError):
        compare(steps_of(members), expected_of("two processes, two steps", base, data))


@pytest.mark.parametrize(("scale", "overflows", "refused"), [(2.0, True, False), (2.0**-11, True, True), (1e-3, False, False)])
def test_in_float16_training_ends_when_the_loss_scale_has_vanished(base, data, scale, overflows, refused):
    """The scaler halves its scale at each step whose gradient overflows; such a step alone is no failure."""
    config, processes = config_of("two processes, two steps")
    (member, *_) = loops(config, base, data, processes)
    member.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    member.scaler.scale(torch.ones(()))  # the scaler makes its tensor of the scale at the first use
    reasons: list[str] = []
    member.group.end_if = reasons.extend
    member.refuse_failure({"ambient": 1.0, "gradient": math.inf if overflows else 1.0}, 1)
    assert any("not finite" in reason for reason in reasons) == refused
