"""`python -m sdxl corrupt`: what is written is what diffusers makes of the images, noisy, once; nothing stale, nothing lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import yaml
from diffusers.image_processor import VaeImageProcessor
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from ambient.randomness import fixed_noise
from harness.errors import Interrupted, UserError
from sdxl.__main__ import main
from sdxl.corrupt import corruptor, noisy_set, shards
from sdxl.corrupt.noisy_set import NoisySet
from sdxl.images import crop
from sdxl.images.crop import fit
from sdxl.model import text as encode
from sdxl.model.base import Base
from sdxl.model.vae import latent, picture
from tests.faults import planted
from tests.sdxl.launch import in_two, refusal
from theory_checks.statistics_kit import mean_is

LEVELS = (500, 0, 100, 500, 999)
FILES = ("shard_00000.safetensors", "shard_00001.safetensors", "shard_00002.safetensors", "null.safetensors", "manifest.json")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """Five images of 64 x 64, each with a caption and a level."""
    folder = tmp_path_factory.mktemp("source") / "photos"
    folder.mkdir()
    rows = [{"file_name": f"{i}.png", "text": f"caption {i}", "t_n": t_n} for i, t_n in enumerate(LEVELS)]
    for i, row in enumerate(rows):
        pixels(i).save(folder / row["file_name"])
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def pixels(seed: int, width: int = 64, height: int = 64) -> Image.Image:
    """Something smooth, as photographs are."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def photos(source, tmp_path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(source, tmp_path / "photos"))


@pytest.fixture
def corrupt(tiny_base):
    """Runs the command: five images in shards of two."""

    def run(data: Path, out: Path, *words: object, resolution: int = 64) -> Path:
        main([str(word) for word in ["corrupt", *common(tiny_base, data, out), "--resolution", resolution, *words]])
        return out

    return run


def common(base: Base, data: object, out: object) -> list[object]:
    return ["--base", base.folder, "--data", data, "--out", out, "--shard", 2]


@pytest.fixture
def refused(tiny_base):
    def run(data: object, out: Path, *words: object) -> str:
        return refusal("corrupt", *common(tiny_base, data, out), "--resolution", 64, *words)

    return run


@pytest.fixture(scope="module")
def made(source, tiny_base, tmp_path_factory) -> Path:
    """The set of the five images, each at its own level."""
    out = tmp_path_factory.mktemp("made") / "noisy"
    words = [*common(tiny_base, source, out), "--resolution", 64, "--level-column", "t_n"]
    main([str(word) for word in ["corrupt", *words]])
    return out


@pytest.fixture(scope="module")
def pipeline(tiny_base) -> StableDiffusionXLPipeline:
    return StableDiffusionXLPipeline.from_pretrained(tiny_base.folder)


def same_files(first: Path, second: Path) -> bool:
    return all((first / name).exists() and (first / name).read_bytes() == (second / name).read_bytes() for name in FILES)


# what is written


def test_latents_are_those_of_diffusers_with_the_noise_of_nature(made, pipeline):
    """x_0 by the VAE and the image processor of the pipeline, noised by its scheduler; at t_n = 0 clean. To float32."""
    data, scheduler = NoisySet(made), DDPMScheduler.from_config(pipeline.scheduler.config)
    found = data.rows(list(range(5)))
    assert found["t_n"].tolist() == list(LEVELS)
    for i, t_n in enumerate(LEVELS):
        prepared = pipeline.image_processor.preprocess(pixels(i))
        with torch.no_grad():
            x_0 = pipeline.vae.encode(prepared).latent_dist.mean * pipeline.vae.config.scaling_factor
        noise = fixed_noise(0, f"{i}.png", tuple(x_0.shape))
        expected = scheduler.add_noise(x_0, noise, torch.tensor([t_n])) if t_n else x_0
        torch.testing.assert_close(found["x_n"][i : i + 1], expected, rtol=1e-5, atol=1e-5)


def test_embeddings_are_those_of_the_pipeline(made, pipeline):
    data = NoisySet(made)
    for i in range(5):
        states, _, pooled, _ = pipeline.encode_prompt(f"caption {i}", do_classifier_free_guidance=False)
        row = data.rows([i])
        assert data.labels[i][1] == f"caption {i}"
        assert torch.equal(row["prompt_embeds"], states)
        assert torch.equal(row["pooled"], pooled)
        assert row["time_ids"].tolist() == [[64, 64, 0, 0, 64, 64]]


