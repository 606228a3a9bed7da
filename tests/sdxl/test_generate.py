"""`python -m sdxl generate`: a stock pipeline's images, stopping, posterior samples, going on, mistakes."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ambient.paths import Discrete
from harness.errors import Interrupted, UserError
from sdxl import parallel
from sdxl.__main__ import main
from sdxl.corrupt.noisy_set import NoisySet
from sdxl.generate import generator as maker
from sdxl.generate.options import GenerateOptions
from sdxl.generate.plan import GenerationPlan
from sdxl.model import lora, sampling, vae
from sdxl.model.base import Base
from sdxl.parallel import Group
from tests.sdxl.conftest import about, write_set
from tests.sdxl.launch import in_two, refusal
from tests.sdxl.test_base import change_settings
from tests.sdxl.test_lora import trained

CAPTIONS = ["a cat", "a dog on a hill"]


@pytest.fixture
def copied(tiny_base, tmp_path) -> Base:
    """The tiny SDXL once more, to be changed."""
    return Base(Path(shutil.copytree(tiny_base.folder, tmp_path / "copied")))


@pytest.fixture(scope="module")
def lora_file(tiny_base, tmp_path_factory) -> Path:
    """A LoRA of the tiny SDXL."""
    folder, unet = tmp_path_factory.mktemp("lora"), tiny_base.unet()
    lora.save(folder, unet, trained(unet, alpha=8), about(tiny_base))
    return folder / lora.FILE


def made(base: Base, out: Path, *words: object) -> Path:
    """The folder that a command has filled, in two steps."""
    main([str(word) for word in ("generate", "--base", base.folder, "--out", out, "--steps", 2, *words)])
    return out


def image(out: Path, number: int) -> np.ndarray:
    with Image.open(out / "images" / f"{number:06d}.png") as opened:
        return np.asarray(opened).astype(int)


def same_files(one: Path, other: Path) -> bool:
    files = sorted(file.name for file in (one / "images").iterdir())
    assert files == sorted(file.name for file in (other / "images").iterdir())
    return all((one / "images" / name).read_bytes() == (other / "images" / name).read_bytes() for name in files)


def job(base: Base, **options) -> GenerationPlan:
    return GenerationPlan(GenerateOptions(base=str(base.folder), **options), Group())


# the grid


def test_the_grid_is_that_of_ddim_and_then_clean(tiny_base):
    assert sampling.grid(tiny_base.schedule(), 25) == [*map(float, range(961, 0, -40)), 0.0]
    assert sampling.grid(tiny_base.schedule(), 1) == [1.0, 0.0]
    trailing = sampling.grid(tiny_base.schedule() | {"timestep_spacing": "trailing"}, 4)
    assert trailing == [999.0, 749.0, 499.0, 249.0, 0.0]
    even = sampling.grid(tiny_base.schedule() | {"timestep_spacing": "linspace"}, 4)
    assert even == [999.0, 666.0, 333.0, 0.0]  # index 0 is where it ends, not a step before


@pytest.mark.parametrize("steps", [0, -1, 1000])
def test_a_grid_needs_steps_that_the_schedule_has(tiny_base, steps):
    with pytest.raises(UserError, match=f"--steps must lie between 1 and 999; got {steps}"):
        sampling.grid(tiny_base.schedule(), steps)


def test_a_stretch_begins_and_ends_exactly_where_it_is_told():
    times = [961.0, 721.0, 481.0, 241.0, 1.0, 0.0]
    assert sampling.stretch(times) == times
    assert sampling.stretch(times, stop=500) == [961, 721, 500]
    assert sampling.stretch(times, stop=481) == [961, 721, 481]
    assert sampling.stretch(times, start=500) == [500, 481, 241, 1, 0]
    assert sampling.stretch(times, start=500, stop=300) == [500, 481, 300]
    assert sampling.stretch(times, start=0) == [0, 0]


# sampling, where the answer is known


def unit_normal(path: Discrete, seen: list[float]):
    """The exact denoiser of X_0 ~ N(0, I): alpha_t x_t, since X_t has variance 1. Notes the times it is asked at."""

    def h(x_t, t, condition=None):
        seen.append(float(t))
        return path(t).alpha.to(x_t.dtype) * x_t

    return h


@pytest.mark.parametrize("kernel", sampling.STEPS)
def test_early_stop_is_one_denoising_step_from_exactly_t_n(tiny_base, kernel):
    """Its images are too smooth by what the posterior spreads: Var E[X_0 | X_tn] = alpha^2, against 1 of full sampling.

    4096 numbers: the variance has a standard error of 2.2 %. Five of them are allowed, and 2 % for the length of 250 steps: with
    25, ancestral ones lose 17 % of the variance.
    """
    path, times = tiny_base.path(), sampling.grid(tiny_base.schedule(), 250)
    noise = sampling.noise_of(list(range(16)), (4, 8, 8), seed=0)
    variances = {}
    for stop in (0.0, 500.0):
        seen: list[float] = []
        drawn: list[int] = []
        stretch = sampling.stretch(times, stop=stop)
        options = {"path": path, "kernel": kernel, "condition": {}, "noise": lambda i, to=drawn: to.append(i) or noise(i)}
        found = sampling.latents(unit_normal(path, seen), noise(0), stretch, **options)
        variances[stop] = float(found.var())
        assert seen == ([t for t in times if t > 500] + [500.0] if stop else times[:-1])
        assert drawn == list(range(1, len(stretch)))  # draw 0 is what it started from: used twice, it would be no noise
    alpha_squared = float(path(500.0).alpha ** 2)  # 0.276
    assert variances[500.0] / alpha_squared == pytest.approx(1, abs=0.13)
    assert variances[0.0] == pytest.approx(1, abs=0.13)


def test_noise_is_the_images_own(tiny_base):
    alone, beside = sampling.noise_of([7], (4, 8, 8), seed=3), sampling.noise_of([2, 7], (4, 8, 8), seed=3)
    for draw in range(3):
        assert torch.equal(alone(draw)[0], beside(draw)[1])
    assert not torch.equal(alone(0), alone(1))
    assert not torch.equal(alone(0), sampling.noise_of([7], (4, 8, 8), seed=4)(0))


# the command


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_images_are_those_of_a_stock_pipeline(copied, lora_file, tmp_path, prediction):
    """Within one grey level of 255: with a LoRA for eps, without for v. set_alpha_to_one is diffusers' default: it ends at 0."""
    change_settings(copied.folder / "scheduler/scheduler_config.json", prediction_type=prediction)
    with_lora = prediction == "epsilon"
    (tmp_path / "captions.txt").write_text("\n".join(CAPTIONS) + "\n\n", encoding="utf-8")
    words = ["--prompts", tmp_path / "captions.txt", "--images", 2, "--seed", 5, "--guidance", 4.5, "--steps", 4]
    out = made(copied, tmp_path / "out", *words, *(["--lora", lora_file.parent] if with_lora else []))

    pipeline = StableDiffusionXLPipeline.from_pretrained(copied.folder)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, set_alpha_to_one=True, clip_sample=False)
    pipeline.set_progress_bar_config(disable=True)
    latents = sampling.noise_of([0, 1], (4, 8, 8), seed=5)(0)
    options = {"latents": latents, "num_inference_steps": 4, "guidance_scale": 4.5}
    plain = pipeline(CAPTIONS, **options).images  # type: ignore
    if with_lora:
        pipeline.load_lora_weights(lora_file.parent)
    stock = pipeline(CAPTIONS, **options).images if with_lora else plain  # type: ignore
    for i in range(2):
        assert np.abs(image(out, i) - np.asarray(stock[i]).astype(int)).max() <= 1
        assert image(out, i).std() > 20  # a picture, and no grey
    assert with_lora == (np.abs(image(out, 0) - np.asarray(plain[0]).astype(int)).max() > 1)  # the LoRA is seen


