"""What `generate` computes, against a sampler written out from DDPM's and DDIM's formulas, in float64.

Every fault in FAULTS must be refused.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ambient import samplers
from ambient.randomness import generator
from sdxl.corrupt.noisy_set import NoisySet
from sdxl.generate import generator as maker
from sdxl.generate.options import GenerateOptions
from sdxl.generate.plan import GenerationPlan
from sdxl.model import lora, sampling
from sdxl.model import text as encode
from sdxl.model import unet as bases
from sdxl.model.base import Base
from sdxl.parallel import Group
from tests.faults import planted
from tests.sdxl.conftest import about, write_set
from tests.sdxl.exact import DoubleBase, in_double, null_condition
from tests.sdxl.written_out import doubled, draws, predictor, sampled

LEVELS, SEED = [500.0, 0.0, 100.0, 500.0], 3
GRID = [667.0, 334.0, 1.0, 0.0]  # of three steps: every 333rd time, one up
CASES = {
    "captions with guidance": {"prompts": True, "guidance": 4.5},
    "ancestral": {"prompts": True, "kernel": "ancestral", "guidance": 1.0},
    "euler-maruyama, no guidance": {"prompts": True, "guidance": 1.0, "kernel": "euler-maruyama"},
    "ancestral, early stop": {"kernel": "ancestral", "stop": 300, "prompts": True},
    "no caption": {"null_caption": True, "kernel": "ancestral"},
    "posterior samples": {"posterior": True, "kernel": "ancestral", "guidance": 2.0},
    "posterior samples, no caption": {"posterior": True, "null_caption": True, "kernel": "ancestral"},
}


@pytest.fixture(autouse=True)
def double(monkeypatch):
    in_double(monkeypatch)
    monkeypatch.setattr(maker, "sampling", doubled(planted(sampling)))
    monkeypatch.setattr(maker, "picture", lambda vae, latent, name: latent)


@pytest.fixture(scope="module")
def base(tiny_base) -> Base:
    return DoubleBase(tiny_base.folder)


@pytest.fixture(scope="module")
def given(base, tmp_path_factory) -> dict[str, Any]:
    """A noisy set with a condition for no caption that is not zero, captions, and a LoRA that is seen."""
    folder: Path = tmp_path_factory.mktemp("given")
    write_set(folder / "set", base, images=4, t_n=LEVELS, null=null_condition())
    (folder / "captions.txt").write_text("a cat\na dog on a hill\n")
    unet = base.unet()
    for weight in lora.add(unet, rank=2, alpha=3.0, seed=0):
        weight.data = torch.randn(weight.shape, generator=generator(0, "a LoRA")).to(weight) / 4
    lora.save(folder, unet, lora.weights(unet), about(base, rank=2, alpha=3.0))
    return {"posterior": str(folder / "set"), "prompts": str(folder / "captions.txt"), "lora": str(folder / lora.FILE)}


def job_of(case: str, base: Base, given: dict[str, Any]) -> GenerationPlan:
    """Five images in batches of up to two."""
    options = {key: given[key] if value is True and key in given else value for key, value in CASES[case].items()}
    job = GenerationPlan(
        GenerateOptions(base=str(base.folder), images=5, batch=2, steps=3, seed=SEED, lora=given["lora"], **options), Group()
    )
    job.base = base
    return job


def reference(case: str, base: Base, given: dict[str, Any]) -> list[Tensor]:
    """The latents of the five images, one after the other."""
    options, data, path = CASES[case], NoisySet(given["posterior"]), base.path()
    text, unet = encode.TextEncoder(base, torch.device("cpu")), base.unet()
    lora.attach(unet, lora.opened(given["lora"], base))
    null, found = data.null() if "posterior" in options else text.null(), []
    guidance = 1.0 if "null_caption" in options else options.get("guidance", 5.0)
    for i in range(5):
        z, row = draws(f"image {i}", seed=SEED, shape=(4, 8, 8)), data.rows([i % 4])
        if "posterior" in options:
            condition, x, times = row, row["x_n"][0], [LEVELS[i % 4], *(t for t in GRID if t < LEVELS[i % 4])]
            times = [0.0, 0.0] if times == [0.0] else times
        else:
            condition, x, times = text(["a cat", "a dog on a hill"][i % 2]), z(0), GRID
            condition = condition | {"time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]])}
        condition = condition | null if "null_caption" in options else condition
        if "stop" in options:
            times = [*(t for t in times if t > options["stop"]), float(options["stop"])]
        eps = predictor(unet, condition, null, guidance)
        found.append(sampled(eps, x, times, path.alphas_cumprod, options.get("kernel", "ddim"), z, path))
    return found


@pytest.fixture(scope="module")
def expected(base, given) -> Callable[[str], list[Tensor]]:
    """The reference of a case, made once."""
    return cache(lambda case: reference(case, base, given))


def latents_of(job: GenerationPlan) -> list[Tensor]:
    """What the VAE is given, image by image."""
    made = maker.ImageGenerator(job, torch.device("cpu"))
    found = {i: latent for batch in job.batches for i, latent in zip(batch, made(batch), strict=True)}
    return [found[i] for i in range(5)]


def compare(found: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float64
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_latents_are_those_of_the_reference(base, given, expected, case):
    compare(latents_of(job_of(case, base, given)), expected(case))


FAULTS = {  # of a module, in a case
    "the noise of the start is used again": (sampling, "ancestral", "noise(step + 1)", "noise(step)"),
    "no step draws other noise": (sampling, "ancestral", "noise(step + 1)", "noise(1)"),
    "images of a batch share their noise": (
        sampling,
        "captions with guidance",
        "for i in images], shape",
        "for i in images[:1] * len(images)], shape",
    ),
    "the last estimate is made at another level": (
        samplers,
        "ancestral, early stop",
        "denoiser(x_s, times[-1]",
        "denoiser(x_s, times[-2]",
    ),
    "the last estimate is left out": (samplers, "ancestral, early stop", "x_s if times[-1] == 0 else", "x_s if True else"),
    "the pooled embedding stays without a caption": (
        bases,
        "captions with guidance",
        'for key in ("prompt_embeds", "pooled")}',
        'for key in ("prompt_embeds",)}',
    ),
    "guidance is added": (
        bases,
        "captions with guidance",
        "base + scale * (h(x_t, t, condition) - base)",
        "base + scale * h(x_t, t, condition)",
    ),
    "guidance is one less": (bases, "captions with guidance", "base + scale * (", "base + (scale - 1) * ("),
    "posterior samples start from noise": (maker, "posterior samples", 'noise(0) if rows is None else rows["x_n"]', "noise(0)"),
    "all of a batch start at one image": (
        maker,
        "posterior samples",
        "job.noisy.rows([i % len(job.noisy) for i in images])",
        "job.noisy.rows([images[0] % len(job.noisy) for i in images])",
    ),
    "no caption is zeros": (maker, "posterior samples", "value.float().to(device) for", "0 * value.float().to(device) for"),
    "a set keeps its captions": (maker, "posterior samples, no caption", "if self.job.config.null_caption:", "if False:"),
    "all of a batch have one caption": (maker, "captions with guidance", "self.job.images[i]", "self.job.images[images[0]]"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_sampling_are_refused(base, given, expected, monkeypatch, fault):
    module, case, old, new = FAULTS[fault]
    changed, job = planted(module, (old, new)), job_of(case, base, given)
    if module is sampling:
        monkeypatch.setattr(maker, "sampling", doubled(changed))
    elif module is samplers:
        monkeypatch.setattr(maker.sampling, "samplers", changed)
    elif module is bases:
        monkeypatch.setattr(maker, "guided", changed.guided)
    else:
        monkeypatch.setattr(changed, "picture", maker.picture)
        monkeypatch.setattr(changed, "sampling", maker.sampling)
        monkeypatch.setattr(maker, "ImageGenerator", changed.ImageGenerator)
    with pytest.raises(AssertionError):
        compare(latents_of(job), expected(case))
