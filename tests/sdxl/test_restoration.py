"""`python -m sdxl evaluate restoration`: the known error of known worlds, the command's table, going on, mistakes."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from ambient.denoisers import gaussian_mmse
from ambient.paths import Discrete
from ambient.randomness import generator
from ambient.worlds import GaussianMixture
from harness.errors import Interrupted
from harness.statistics import difference, mean
from sdxl import parallel
from sdxl.__main__ import main
from sdxl.evaluate.restoration import measure as restorer
from sdxl.evaluate.restoration.measure import noise, restored, square_error
from sdxl.images.photographs import HELD_OUT
from sdxl.model import lora
from tests.sdxl.conftest import about
from tests.sdxl.launch import in_two, refusal
from tests.sdxl.test_lora import trained

LEVELS = (900.0, 800.0, 500.0, 100.0)


# the library, where the answer is known


def errors_of(world: GaussianMixture, path: Discrete, t: float, denoiser=None, count: int = 4000) -> list[float]:
    """As the command measures them, with the world's exact denoiser, or another one, in place of the UNet."""
    x_0 = world.sample(count, generator(1, "held-out points"))
    keys = [f"point {i}" for i in range(count)]
    z = noise(keys, [t] * count, x_0.shape[1:], seed=0).to(x_0)
    return square_error(restored(denoiser or world.denoiser(path), x_0, z, path=path, t=torch.full((count,), t)), x_0).tolist()


@pytest.mark.parametrize("t", LEVELS)
def test_the_exact_denoiser_of_a_gaussian_has_its_minimal_error(tiny_base, t):
    path = tiny_base.path()
    world = GaussianMixture(torch.ones(1), torch.tensor([[1.0, -2.0]]), 0.25 * torch.eye(2)[None])
    found, truth = mean(errors_of(world, path, t)), float(gaussian_mmse(path(t), 0.5))
    assert found.error is not None
    assert abs(found.mean - truth) < 4.5 * found.error  # 1e-5 by chance; the noise is fixed
    assert found.error < 0.03 * truth  # an error of a seventh would be seen


@pytest.mark.parametrize("t", LEVELS)
def test_the_exact_denoiser_of_a_mixture_has_the_worlds_mmse(tiny_base, t):
    path = tiny_base.path()
    means, covariances = (
        torch.tensor([[1.5, 0.0], [-1.0, 1.0]]),
        torch.stack([0.1 * torch.eye(2), torch.diag(torch.tensor([0.5, 0.05]))]),
    )
    world = GaussianMixture(torch.tensor([0.4, 0.6]), means, covariances)
    draws = generator(2, "points of the mixture")  # others than those that are restored
    x_0 = world.sample(20000, draws)
    x_t = path(t).apply(x_0, torch.randn(x_0.shape, generator=draws))
    minimal = mean((world.posterior_covariance(x_t, path(t)).diagonal(dim1=1, dim2=2).sum(1) / 2).tolist())
    found = mean(errors_of(world, path, t))
    assert found.error is not None
    assert minimal.error is not None
    assert abs(found.mean - minimal.mean) < 4.5 * math.hypot(found.error, minimal.error)
    shifted = mean(errors_of(world, path, t, lambda x, level, _: world.denoise(x, path(level)) + 0.5))
    assert shifted.mean - minimal.mean > 9 * math.hypot(found.error, minimal.error)  # a fault of that size is seen


def test_the_noise_follows_from_seed_key_and_level_alone():
    together = noise(["a", "b"], [500.0, 100.0], (3, 2), seed=4)
    assert torch.equal(noise(["b"], [100.0], (3, 2), seed=4)[0], together[1])
    for key, t, seed in (("b", 500.0, 4), ("a", 100.0, 4), ("a", 500.0, 5)):
        assert not torch.equal(noise([key], [t], (3, 2), seed=seed)[0], together[0])


def test_differences_are_of_pairs():
    values, others = [1.0, 5.0, 9.0], [0.5, 4.0, 9.0]
    found = difference(values, others)
    assert found.mean == pytest.approx(0.5)
    assert found.error == pytest.approx(0.5 / math.sqrt(3))  # of 0.5, 1, 0: std 0.5
    assert mean([2.0]) == (2.0, None, None)


# the command


@pytest.fixture(scope="module")
def loras(tiny_base, tmp_path_factory) -> list[Path]:
    """Two that differ."""
    found = []
    for t_n in (100, 500):
        folder, unet = tmp_path_factory.mktemp("loras") / f"t{t_n}", tiny_base.unet()
        lora.save(folder, unet, trained(unet, alpha=t_n / 20), about(tiny_base, t_n=float(t_n)))
        found.append(folder)
    return found


def words(base, loras: list[Path], out: Path, *more: object) -> list[str]:
    data = ["--data", "photographs", "--split", "held_out", "--resolution", 64]
    return [str(w) for w in ("evaluate", "restoration", "--base", base.folder, "--loras", *loras, *data, "--out", out, *more)]