def test_what_is_left_tells_what_it_was_made_from(tiny_base, lora_file, tmp_path, capsys):
    words = ["--lora", lora_file, "--prompt", "a cat", "--images", 3, "--stop", 300]
    out = made(tiny_base, tmp_path / "out", *words)
    assert capsys.readouterr().out == f"3 images, 3 of them made now -> {out}\n"
    found = sorted(file.name for file in out.iterdir())
    assert found == [".lock", "DONE", "config.yaml", "environment.json", "images", "manifest.json", "sheet.png"]
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["images"][2] == {"file": "images/000002.png", "index": 2, "prompt": "a cat"}
    assert (manifest["lora"]["base"], manifest["lora"]["t_n"]) == (tiny_base.fingerprint("unet"), 500)
    assert manifest["identity"]["base"] == tiny_base.fingerprint("unet")
    assert manifest["identity"]["vae"] == tiny_base.fingerprint("vae")
    assert manifest["config"]["stop"] == 300
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.size == (2 * 128 + 4, 2 * 128 + 4)  # twice the size of the images
        assert np.array_equal(np.asarray(sheet)[0:128:2, 0:128:2], image(out, 0))
        assert np.array_equal(np.asarray(sheet)[132::2, 0:128:2], image(out, 2))


def test_captions_of_a_file_go_round(tiny_base, tmp_path):
    file = tmp_path / "captions.txt"
    file.write_bytes("\ufeffa caf\u00e9\r\n\r\n  a dog \n".encode())
    found = job(tiny_base, prompts=str(file), images=5)
    assert [entry.prompt for entry in found.images] == ["a caf\u00e9", "a dog", "a caf\u00e9", "a dog", "a caf\u00e9"]