@pytest.mark.parametrize("zeros", [True, False])
def test_no_caption_is_what_the_pipeline_guides_away_from(tiny_base, tmp_path, pipeline, zeros):
    base = Base(Path(shutil.copytree(tiny_base.folder, tmp_path / "base")))
    index = base.folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"force_zeros_for_empty_prompt": zeros}))
    ours = encode.TextEncoder(base, torch.device("cpu")).null()
    _, states, _, pooled = StableDiffusionXLPipeline.from_pretrained(base.folder).encode_prompt("a caption")
    assert torch.equal(ours["prompt_embeds"], states)
    assert torch.equal(ours["pooled"], pooled)
    assert bool((states == 0).all()) == zeros


def test_an_image_without_a_caption_has_the_condition_of_dropped_ones(tiny_base, photos, tmp_path, corrupt):
    data = NoisySet(corrupt(photos, tmp_path / "set", "--caption-column", "", "--caption", ""))
    null, row = data.null(), data.rows([0, 1])
    assert all(torch.equal(row[name], null[name].expand_as(row[name])) for name in null)
    text = encode.TextEncoder(tiny_base, torch.device("cpu"))
    assert not torch.equal(text("")["prompt_embeds"], null["prompt_embeds"])  # which is zeros, as for SDXL


def test_an_image_is_resized_by_its_shorter_side_and_cut_in_the_middle():
    """Of 200 x 100 at 50: 100 x 50, of which columns 25 to 75 stay."""
    image = pixels(0, 200, 100)
    found, time_ids = fit(image, 50, "center", 0, "key")
    whole = np.asarray(image.resize((100, 50), Image.Resampling.LANCZOS))
    assert np.array_equal(((found.permute(1, 2, 0) + 1) * 127.5).round().byte().numpy(), whole[:, 25:75])
    assert time_ids.tolist() == [100, 200, 0, 25, 50, 50]
    assert fit(pixels(0, 99, 200), 50, "center", 0, "key")[1].tolist() == [200, 99, 25, 0, 50, 50]  # 50.5 rows over: 101 in all
    assert fit(pixels(0, 7, 9), 64, "center", 0, "key")[0].shape == (3, 64, 64)


def test_a_random_crop_is_drawn_once_for_each_image():
    image = pixels(0, 200, 100)
    corners = [fit(image, 50, "random", seed, key)[1][3].item() for seed, key in ((0, "a"), (0, "a"), (0, "b"), (1, "a"))]
    assert corners[0] == corners[1]
    assert len(set(corners)) == 3
    assert all(0 <= corner <= 50 for corner in corners)


class Wide:
    """An image of which only the size matters here."""

    size = (264, 8)

    def resize(self, *_: object) -> Wide:
        return self

    def crop(self, box: tuple[int, ...]) -> np.ndarray:
        return np.zeros((box[3] - box[1], box[2] - box[0], 3))


def shares(code: ModuleType = crop) -> tuple[Tensor, Tensor]:
    """Where 10,241 images are cut, from 0 to 1, with one seed and with the next."""
    corners = [[code.fit(Wide(), 8, "random", seed, f"{i}.png")[1][3] for i in range(10_241)] for seed in (0, 1)]
    first, second = torch.tensor(corners).double() / 256
    return first, second


def check_crops(first: Tensor, second: Tensor) -> None:
    """Each quarter alike, whatever that of the next image, and that with another seed."""
    for quarter in range(4):
        mean_is(((4 * first).floor().clamp(max=3) == quarter).double(), 1 / 4, 0.06)
    mean_is(12 * (first[1:] - 0.5) * (first[:-1] - 0.5), 0.0, 0.12)
    mean_is(12 * (first - 0.5) * (second - 0.5), 0.0, 0.12)


CROP = 'generator=generator(seed, f"crop/{key}")'
CROP_FAULTS = {
    "the seed is left out": 'generator=generator(0, f"crop/{key}")',
    "the key is left out": 'generator=generator(seed, "crop")',
    "the key is cut": 'generator=generator(seed, f"crop/{key[:3]}")',
}