@pytest.fixture(scope="module")
def finished(tiny_base, loras, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("restoration") / "out"
    main(words(tiny_base, loras, out, "--images", 3))
    return out


def test_what_the_command_leaves_behind(finished):
    results = json.loads((finished / "results.json").read_text())
    assert results["levels"] == list(LEVELS)
    assert [model["name"] for model in results["models"]] == ["t100", "t500", "base alone"]
    assert [model["t_n"] for model in results["models"]] == [100, 500, None]
    assert len(results["pairs"]) == 2 * 4 * 3  # spaces, levels, pairs of models
    with open(finished / "table.csv") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 4 * 3
    table = (finished / "table.md").read_text()
    means = [[row["latent_mean"], row["latent_std"]] for row in results["rows"]]
    assert all(f" {mean:.4f} ({std:.4f}) |" in table for mean, std in means)
    assert "3 held-out images" in table
    assert (finished / "restoration.png").read_bytes().startswith(b"\x89PNG")
    assert (finished / "DONE").exists()


def test_the_errors_are_those_of_a_stock_pipelines_models(finished, tiny_base, loras):
    """Encoded, noised, denoised and decoded by hand, with diffusers' own scheduler: one image, one level, one LoRA."""
    from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
    from PIL import Image

    it = HELD_OUT[1]
    pipe = StableDiffusionXLPipeline.from_pretrained(tiny_base.folder)
    pipe.load_lora_weights(str(loras[1]))
    square = Image.open(io.BytesIO(it.payload())).convert("RGB").resize((64, 64), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        x_0 = pipe.vae.encode(pixels).latent_dist.mean * pipe.vae.config.scaling_factor
        z = noise([it.key], [500.0], x_0.shape[1:], seed=0)
        scheduler = DDPMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
        x_t, t = scheduler.add_noise(x_0, z, torch.tensor([500])), torch.tensor([500])
        embeds, _, pooled, _ = pipe.encode_prompt(it.caption, do_classifier_free_guidance=False)
        sizes = torch.tensor([[float(it.side), it.side, 0, 0, 64, 64]])
        eps = pipe.unet(x_t, t, embeds, added_cond_kwargs={"text_embeds": pooled, "time_ids": sizes}).sample
        h = scheduler.step(eps, 500, x_t).pred_original_sample
        shown = pipe.vae.decode(h / pipe.vae.config.scaling_factor).sample.clamp(-1, 1)
    results = json.loads((finished / "results.json").read_text())
    at = results["levels"].index(500)
    assert results["images"][1] == it.key
    assert results["errors"]["latent"]["t500"][at][1] == pytest.approx(float((h - x_0).square().mean()), rel=1e-4)
    # pixels are compared as they are written, in 255 steps: 2/255/sqrt(12) at most, times twice the root of the error
    assert results["errors"]["pixel"]["t500"][at][1] == pytest.approx(float((shown - pixels).square().mean()), rel=1e-2)


def test_stopped_and_gone_on_with_it_ends_in_the_same_numbers(finished, tiny_base, loras, tmp_path, monkeypatch):
    made = []
    measured = restorer.RestorationMeter.__call__

    def counted(meter: restorer.RestorationMeter, image: int, *, with_vae: bool) -> restorer.Errors:
        made.append(image)
        return measured(meter, image, with_vae=with_vae)

    monkeypatch.setattr(restorer.RestorationMeter, "__call__", counted)

    @contextmanager
    def stopping():
        yield lambda: len(made) == 4

    with monkeypatch.context() as patched:
        patched.setattr(parallel, "stop_requests", stopping)
        with pytest.raises(Interrupted, match="4 of 9"):
            main(words(tiny_base, loras, tmp_path / "out", "--images", 3))
    (tmp_path / "out/errors/0_000001.json").write_text('{"latent": [1.0, ')  # cut short
    main(words(tiny_base, loras, tmp_path / "out", "--images", 3))
    assert len(made) == 4 + 6
    assert (tmp_path / "out/results.json").read_bytes() == (finished / "results.json").read_bytes()


def test_two_processes_leave_the_same_files(finished, tiny_base, loras, tmp_path):
    first, second = (words(tiny_base, loras, tmp_path / name, "--images", count) for name, count in (("out", 3), ("few", 1)))
    answer = in_two(tmp_path, *first, "then", *second)
    assert answer.code == 0, answer.error
    assert answer.out.count("done") == 2
    assert answer.out.count("images to work on: 1, processes: 2;") == 1
    assert answer.out.count("left with 2") == 1
    for name in ("results.json", "table.md", "table.csv", "restoration.png"):
        assert (tmp_path / "out" / name).read_bytes() == (finished / name).read_bytes()


def test_a_dry_run_writes_nothing_and_no_pixels_are_decoded_if_not_wanted(tiny_base, loras, tmp_path, capsys):
    main(words(tiny_base, loras, tmp_path / "out", "--dry-run"))
    assert "levels" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    main(words(tiny_base, [loras[0]], tmp_path / "out", "--images", 1, "--no-pixels", "--no-with-base", "--levels", 300))
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert results["errors"]["pixel"] == {}
    assert results["rows"][0]["latent_error"] is None  # of one image


def test_mistakes_are_told_in_a_line(finished, tiny_base, loras, tmp_path):
    out = tmp_path / "out"
    assert "--data is missing" in refusal("evaluate", "restoration")
    assert "1 .. 999" in refusal(*words(tiny_base, loras, out, "--levels", 1000))
    assert "does not exist" in refusal(*words(tiny_base, [tmp_path / "none"], out))
    assert "smaller than --resolution 256" in refusal(*words(tiny_base, loras, out, "--resolution", 256))
    assert "multiple of 8" in refusal(*words(tiny_base, loras, out, "--resolution", 60))
    assert "leaves no model" in refusal("evaluate", "restoration", "--data", "photographs", "--no-with-base")
    other = shutil.copytree(loras[0], tmp_path / "other")
    unet = tiny_base.unet()
    lora.save(other, unet, trained(unet, alpha=3), about("another"))
    assert "another base" in refusal(*words(tiny_base, [other], out))
    assert not out.exists()
    assert "another config" in refusal(*words(tiny_base, loras, finished, "--images", 2))
    assert "did you mean evaluate restoration?" in refusal("evaluate", "restorations")
