"""Counted costs: the real SDXL's known figures, the count against torch's own counter and allocator, the plan."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from ambient.denoisers import NetworkDenoiser
from harness import records
from sdxl.corrupt.noisy_set import NoisySet
from sdxl.model.base import Base
from sdxl.train import cost
from sdxl.train.imagined import Imagined, micro_batch
from sdxl.train.objective import Objective
from sdxl.train.options import TrainOptions
from tests.sdxl.conftest import write_set

ROOT = Path(__file__).parents[2]
SMALL: dict[str, Any] = {  # of the tiny one, to count in half a second
    "block_out_channels": (16, 32),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 1),
    "attention_head_dim": (2, 2),
    "layers_per_block": 1,
}


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    """benchmarks/sdxl_cost.py, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("sdxl_cost", ROOT / "benchmarks/sdxl_cost.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def real(benchmark) -> Imagined:
    """The UNet of the real SDXL, on the meta device."""
    return Imagined(benchmark.REAL, rank=4)


@pytest.fixture
def settings(tiny_base) -> dict[str, Any]:
    return records.plain(tiny_base.settings("unet")) | SMALL


@pytest.fixture
def objective(tiny_base) -> Objective:
    """Pairs that start at or above t_n."""
    return Objective(tiny_base.path(), below=0.0)


def counted(model: Imagined, objective: Objective, *, batch: int = 1, pairs: int = 0, size: int = 8) -> cost.Count:
    return cost.count(model, objective, micro_batch(model, objective, batch=batch, pairs=pairs, size=size))


def test_the_real_one_has_its_known_size(real):
    assert real.sizes() == (2_567_463_684, 5_806_080)
    assert {p.device.type for p in real.parameters()} == {"meta"}


def test_the_real_one_costs_what_was_counted_before(real, objective):
    found = counted(real, objective, size=128)
    assert found.forward / 1e12 == pytest.approx(6.77, abs=0.006)
    assert found.flops / 1e12 == pytest.approx(14.10, abs=0.006)


@pytest.mark.slow  # seconds each, on an idle machine
def test_the_real_one_recomputes_its_forward_pass_with_checkpointing(objective, benchmark):
    work = counted(Imagined(benchmark.REAL, checkpointing=True), objective, size=128)
    assert work.flops / 1e12 == pytest.approx(19.21, abs=0.006)


@pytest.mark.slow
def test_bars_of_a_consistency_step_at_real_size(real, objective):
    plain = counted(real, objective, size=128).flops
    assert counted(real, objective, pairs=1, size=128).flops / plain == pytest.approx(3.0, abs=0.05)
    assert counted(real, objective, batch=4, pairs=1, size=128).flops / (4 * plain) < 1.6


@pytest.mark.parametrize(("checkpointing", "pairs"), [(False, 1), (True, 0)])
def test_flops_are_those_of_torchs_counter(settings, objective, checkpointing, pairs):
    model = Imagined(settings, dtype=torch.float32, checkpointing=checkpointing)
    work = micro_batch(model, objective, batch=2, pairs=pairs, size=16)
    with FlopCounterMode(display=False) as counter:
        work(NetworkDenoiser(model, objective.path, "eps")).backward()
    assert cost.count(model, objective, work).flops == counter.get_total_flops()


@pytest.mark.parametrize(
    ("options", "pairs", "evaluations"),
    [
        ({}, 0, 4),
        ({}, 1, 6),
        ({"antithetic": True}, 4, 20),
        ({"antithetic": True}, 1, 8),
        ({"antithetic_ambient": True}, 1, 10),
        ({"below": 1.0}, 4, 16),
    ],
)
def test_no_evaluation_is_made_twice(settings, objective, options, pairs, evaluations):
    objective, model = replace(objective, **options), Imagined(settings)
    found = counted(model, objective, batch=4, pairs=pairs)
    assert (found.with_gradient, found.without_gradient) == (evaluations, 0)
    assert 4 * cost.evaluations(objective, pairs / 4) == evaluations


def test_evaluations_without_gradient_are_counted_apart(settings, objective):
    model = Imagined(settings)
    condition, x = model.condition(3), torch.zeros(3, 4, 8, 8)

    def work(denoiser):
        with torch.no_grad():
            denoiser(x[:2], 5, {name: value[:2] for name, value in condition.items()})
        return denoiser(x, 5, condition).sum()

    found = cost.count(model, objective, work)
    assert (found.with_gradient, found.without_gradient) == (3, 2)
    assert found.forward > 0
    assert found.flops > found.forward


def allocated(work) -> int:
    """The most bytes that torch's CPU allocator had given out at once."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        work()
    found: Any = profiled.profiler
    events = [(e.start_ns(), e.nbytes()) for e in found.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for _, size in sorted(events, key=lambda event: event[0]):
        now += size
        most = max(most, now)
    return most


@pytest.mark.parametrize("checkpointing", [False, True])
def test_imagined_bytes_are_real_bytes(settings, objective, checkpointing):
    """On the meta device, on the CPU, and by the CPU's allocator, which also sees what a kernel needs inside (2 %)."""
    settings, found = settings, {}
    for device in ("meta", "cpu"):
        model = Imagined(settings, dtype=torch.float32, checkpointing=checkpointing, device=device)
        work = micro_batch(model, objective, batch=2, pairs=2, size=32)
        found[device] = cost.count(model, objective, work).bytes
    denoiser = NetworkDenoiser(model, objective.path, "eps")
    assert abs(found["meta"] - found["cpu"]) <= 8 * 4  # t is copied to the meta device, and not to the CPU
    assert found["meta"] == pytest.approx(allocated(lambda: work(denoiser).backward()), rel=0.02)


def test_types_are_those_of_autocast(settings, objective, monkeypatch):
    """With the CPU's rules, by which norms stay in bfloat16, as much as autocast itself, but for a kernel's statistics (1 %)."""
    real = Imagined(settings, device="cpu")
    work = micro_batch(real, objective, batch=2, pairs=0, size=32)
    denoiser = NetworkDenoiser(real, objective.path, "eps")
    for p in real.trained:
        p.grad = torch.zeros_like(p)
    with cost._Meter([t for p in real.parameters() for t in (p, p.grad) if t is not None]) as meter:
        with torch.autocast("cpu", torch.bfloat16):
            loss = work(denoiser)
        loss.backward()
    in_full = counted(Imagined(settings), objective, batch=2, size=32).bytes
    monkeypatch.setattr(cost, "IN_FULL", ())
    assert counted(Imagined(settings), objective, batch=2, size=32).bytes == pytest.approx(meter.peak, rel=0.01)
    assert in_full > 1.2 * meter.peak  # CUDA's rules cost more


def test_functions_are_themselves_again(settings, objective):
    before = dict(vars(torch.nn.functional))
    counted(Imagined(settings), objective)
    assert dict(vars(torch.nn.functional)) == before


def test_checkpointing_saves_memory_and_consistency_costs_some(settings, objective):
    plain, pair = (counted(Imagined(settings), objective, pairs=n, size=32).bytes for n in (0, 1))
    less = counted(Imagined(settings, checkpointing=True), objective, size=32).bytes
    assert less < plain / 2
    assert 2.5 * plain < pair < 3.5 * plain


def test_the_parts_of_memory(settings, objective):
    model = Imagined(settings, dtype=torch.bfloat16)
    frozen, trained = model.sizes()
    work = counted(model, objective)
    *parts, total = cost.memory(model, work, average=True).values()
    assert parts[:4] == [2 * frozen, 16 * trained, 4 * trained, work.bytes]
    assert total == sum(parts) > sum(parts[:4])
    assert cost.memory(model, work)["average of the LoRA"] == 0


@pytest.mark.parametrize(("weight", "pairs", "evaluations"), [(0.0, 0, "1"), (0.01, 1, "1.62")])
def test_the_plan_says_what_training_costs(tmp_path, monkeypatch, tiny_base, settings, weight, pairs, evaluations):
    monkeypatch.setattr(Base, "settings", lambda *_: settings)
    data = NoisySet(write_set(tmp_path / "noisy", tiny_base))
    config = TrainOptions(data=str(data.directory), weight=weight, below=0.5, micro_batch=4, checkpointing=weight == 0)
    lines = cost.plan(config, tiny_base, data)
    assert f"UNet evaluations an image: {evaluations}" in lines
    assert f"most expensive micro-batch: 4 images, {pairs} of them with consistency" in "\n".join(lines)
    assert f"(bfloat16, {'no ' if weight else ''}checkpointing)" in "\n".join(lines)
    assert "not measured" in lines[-1]
    assert not any("average" in line for line in lines)


def test_official_forms_evaluate_once_more(settings, objective, benchmark):
    model = Imagined(settings)
    plain = counted(model, objective)
    for gradient, backward in ((False, 3), (True, 4)):
        evaluations, flops = benchmark.official(model, objective, 8, gradient=gradient)
        assert evaluations == 4
        assert flops == pytest.approx(
            4 * plain.forward + backward * (plain.flops - plain.forward), rel=0.07
        )  # X_s needs a gradient


def test_what_is_measured_on_a_gpu_runs(settings, objective, benchmark):
    model = Imagined(settings, device="cpu")
    before = [p.clone() for p in model.trained]
    work = micro_batch(model, objective, batch=1, pairs=1, size=8)
    assert benchmark.measure(model, objective, work, repeats=1) > 0
    assert any(not torch.equal(p, old) for p, old in zip(model.trained, before, strict=True))


def test_days_follow_from_flops(benchmark):
    rows = [{"TFLOP": 10.0}, {"TFLOP": 30.0}, {}, {"TFLOP": 15.0}]
    one, eight, _ = benchmark.speed(rows, 1e14)
    assert one["images/s, plain"] == pytest.approx(10)
    assert one["days, plain"] == pytest.approx(3.2e6 / 10 / 86_400)
    assert one["days, every image"] == pytest.approx((2.4e6 / 10 + 0.8e6 / (10 / 3)) / 86_400)
    assert eight["days, every fourth"] == pytest.approx(one["days, every fourth"] / 8)