def test_long_captions_are_said_to_be_cut(tiny_base, tmp_path, capsys):
    made(tiny_base, tmp_path / "out", "--prompt", "words " * 40, "--images", 1, "--guidance", 1)
    assert "warning: 1 captions are longer than the text encoders read, and are cut (first: words" in capsys.readouterr().out


@pytest.mark.parametrize("kernel", sampling.STEPS)
def test_batches_leave_each_image_its_noise(tiny_base, tmp_path, kernel):
    """Equal but for the last bits of a product, which are a grey level at the most."""
    words = ["--images", 3, "--kernel", kernel, "--guidance", 1]
    one, two = (made(tiny_base, tmp_path / str(size), *words, "--batch", size) for size in (1, 2))
    for i in range(3):
        assert np.abs(image(one, i) - image(two, i)).max() <= 1
        assert np.abs(image(one, i) - image(one, (i + 1) % 3)).max() > 10


def test_the_same_command_goes_on(tiny_base, tmp_path, capsys, monkeypatch):
    """After a signal; after images were lost or cut short; and it leaves alone what is there."""
    words = ["--images", 3, "--guidance", 1, "--batch", 2]
    whole = made(tiny_base, tmp_path / "whole", *words)
    with monkeypatch.context() as patch:
        patch.setattr(parallel, "stop_requests", lambda: contextlib.nullcontext(lambda: True))
        with pytest.raises(Interrupted, match="2 of 3 images are done"):
            made(tiny_base, tmp_path / "parts", *words)
    parts = tmp_path / "parts"
    assert sorted(file.name for file in (parts / "images").iterdir()) == ["000000.png", "000001.png"]
    assert not (parts / "DONE").exists()
    before = (parts / "images/000000.png").stat().st_mtime_ns
    (parts / "images/.000001.png.77").write_bytes(b"of a killed process")
    made(tiny_base, parts, *words)
    assert capsys.readouterr().out.endswith(f"3 images, 1 of them made now -> {parts}\n")
    assert same_files(whole, parts)

    file = parts / "images/000001.png"
    file.write_bytes(file.read_bytes()[:-20])
    made(tiny_base, parts, *words)
    assert capsys.readouterr().out.endswith(f"3 images, 2 of them made now -> {parts}\n")
    assert same_files(whole, parts)
    assert (parts / "images/000000.png").stat().st_mtime_ns == before  # of the same batch, and whole

    monkeypatch.setattr(maker, "ImageGenerator", None)  # whoever has all images loads no model
    made(tiny_base, parts, *words)
    assert capsys.readouterr().out == f"3 images, 0 of them made now -> {parts}\n"
    another = ["--base", tiny_base.folder, "--out", parts, "--steps", 2, *words, "--seed", 1]
    assert "(seed: 0, asked for 1)" in refusal("generate", *another)
    assert same_files(whole, parts)