def test_random_crops_are_uniform_and_independent():
    check_crops(*shares())


@pytest.mark.parametrize("fault", CROP_FAULTS)
def test_faults_of_random_crops_are_refused(fault):
    with pytest.raises(AssertionError, match=r"standard errors|no power"):
        check_crops(*shares(planted(crop, (CROP, CROP_FAULTS[fault]))))


def test_a_vae_with_means_and_spreads_is_undone_by_the_pipelines_formula(tiny_base):
    """latents * std / scaling_factor + mean is what SDXL's pipelines decode."""
    vae = tiny_base.vae()
    image = fit(pixels(0), 64, "center", 0, "key")[0][None]
    with torch.no_grad():
        expected = vae.encode(image).latent_dist.mode()
    mean, std = torch.tensor([1.0, -2.0, 0.5, 0.0]), torch.tensor([2.0, 1.0, 4.0, 0.5])
    vae.register_to_config(latents_mean=mean.tolist(), latents_std=std.tolist())
    encoded = latent(vae, image)
    back = encoded * std.view(1, 4, 1, 1) / vae.config.scaling_factor + mean.view(1, 4, 1, 1)
    torch.testing.assert_close(back, expected)
    with torch.no_grad():
        decoded = VaeImageProcessor().postprocess(vae.decode(expected).sample)[0]
    decodes = np.asarray(picture(vae, encoded[0], "key")).astype(int) - np.asarray(decoded).astype(int)
    assert abs(decodes).max() <= 1  # of 255


def test_clean_latents_are_never_written(made, tiny_base):
    """No file anywhere in the set holds any eight numbers of a clean latent in a row; where t_n = 0 they are found."""
    files = [file.read_bytes() for file in made.rglob("*") if file.is_file()]
    vae = tiny_base.vae()
    for i, t_n in enumerate(LEVELS):
        x_0 = latent(vae, fit(pixels(i), 64, "center", 0, "key")[0][None])
        rows = [row.numpy().tobytes() for row in x_0.reshape(-1, 8)]
        assert any(row in file for row in rows for file in files) == (t_n == 0)


def test_the_manifest_says_what_the_set_was_made_from(made, tiny_base):
    data = NoisySet(made)
    data.verify()
    about = data.manifest
    assert about.vae == tiny_base.fingerprint("vae")
    assert about.schedule == tiny_base.schedule_digest()
    assert (about.size, about.images, about.captions) == (64, 5, {"with": 5, "distinct": 5})
    assert {t: row.images for t, row in about.levels.items()} == {"0": 1, "100": 1, "500": 2, "999": 1}
    rows = data.rows([0, 3])["x_n"].double()
    assert about.levels["500"].mean == pytest.approx(float(rows.mean()))
    assert about.levels["500"].std == pytest.approx(float(rows.std(correction=0)))
    assert {path.name for path in made.iterdir() if not path.name.startswith(".")} == {*FILES, "config.yaml", "environment.json"}


def test_the_seed_is_in_no_file(photos, tmp_path, corrupt):
    """Who had it could draw the noise again, and subtract it."""
    out = corrupt(photos, tmp_path / "a", "--seed", 918273645546372819)
    assert all(b"918273645546372819" not in file.read_bytes() for file in out.rglob("*") if file.is_file())


def test_what_is_stored_in_bfloat16_is_the_same_rounded(photos, tmp_path, corrupt, made):
    out = corrupt(photos, tmp_path / "a", "--dtype", "bfloat16", "--level-column", "t_n")
    exact, coarse = load_file(made / FILES[0]), load_file(out / FILES[0])
    for name in ("x_n", "prompt_embeds", "pooled"):
        assert torch.equal(coarse[name], exact[name].bfloat16())
    assert torch.equal(coarse["t_n"], exact["t_n"])


# the same files


@pytest.mark.parametrize("batch", [1, 8])
def test_files_do_not_depend_on_how_many_images_are_read_ahead(source, made, tmp_path, corrupt, batch):
    out = corrupt(source, tmp_path / "a", "--level-column", "t_n", "--batch", batch)
    assert same_files(out, made)


