"""What `attack noise` computes: the noisy latent, the mean of what may be behind it, and samples; number by number in float64.

Where the answer is known the samples have the mean and the variance that they should, within the limits of
theory_checks/statistics_kit.py. Every fault in FAULTS must be refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from ambient.randomness import generator
from sdxl.attack import noise as levels
from sdxl.attack import restore
from sdxl.attack.options import NoiseAttackOptions
from sdxl.images import crop
from sdxl.images.survey import decode
from sdxl.model import sampling
from sdxl.model import text as encode
from sdxl.model.base import Base
from sdxl.model.vae import latent as latent_of
from sdxl.parallel import Group
from tests.faults import planted
from tests.noise import check_independent
from tests.sdxl.exact import DoubleBase, in_double
from tests.sdxl.test_corrupt import pixels
from tests.sdxl.written_out import doubled, draws, predictor, sampled
from theory_checks.statistics_kit import mean_is

SEED, LEVELS = 3, (400, 900)
GRID = [667.0, 334.0, 1.0, 0.0]  # of three steps
CASES = {
    "no caption": {"samples": 2},
    "captions": {"samples": 1, "captions": True, "kernel": "euler-maruyama"},
    "one step alone": {"samples": 0, "captions": True},
    "ddim": {"kernel": "ddim"},
}
Latents = dict[str, Tensor]


@pytest.fixture
def double(monkeypatch):
    """Float64, and latents in place of pictures."""
    in_double(monkeypatch)
    monkeypatch.setattr(restore, "sampling", doubled(planted(sampling)))


@pytest.fixture(scope="module")
def base(tiny_base) -> Base:
    return DoubleBase(tiny_base.folder)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("photos")
    rows = [{"file_name": f"{i}.png", "text": f"caption {i}"} for i in range(2)]
    for i, row in enumerate(rows):
        pixels(i, 80, 64).save(folder / row["file_name"])
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def plan_of(case: str, base: Base, photos: Path, out: Path) -> levels.NoiseAttackPlan:
    options: dict[str, Any] = {
        "base": str(base.folder),
        "data": str(photos),
        "out": str(out),
        "t": LEVELS,
        "steps": 3,
        "seed": SEED,
    }
    plan = levels.NoiseAttackPlan(NoiseAttackOptions(**(options | {"seed": SEED} | CASES[case])), Group())
    plan.base = base
    plan.prepare()
    for file in plan.files(0):
        file.parent.mkdir(parents=True, exist_ok=True)
    return plan


def attacked(plan: levels.NoiseAttackPlan, patch: pytest.MonkeyPatch, code: ModuleType = levels) -> Latents:
    """The latents of all results by the names of their files, and the noisy ones."""
    found: Latents = {}

    def kept(vae: Any, latent: Tensor, name: str) -> Image.Image:
        found[name] = latent
        return Image.new("RGB", (64, 64))

    patch.setattr(code, "picture", kept)
    restorer = code.NoiseAttacker(plan)
    for i in range(2):
        restorer(i)
    return found


def reference(case: str, plan: levels.NoiseAttackPlan) -> Latents:
    """The same, one result after the other."""
    text, vae, unet = encode.TextEncoder(plan.base, torch.device("cpu")), plan.base.vae(), plan.base.unet()
    table, options, found = plan.path.alphas_cumprod, CASES[case], {}
    for i in range(2):
        square, time_ids = crop.fit(decode(plan.pictures[i].read()), 64, "center", 0, "")
        x_0 = latent_of(vae, square[None])[0]
        words = text(f"caption {i}") if options.get("captions") else {k: 0 * v for k, v in text("").items()}
        eps = predictor(unet, words | {"time_ids": time_ids[None]}, {}, 1.0)
        for t in LEVELS:

            def z(stream: str, key: str = f"{i}.png", t: int = t) -> Any:
                return draws(f"{stream} at {t}/{key}", seed=SEED, shape=(4, 8, 8))

            x_t = table[t].sqrt() * x_0 + (1 - table[t]).sqrt() * z("attack")(0)
            h = (x_t - (1 - table[t]).sqrt() * eps(x_t, t)) / table[t].sqrt()
            found[f"t{t}_one_step_{i:06d}.png"] = h
            times, kernel = [float(t), *(s for s in GRID if s < t)], options.get("kernel", "ancestral")
            for j in range(options.get("samples", 1)):
                found[f"t{t}_sample_{j}_{i:06d}.png"] = sampled(eps, x_t, times, table, kernel, z(f"sample {j}"), plan.path)
    return found


@pytest.fixture(scope="module")
def expected(base, photos, tmp_path_factory) -> Callable[[str], Latents]:
    """The reference of a case, made once."""
    return cache(lambda case: reference(case, plan_of(case, base, photos, tmp_path_factory.mktemp("expected"))))


def compare(found: Latents, expected: Latents) -> None:
    assert found.keys() == expected.keys()
    for name, one in found.items():
        assert one.dtype == torch.float64
        torch.testing.assert_close(one, expected[name], rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("case", CASES)
def test_results_are_those_of_the_reference(base, photos, expected, tmp_path, monkeypatch, case):
    compare(attacked(plan_of(case, base, photos, tmp_path), monkeypatch), expected(case))


FAULTS = {
    "samples begin at other noise": (restore, "denoiser, x_t, grid", "denoiser, noise(0).to(x_t), grid"),
    "samples draw the noise of the attack": (restore, 'f"sample {j} at {t:g}/{key}"', 'f"attack at {t:g}/{key}"'),
    "all samples draw the same": (restore, 'f"sample {j} at', 'f"sample 0 at'),
    "all levels draw the same": (restore, 'f"attack at {t:g}/{key}"', 'f"attack/{key}"'),
    "one step is made from the image": (restore, "denoiser(x_t, t, condition)", "denoiser(x_0, t, condition)"),
    "one step knows no caption": (
        restore,
        "denoiser(x_t, t, condition)",
        "denoiser(x_t, t, {k: 0 * v for k, v in (condition or {}).items()})",
    ),
    "samples begin at another level": (restore, "sampling.stretch(times, start=t)", "[t, *sampling.stretch(times, start=t)]"),
    "the seed is left out": (restore, "shape, seed=seed)(0)", "shape, seed=0)(0)"),
    "results change places": (
        levels,
        "[restored.one_step[0], *restored.samples[:, 0]]",
        "[*restored.samples[:, 0], restored.one_step[0]]",
    ),
    "levels change places": (levels, "x_0, restored, t, image)])", "x_0, restored, config.t[0], image)])"),
}


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_the_attack_are_refused(base, photos, expected, tmp_path, monkeypatch, fault):
    module, *change = FAULTS[fault]
    changed, case = planted(module, tuple(change)), "captions" if "caption" in fault else "no caption"
    if module is restore:
        changed.sampling = restore.sampling
        monkeypatch.setattr(levels, "attack", changed.attack)
        changed = levels
    else:
        changed.attack = levels.attack
    plan = plan_of(case, base, photos, tmp_path)
    with pytest.raises(AssertionError):
        compare(attacked(plan, monkeypatch, changed), expected(case))


SIZE = (4, 128, 128)  # 65,536 numbers
TIMES = [*map(float, range(997, 0, -8)), 0.0]


@pytest.mark.parametrize("t", [200, 700])
def test_samples_are_those_of_the_posterior_where_it_is_known(base, t):
    """X_0 ~ N(0, I): then h = alpha x_t, samples have that mean, and the variance that follows step by step."""
    path, table = base.path(), base.path().alphas_cumprod

    def h(x: Tensor, t: Any, condition: Any = None) -> Tensor:
        return float(path(t).alpha) * x

    x_0 = torch.randn(2, *SIZE, generator=generator(0, "images"))
    found = restore.attack(h, x_0, ["one", "two"], t, path=path, times=TIMES, samples=2, seed=1)
    noise = (found.x_t - table[t].sqrt() * x_0) / (1 - table[t]).sqrt()
    assert torch.equal(found.one_step, h(found.x_t, t))
    variance, grid = 0.0, [float(t), *(s for s in TIMES if s < t)]
    for u, s in pairwise(grid):
        a_u, a_s = float(table[int(u)]), float(table[int(s)])
        slope = (a_s * a_u) ** 0.5 * (1 - a_u / a_s) / (1 - a_u) + (a_u / a_s) ** 0.5 * (1 - a_s) / (1 - a_u)
        variance = slope**2 * variance + (1 - a_s) / (1 - a_u) * (1 - a_u / a_s)
    assert abs(variance / (1 - float(table[t])) - 1) < 0.2  # the posterior's own, but for the length of the steps
    scaled = (found.samples - found.one_step) / variance**0.5
    check_independent(
        {
            "noise of one": noise[0].flatten().float(),
            "noise of two": noise[1].flatten().float(),
            "samples of one": scaled[0, 0].flatten(),
            "other samples of one": scaled[1, 0].flatten(),
            "of two": scaled[0, 1].flatten(),
            "image one": x_0[0].flatten(),
        }
    )
    mean_is((scaled * found.x_t).flatten(), 0.0, 0.1)