def test_a_dry_run_prints_the_plan_and_writes_nothing(tiny_base, tmp_path, capsys):
    made(tiny_base, tmp_path / "out", "--stop", 300, "--dry-run")
    out = capsys.readouterr().out
    for line in (
        "resolution: 64",
        "dtype: float32",
        "times of image 0: 501, 300, then denoised once",
        "evaluations of the UNet: 4 for image 0",
    ):
        assert f"{line}\n" in out
    assert not (tmp_path / "out").exists()


def test_the_vae_is_kept_in_float32_where_it_asks_for_it(copied):
    for asks, dtype in ((False, torch.bfloat16), (True, torch.float32)):
        change_settings(copied.folder / "vae/config.json", force_upcast=asks)
        found = maker.ImageGenerator(job(copied, dtype="bfloat16", steps=2), torch.device("cpu"))
        assert found.vae.dtype == dtype
    pictures = found([0])
    assert pictures[0].size == (64, 64)


def test_the_vae_alone_may_be_another(tiny_base, copied, tmp_path):
    """A folder with nothing but a VAE; decoded by it."""
    change_settings(copied.folder / "vae/config.json", scaling_factor=0.5)
    words = ["--images", 1, "--guidance", 1]
    own = made(tiny_base, tmp_path / "own", *words)
    other = made(tiny_base, tmp_path / "other", *words, "--vae", copied.folder / "vae")
    assert np.abs(image(own, 0) - image(other, 0)).max() > 1


# posterior samples


@pytest.fixture
def mixed(tmp_path, tiny_base) -> Path:
    """Images at several levels, the second one clean."""
    return write_set(tmp_path / "mixed", tiny_base, images=4, t_n=[500, 0, 100, 500])


def test_posterior_samples_start_from_the_set(tiny_base, mixed, tmp_path):
    """A clean image comes back as it is, whatever the model; the others start at their own level."""
    out = made(tiny_base, tmp_path / "out", "--posterior", mixed, "--images", 5, "--batch", 2, "--kernel", "euler-maruyama")
    images, noisy = json.loads((out / "manifest.json").read_text())["images"], NoisySet(mixed)
    assert [(row["row"], row["t_n"], row["key"], row["prompt"]) for row in images] == [
        (i, t_n, f"image_{i}", f"image_{i}") for i, t_n in ((0, 500), (1, 0), (2, 100), (3, 500), (0, 500))
    ]
    clean = vae.picture(tiny_base.vae(), noisy.rows([1])["x_n"][0], "clean")
    assert np.array_equal(image(out, 1), np.asarray(clean))
    assert np.abs(image(out, 0) - image(out, 4)).max() > 1  # two samples of one posterior
    given = job(tiny_base, posterior=str(mixed), images=5, batch=2)
    assert given.batches == [[0, 3], [4], [1], [2]]
    assert given.stretch(0)[:2] == [500.0, 481.0]
    assert given.stretch(2) == [100.0, 81.0, 41.0, 1.0, 0.0]


def test_posterior_samples_need_no_text_encoders(copied, mixed, tmp_path):
    """The condition is the set's, or none."""
    for part in ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"):
        shutil.rmtree(copied.folder / part)
    words = ["--posterior", mixed, "--images", 1]
    guided = made(copied, tmp_path / "guided", *words)
    plain = made(copied, tmp_path / "plain", *words, "--guidance", 1)
    without = made(copied, tmp_path / "without", *words, "--null-caption")
    assert all(np.abs(image(a, 0) - image(b, 0)).max() > 1 for a, b in ((guided, plain), (plain, without), (guided, without)))
    rows = NoisySet(mixed).rows([0])
    found = maker.ImageGenerator(job(copied, posterior=str(mixed)), torch.device("cpu"))._condition([0], rows)
    assert all(torch.equal(found[name], rows[name]) for name in found)