def test_two_processes_write_the_same_files_and_end_together(source, made, tmp_path, tiny_base):
    """Fewer images than processes: one line from the first, both leave. A shard that the second cannot write: the same, and what
    the first has made in that round stays. With the middle shard there and the others lost: the files of one process.
    """
    for name in ("blocked", "half"):
        shutil.copytree(made, tmp_path / name)
        for file in (FILES[0], FILES[2], "manifest.json"):
            (tmp_path / name / file).unlink()
    (tmp_path / "blocked" / FILES[1]).unlink()
    (tmp_path / "blocked" / FILES[1]).mkdir()  # no file can take its place
    kept = (tmp_path / "half" / FILES[1]).stat().st_mtime_ns
    words = ["--resolution", 64, "--level-column", "t_n"]
    few, blocked, half = (["corrupt", *common(tiny_base, source, tmp_path / out), *words] for out in ("few", "blocked", "half"))
    answer = in_two(tmp_path, *few, "--images", 1, "then", *blocked, "then", *half)
    assert answer.code == 0, answer.error
    ends = [line for line in answer.out.splitlines() if line.startswith("process ")]
    first, second = ([line[11:] for line in ends if line.startswith(f"process {rank}")] for rank in (0, 1))
    assert second == ["left with 2", "left with 2", "done"]
    assert first[0] == f"error: {source}: images to work on: 1, processes: 2; start no more processes than images"
    assert first[1].startswith("error: Is a directory")
    assert "what was written before is intact" in first[1]
    assert first[2] == "done"
    assert not (tmp_path / "few").exists()
    assert (tmp_path / "blocked" / FILES[0]).read_bytes() == (made / FILES[0]).read_bytes()
    assert answer.out.count("5 images in 3 shards") == 1
    assert same_files(tmp_path / "half", made)
    assert (tmp_path / "half" / FILES[1]).stat().st_mtime_ns == kept


def after(images: int, what: object, monkeypatch) -> None:
    """Let something happen when so many images have been corrupted."""
    plain, seen = corruptor.Corruptor.__call__, []

    def called(self, picture, image):
        seen.append(picture)
        if len(seen) == images:
            what()  # type: ignore[operator]
        return plain(self, picture, image)

    monkeypatch.setattr(corruptor.Corruptor, "__call__", called)


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_goes_on(source, made, tmp_path, corrupt, monkeypatch, which):
    with monkeypatch.context() as patched:
        after(3, lambda: os.kill(os.getpid(), which), patched)
        with pytest.raises(Interrupted, match="2 of 5 images are done"):
            corrupt(source, tmp_path / "a", "--level-column", "t_n")
    written = (tmp_path / "a" / FILES[0]).stat().st_mtime_ns
    with pytest.raises(UserError, match="is not finished"):
        NoisySet(tmp_path / "a")
    (tmp_path / "a" / ".shard_00001.safetensors.123").write_bytes(b"of a process that was killed")
    assert same_files(corrupt(source, tmp_path / "a", "--level-column", "t_n"), made)
    assert (tmp_path / "a" / FILES[0]).stat().st_mtime_ns == written
    assert list((tmp_path / "a").glob(".shard*")) == []


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_loses_nothing(source, made, tmp_path, corrupt, refused, monkeypatch):
    with monkeypatch.context() as patched:
        after(3, lambda: patched.setattr(noisy_set, "write_atomically", full), patched)
        message = refused(source, tmp_path / "a", "--level-column", "t_n")
    assert message.startswith("No space left on device; what was written before is intact")
    assert (tmp_path / "a" / FILES[0]).exists()
    assert same_files(corrupt(source, tmp_path / "a", "--level-column", "t_n"), made)


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(source, tmp_path, refused, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    assert "GB are free there; choose another --out" in refused(source, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_complete_set_is_read_and_left_as_it_is(photos, made, tmp_path, corrupt, monkeypatch, capsys):
    """Wherever set and images have been moved, and without a model being loaded."""
    monkeypatch.setattr(shards, "Corruptor", None)
    out = Path(shutil.copytree(made, tmp_path / "moved"))
    corrupt(photos, out, "--level-column", "t_n", "--batch", 3, "--upscale", "--skip-unreadable")
    assert "is complete; every file was read, and is whole" in capsys.readouterr().out
    assert not (out / "checkpoints").exists()
    assert same_files(out, made)


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def flip_a_bit(file: Path) -> None:
    payload = bytearray(file.read_bytes())
    payload[-1] ^= 1
    file.write_bytes(payload)


def take_another(file: Path) -> None:
    shutil.copy(file.parent / FILES[0], file)


@pytest.mark.parametrize(
    ("damage", "name", "sealed"),
    [
        (cut_short, FILES[1], True),
        (cut_short, FILES[1], False),
        (flip_a_bit, FILES[2], True),
        (flip_a_bit, FILES[3], True),
        (take_another, FILES[1], True),
        (take_another, FILES[1], False),
        (cut_short, FILES[4], True),
    ],
)
def test_a_damaged_or_foreign_file_is_made_again(photos, made, tmp_path, corrupt, damage, name, sealed):
    """To the bit, wherever the images lie; without a seal a file is known by its length, and by what it says of itself."""
    out = Path(shutil.copytree(made, tmp_path / "a"))
    damage(out / name)
    if not sealed:
        (out / "manifest.json").unlink()
    assert not same_files(out, made)
    moved = photos.rename(tmp_path / "moved")
    corrupt(moved, out, "--level-column", "t_n")
    assert NoisySet(out).digest == NoisySet(made).digest
    assert all((out / file).read_bytes() == (made / file).read_bytes() for file in FILES[:4])


def test_a_shard_too_many_is_refused(source, made, tmp_path, refused):
    out = Path(shutil.copytree(made, tmp_path / "a"))
    shutil.copy(out / FILES[0], out / "shard_00003.safetensors")
    assert "shard_00003.safetensors is not of this set, which has 3 shards; remove it" in refused(
        source, out, "--level-column", "t_n"
    )


# nothing stale


def another_image(photos: Path) -> None:
    pixels(9).save(photos / "3.png")


def another_caption(photos: Path) -> None:
    rewrite(photos, "caption 3", "caption 33")


def another_level(photos: Path) -> None:
    rewrite(photos, '"t_n": 999', '"t_n": 998')


def another_key(photos: Path) -> None:
    (photos / "3.png").rename(photos / "33.png")
    rewrite(photos, "3.png", "33.png")


def rewrite(photos: Path, old: str, new: str) -> None:
    listed = photos / "metadata.jsonl"
    listed.write_text(listed.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("change", "words", "named"),
    [
        (another_image, (), "data.images: "),
        (another_key, (), "data.images: "),
        (another_caption, (), "data.captions: "),
        (another_level, (), "data.levels: "),
        (None, ("--seed", 1), "seed: "),
        (None, ("--resolution", 32), "to 32 by Lanczos, center crop')"),
        (None, ("--crop", "random"), "random crop')"),
        (None, ("--dtype", "float16"), "dtype: 'float32', asked for 'float16'"),
        (None, ("--vae-dtype", "bfloat16"), "vae_dtype: 'float32', asked for 'bfloat16'"),
        (None, ("--images", 4), "data.count: 5, asked for 4"),
        (None, ("--shard", 3), "shard: 2, asked for 3"),
    ],
)
def test_a_set_made_from_something_else_is_not_picked_up(photos, made, tmp_path, refused, change, words, named):
    out = Path(shutil.copytree(made, tmp_path / "a"))
    if change:
        change(photos)
    message = refused(photos, out, "--level-column", "t_n", *words)
    assert "holds a run with another config" in message
    assert named in message
    assert same_files(out, made)


@pytest.mark.parametrize("part", ["vae", "text_encoder", "text_encoder_2", "scheduler"])
def test_a_set_made_with_another_model_is_not_picked_up(source, made, tmp_path, tiny_base, part):
    base = Path(shutil.copytree(tiny_base.folder, tmp_path / "base"))
    if part == "scheduler":
        settings = base / "scheduler" / "scheduler_config.json"
        settings.write_text(settings.read_text().replace("0.012", "0.011"))
    else:
        file = next((base / part).glob("*.safetensors"))
        weights = load_file(file)
        weights[min(weights)] += 1
        save_file(weights, file, metadata={"format": "pt"})
    out = Path(shutil.copytree(made, tmp_path / "a"))
    words = [*common(Base(base), source, out), "--resolution", 64, "--level-column", "t_n"]
    named = {"scheduler": "schedule"}.get(part, f"models.{part}")
    assert f"{named}: " in refusal("corrupt", *words)


def test_an_image_that_changes_meanwhile_is_refused(photos, tmp_path, refused, monkeypatch):
    after(1, lambda: pixels(9).save(photos / "4.png"), monkeypatch)
    assert "4.png has changed since the command began" in refused(photos, tmp_path / "a", "--batch", 1)


# what goes wrong


def overflowing(base: Base, folder: Path) -> Path:
    """A VAE by itself, as on the hub, whose activations leave float16: the channels in the middle are a million times larger."""
    vae = AutoencoderKL.from_pretrained(base.folder / "vae")
    with torch.no_grad():
        vae.encoder.conv_in.weight.mul_(1e6)
    vae.save_pretrained(folder)
    return folder


def test_a_latent_that_is_not_finite_stops_it_with_the_images_name(source, tmp_path, corrupt, refused, tiny_base):
    vae = overflowing(tiny_base, tmp_path / "vae")
    message = refused(source, tmp_path / "a", "--vae", vae, "--vae-dtype", "float16")
    assert message.startswith("the VAE's latent of 0.png is not finite")
    assert "--vae-dtype float32" in message
    out = corrupt(source, tmp_path / "b", "--vae", vae)
    assert NoisySet(out).manifest.vae == Base(vae).fingerprint("vae") != tiny_base.fingerprint("vae")


def test_too_little_memory_is_told(source, tmp_path, refused, monkeypatch):
    def out_of_memory(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(corruptor, "latent", out_of_memory)
    assert refused(source, tmp_path / "a").startswith("out of memory; take --vae-dtype bfloat16")


def test_images_that_cannot_be_read_are_left_out_only_if_asked(photos, tmp_path, corrupt, refused, capsys):
    (photos / "1.png").unlink()
    (photos / "3.png").write_bytes((photos / "3.png").read_bytes()[:-40])
    message = refused(photos, tmp_path / "a")
    assert "2 of 5 images" in message
    assert "cannot be read (1.png does not exist, 3.png is damaged" in message
    assert "--skip-unreadable" in message
    out = corrupt(photos, tmp_path / "a", "--skip-unreadable")
    assert "left out 2 of 5 images, which cannot be read: 1.png does not exist, 3.png is damaged" in capsys.readouterr().out
    data = NoisySet(out)
    assert [key for key, _ in data.labels] == ["0.png", "2.png", "4.png"]
    assert [left.split()[0] for left in data.manifest.left_out] == ["1.png", "3.png"]


def test_an_image_that_is_there_twice_is_refused_unless_it_is_wanted(photos, made, tmp_path, corrupt, refused, capsys):
    """Two noises of one image leak half of each. What is refused for it is not written; the others keep their noise."""
    shutil.copy(photos / "3.png", photos / "3 (1).png")
    words = ("--caption", "a copy", "--key-column", "", "--images", 5)
    message = refused(photos, tmp_path / "a", *words)
    assert "3 (1).png = 3.png" in message
    assert "--keep-duplicates" in message
    assert not (tmp_path / "a").exists()
    data = NoisySet(corrupt(photos, tmp_path / "a", *words, "--keep-duplicates"))
    assert "3 (1).png = 3.png" in capsys.readouterr().out
    assert torch.equal(data.rows([0])["x_n"], NoisySet(made).rows([0])["x_n"])
    assert [key for key, _ in data.labels] == ["0.png", "1.png", "2.png", "3 (1).png", "3.png"]
    assert not torch.equal(data.rows([3])["x_n"], data.rows([4])["x_n"])


def test_what_lies_beside_the_images_does_not_change_their_noise(photos, made, tmp_path, corrupt):
    (photos / ".thumbnails").mkdir()
    shutil.copy(photos / "3.png", photos / ".thumbnails" / "3.png")
    (photos / ".cache").mkdir()
    (photos / ".cache" / "part.parquet").write_bytes(b"of another program")
    assert same_files(corrupt(photos, tmp_path / "a", "--level-column", "t_n"), made)


def test_a_set_with_transparent_images_says_what_lies_behind_them(photos, made, tmp_path, corrupt):
    """White; of opaque images nothing is said, and their sets are as they were."""
    layered = pixels(3)
    layered.putalpha(128)
    layered.save(photos / "3.png")
    corrupt(photos, tmp_path / "a", "--level-column", "t_n")
    transforms = [yaml.safe_load((out / "config.yaml").read_text())["transform"] for out in (tmp_path / "a", made)]
    assert ["white" in transform for transform in transforms] == [True, False]


def test_small_images_are_enlarged_only_if_asked(photos, tmp_path, corrupt, refused):
    pixels(3, 60, 90).save(photos / "2.png")
    assert refused(photos, tmp_path / "a").startswith("1 of 5 images are smaller than 64 pixels (2.png 60x90)")
    assert NoisySet(corrupt(photos, tmp_path / "a", "--upscale")).rows([2])["time_ids"].tolist() == [[90, 60, 16, 0, 64, 64]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--t-n", 1000), "t_n must be one of the schedule's times 1 .. 999, or 0 for a clean image; got 1000 for 0.png"),
        (("--t-n", -1), "--t-n must be at least 0; got -1"),
        (("--t-n", 1.5), "--t-n must be a whole number; got '1.5'"),
        (("--level-column", "tn"), "no column 'tn' for --level-column; did you mean t_n?"),
        (("--caption-column", "txt"), "did you mean text?"),
        (("--resolution", 60), "--resolution must be a multiple of 8"),
        (("--resolution", 1024), "(8 latents of 8 pixels, as "),
        (("--resolution", 1024), "take --resolution 64"),
        (("--images", 0), "--images must be at least 1"),
        (("--vae", "/nowhere"), "/nowhere is no folder"),
        (("--base", "/nowhere"), "/nowhere is no folder"),
        (("--dtype", "float8"), "--dtype does not know 'float8'"),
        (("--crop", "middle"), "--crop does not know 'middle'"),
        (("--data", ""), "--data must not be empty"),
        (("--t-n", 500, "--level-column", "t_n"), "give one of them"),
    ],
)
def test_mistakes_are_told_in_one_line_and_nothing_is_written(source, tmp_path, refused, words, said):
    assert said in refused(source, tmp_path / "a", *words)
    assert not (tmp_path / "a").exists()


def test_a_base_on_the_hub_without_a_network_is_told(source, tmp_path, refused, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "cannot fetch nobody/sdxl from the hub" in refused(source, tmp_path / "a", "--base", "nobody/sdxl")


def test_a_folder_of_something_else_is_left_alone(source, tmp_path, refused):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.tex").write_text("years of work")
    assert "is not empty and holds no run (thesis.tex, ...)" in refused(source, tmp_path / "a")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["thesis.tex"]


def test_a_dry_run_says_the_plan_and_writes_nothing(source, tmp_path, corrupt, capsys):
    corrupt(source, tmp_path / "a", "--level-column", "t_n", "--dry-run")
    plan = yaml.safe_load("\n".join(line for line in capsys.readouterr().out.splitlines() if not line.startswith("warning")))
    assert (plan["images"], plan["shard"]) == ("5, 1 at t_n = 0, 1 at t_n = 100, 2 at t_n = 500, 1 at t_n = 999", 2)
    numbers = 5 * (4 * 8 * 8 + 77 * 64 + 32)
    assert plan["writes"] == f"3 shards, {4 * numbers / 1e9:.3g} GB"
    assert not (tmp_path / "a").exists()


def test_few_images_and_long_captions_are_warned_of(photos, tmp_path, corrupt, capsys):
    rewrite(photos, "caption 3", "a long story " * 30)
    corrupt(photos, tmp_path / "a")
    said = capsys.readouterr().out
    assert "warning: 5 images; the paper reports that it did not work on fewer than 100" in said
    assert "warning: 1 captions are longer than the text encoders read, and are cut (first: a long story" in said
    assert "5 images in 3 shards, 0.1 MB, 5 at t_n = 500" in said