def test_two_processes_make_the_same_images_and_end_together(tiny_base, mixed, tmp_path):
    """Bitwise: 5 images in batches of 2, with noise in each step: 3 batches, so that one process has two of them.

    Then a set with a number that is none, which the second process meets: one line from the first, both leave, and the image
    that the first has made stays.
    """
    words = ["--images", 5, "--batch", 2, "--kernel", "ancestral", "--prompt", "a_cat"]
    one = made(tiny_base, tmp_path / "one", *words)
    broken = ["--posterior", with_nan(mixed, row=3), "--images", 4, "--guidance", 1]
    both = ["--base", tiny_base.folder, "--steps", 2, "--out"]
    first, second = (["generate", *both, tmp_path / out, *more] for out, more in (("two", words), ("broken", broken)))
    answer = in_two(tmp_path, *first, "then", *second)
    assert answer.code == 0, answer.error
    assert sorted(answer.out.splitlines()) == [
        f"5 images, 5 of them made now -> {tmp_path / 'two'}",
        "process 0: done",
        "process 0: error: the latent of 000003.png is not finite: damaged weights, or a LoRA that has diverged",
        "process 1: done",
        "process 1: left with 2",
    ]
    assert same_files(one, tmp_path / "two")
    assert (one / "sheet.png").read_bytes() == (tmp_path / "two/sheet.png").read_bytes()
    assert [file.name for file in (tmp_path / "broken/images").iterdir()] == ["000000.png"]


def with_nan(folder: Path, *, row: int) -> Path:
    """A set, with a number of a row of its first shard made none."""
    file = folder / "shard_00000.safetensors"
    with safe_open(file, "pt") as opened:
        header = opened.metadata()
    rows = load_file(file)
    rows["x_n"][row, 0, 0, 0] = torch.nan
    save_file(rows, file, metadata=header)
    return folder


# mistakes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--lora", "nothing"], "nothing does not exist; give a run directory"),
        (["--stop", "0"], "--stop must be at least 1; got 0"),
        (["--stop", "1000"], "--stop must be one of the schedule's times 1 .. 999; got 1000"),
        (["--stop", "480.5"], "--stop must be a whole number; got '480.5'"),
        (["--stop", "970"], "--stop 970 is not below 961, where 25 steps begin"),
        (["--resolution", "60"], "--resolution must be a multiple of 8"),
        (["--resolution", "1024"], "take --resolution 64"),
        (["--steps", "0"], "--steps must be at least 1; got 0"),
        (["--images", "0"], "--images must be between 1 and 1,000,000; got 0"),
        (["--batch", "0"], "--batch must be at least 1; got 0"),
        (["--guidance", "nan"], "--guidance must be finite"),
        (["--kernel", "ancestrall"], "--kernel does not know 'ancestrall'; did you mean ancestral?"),
        (["--kernel", "matched"], "--kernel does not know 'matched'"),
        (["--dtype", "float8"], "--dtype does not know 'float8'"),
        (["--prompts", "nothing.txt"], "cannot read nothing.txt: No such file or directory"),
        (["--prompt", "a", "--null-caption"], "--prompt and --null-caption both set the caption"),
        (["--posterior", "x", "--prompt", "a"], "leave --prompt out"),
        (["--posterior", "nothing"], "nothing holds no noisy set"),
        (["--vae", "nothing"], "nothing is no folder, and no hub id"),
        (["--promt", "a"], "unknown option --promt; did you mean --prompt?"),
    ],
)
def test_mistakes_are_one_clear_line(tiny_base, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    assert message in refusal("generate", "--base", tiny_base.folder, "--out", "out", *words)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("payload", "message"), [(b"\n  \n", "is empty; it must hold a caption on each line"), (b"\xff\xfe", "is no text in UTF-8")]
)
def test_captions_that_cannot_be_read_are_refused(tiny_base, tmp_path, payload, message):
    (tmp_path / "captions.txt").write_bytes(payload)
    assert message in refusal("generate", "--base", tiny_base.folder, "--prompts", tmp_path / "captions.txt")


def test_loras_that_do_not_go_with_the_base_are_refused(tiny_base, copied, lora_file, tmp_path):
    change_settings(copied.folder / "unet/config.json", sample_size=16)
    words = ["generate", "--out", tmp_path / "out", "--lora"]
    assert "was trained on another base" in refusal(*words, lora_file, "--base", copied.folder)
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(lora_file.read_bytes()[:-100])
    assert "is damaged, or no safetensors file" in refusal(*words, damaged, "--base", tiny_base.folder)
    assert not (tmp_path / "out").exists()


def test_sets_that_do_not_go_with_the_job_are_refused(tiny_base, copied, mixed):
    words = ["generate", "--posterior", mixed, "--images", 3]
    own, other = [*words, "--base", tiny_base.folder], [*words, "--base", copied.folder]
    assert "--stop 100 is not below 0, where image_1 starts" in refusal(*own, "--stop", 100)
    assert "--stop 500 is not below 500, where image_0 starts" in refusal(*own, "--stop", 500)
    assert "is of 64 pixels, not of 128; leave --resolution" in refusal(*own, "--resolution", 128)
    change_settings(copied.folder / "vae/config.json", scaling_factor=0.5)
    assert "was made with another VAE than that of" in refusal(*other)
    assert "was made with another VAE than that of" in refusal(*own, "--vae", copied.folder)
    change_settings(copied.folder / "scheduler/scheduler_config.json", beta_end=0.013)
    assert "was made with another noise schedule than that of" in refusal(*other)


def test_fewer_batches_than_processes_are_refused(tiny_base):
    def on_three(**options) -> str:
        with pytest.raises(UserError) as caught:
            GenerationPlan(
                GenerateOptions(base=str(tiny_base.folder), **options), SimpleNamespace(size=3, device=torch.device("cpu"))
            )  # type: ignore
        return str(caught.value)

    assert "--images 2 in batches of --batch 1 keep 2 of 3 processes busy" in on_three(images=2)
    assert "--images 4 in batches of --batch 2 keep 2 of 3 processes busy" in on_three(images=4, batch=2)


def test_images_that_are_not_finite_name_themselves(tiny_base, copied, lora_file, tmp_path):
    words = ["generate", "--out", tmp_path / "out", "--steps", 2, "--images", 1, "--guidance", 1, "--base", tiny_base.folder]
    diverged = tmp_path / "diverged.safetensors"
    save_file({name: value * torch.nan for name, value in load_file(lora_file).items()}, diverged, metadata={"format": "pt"})
    message = refusal(*words, "--lora", diverged)
    assert message == "the latent of 000000.png is not finite: damaged weights, or a LoRA that has diverged"
    file = copied.folder / "vae/diffusion_pytorch_model.safetensors"
    save_file({name: value * 1e20 for name, value in load_file(file).items()}, file, metadata={"format": "pt"})
    message = refusal(*words[:2], tmp_path / "two", *words[3:], "--vae", copied.folder)
    assert message.startswith("the VAE's image 000000.png is not finite: SDXL's overflows in float16; take --dtype float32, or ")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError(), "out of memory; take --batch 1, --dtype bfloat16, or a lower --resolution"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x.png"), "No space left on device (x.png)"),
    ],
)
def test_what_runs_out_is_one_clear_line(tiny_base, tmp_path, monkeypatch, error, message):
    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(sampling, "latents", full)
    assert refusal("generate", "--base", tiny_base.folder, "--out", tmp_path / "out").startswith(message)
