"""The model that is fine-tuned: its levels, what its network says, where it is found, how it is told from another."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from safetensors.torch import load_file, save_file

from ambient.runs import UserError
from sdxl.base import Base, UNetNetwork, denoiser, find, guided


@pytest.fixture
def copied(tiny_base, tmp_path) -> Base:
    """The tiny SDXL once more, to be changed."""
    return Base(Path(shutil.copytree(tiny_base.folder, tmp_path / "copied")))


def change_settings(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def inputs(images: int = 2, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """(x_t, t, condition) for the tiny SDXL."""
    source = torch.Generator().manual_seed(seed)
    condition = {
        "prompt_embeds": torch.randn(images, 77, 64, generator=source),
        "pooled": torch.randn(images, 32, generator=source),
        "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]] * images),
    }
    return torch.randn(images, 4, 8, 8, generator=source), torch.tensor([900.0, 100.0])[:images].double(), condition


def test_levels_are_the_papers(tiny_base):
    """Paper: Sec. 4.2, to the four digits that a table of SDXL's schedule gives."""
    sigma = tiny_base.path()(torch.tensor([100.0, 500.0, 800.0])).sigma
    torch.testing.assert_close(sigma, torch.tensor([0.3252, 0.8507, 0.9814], dtype=torch.float64), rtol=0, atol=5e-5)


@pytest.mark.parametrize(("prediction", "ours"), [("epsilon", "eps"), ("v_prediction", "v"), ("sample", "x_0")])
def test_predictions_are_read_as_diffusers_reads_them(copied, prediction, ours):
    """The same network, said to predict another thing: x_0 as diffusers' DDIM has it, to float32."""
    change_settings(copied.folder / "scheduler/scheduler_config.json", prediction_type=prediction)
    assert copied.prediction() == ours
    x_t, t, condition = inputs()
    unet = copied.unet()
    h = denoiser(unet, copied.path(), ours)(x_t, t, condition)
    said = UNetNetwork(unet)(x_t, t, condition)
    scheduler = DDIMScheduler.from_config(copied.schedule(), clip_sample=False)
    scheduler.set_timesteps(25)
    for i in range(2):
        theirs = scheduler.step(said[i], int(t[i]), x_t[i]).pred_original_sample
        torch.testing.assert_close(h[i], theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))


def test_a_network_in_bfloat16_answers_in_float32(tiny_base):
    x_t, t, condition = inputs()
    exact, coarse = (UNetNetwork(tiny_base.unet(dtype))(x_t, t, condition) for dtype in (torch.float32, torch.bfloat16))
    assert coarse.dtype == torch.float32
    assert 0 < float((coarse - exact).norm() / exact.norm()) < 0.1  # bfloat16 has 8 bits: it differs, by little


def test_weights_lie_where_a_device_would_put_them(tiny_base):
    """In the file they do not; a product's last bits depend on it, and so would images on the number of processes."""
    models = [tiny_base.unet(), tiny_base.vae(), *tiny_base.encoders()[1]]
    assert {weight.data_ptr() % 64 for model in models for weight in model.parameters()} == {0}
    assert not any(weight.requires_grad for model in models for weight in model.parameters())


def test_guidance_of_one_is_none_and_of_two_is_twice_the_difference(tiny_base):
    x_t, t, condition = inputs()
    h = denoiser(tiny_base.unet(), tiny_base.path(), "eps")
    null = {"prompt_embeds": torch.zeros(1, 77, 64), "pooled": torch.zeros(1, 32)}
    assert guided(h, null, 1.0) is h
    with_caption, without = h(x_t, t, condition), guided(h, null, 0.0)(x_t, t, condition)
    assert not torch.allclose(with_caption, without)
    torch.testing.assert_close(guided(h, null, 2.0)(x_t, t, condition), 2 * with_caption - without)
    zeroed = condition | {"prompt_embeds": torch.zeros(2, 77, 64), "pooled": torch.zeros(2, 32)}
    torch.testing.assert_close(without, h(x_t, t, zeroed), rtol=0, atol=0)


def test_parts_keep_their_fingerprint_when_copied_or_saved_again(tiny_base, copied, tmp_path):
    for part in ("unet", "vae", "text_encoder"):
        assert copied.fingerprint(part) == tiny_base.fingerprint(part)
    copied.unet().save_pretrained(tmp_path / "again/unet")
    assert Base(tmp_path / "again").fingerprint("unet") == tiny_base.fingerprint("unet")


def test_one_weight_or_one_setting_changes_the_fingerprint(tiny_base, copied):
    file = copied.folder / "vae/diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    name = sorted(weights)[len(weights) // 2]
    weights[name] = weights[name] + 1e-6
    save_file(weights, file, metadata={"format": "pt"})
    change_settings(copied.folder / "unet/config.json", sample_size=16)
    for part in ("unet", "vae"):
        assert copied.fingerprint(part) != tiny_base.fingerprint(part)
    assert copied.fingerprint("text_encoder") == tiny_base.fingerprint("text_encoder")


def test_files_that_are_not_loaded_do_not_count(tiny_base, copied):
    """A folder of the hub also holds weights in float16 and for other programs, if someone fetched all of it."""
    for name in ("diffusion_pytorch_model.fp16.safetensors", "sdxl_vae.safetensors"):
        shutil.copy(copied.folder / "unet/diffusion_pytorch_model.safetensors", copied.folder / "vae" / name)
    assert copied.fingerprint("vae") == tiny_base.fingerprint("vae")


def test_a_vae_that_stands_alone_is_found(tiny_base, tmp_path):
    alone = Base(Path(shutil.copytree(tiny_base.folder / "vae", tmp_path / "vae_alone")))
    assert alone.fingerprint("vae") == tiny_base.fingerprint("vae")
    assert alone.pixels() == 8
    assert alone.vae().config.scaling_factor == 0.13025


def test_settings_that_cannot_be_read_are_one_clear_line(copied):
    for file, read in (("vae/config.json", copied.pixels), ("scheduler/scheduler_config.json", copied.path)):
        (copied.folder / file).write_text("{")
        with pytest.raises(UserError, match=rf"{file} is no JSON [^\n]+$"):
            read()


def test_another_schedule_has_another_digest(tiny_base, copied):
    change_settings(copied.folder / "scheduler/scheduler_config.json", steps_offset=0)
    assert copied.schedule_digest() == tiny_base.schedule_digest()  # the same levels
    change_settings(copied.folder / "scheduler/scheduler_config.json", beta_end=0.013)
    assert copied.schedule_digest() != tiny_base.schedule_digest()


@pytest.mark.parametrize("source", ["stable-diffusion", "./nothing", "/nothing/at/all", "~/sdxl", "one/two/three"])
def test_words_that_are_neither_folder_nor_hub_id_are_refused(source):
    with pytest.raises(UserError, match=f"{source} is no folder, and no hub id such as stabilityai"):
        find(source, parts=("unet",))


def test_a_hub_id_without_network_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"cannot fetch nobody/sdxl .*; where there is a network run `hf download nobody/sdxl`"):
        find("nobody/sdxl", parts=("unet",))


def test_a_folder_without_the_part_is_no_sdxl(tmp_path):
    with pytest.raises(UserError, match=r"has no unet/: that is no SDXL as diffusers saves it"):
        find(str(tmp_path), parts=("unet",)).unet()


def test_damaged_weights_are_one_clear_line(copied):
    file = copied.folder / "unet/diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(UserError, match=r"cannot load .*unet: [^\n]+$"):
        copied.unet()
    file.unlink()
    with pytest.raises(UserError, match=r"cannot load .*unet: [^\n]+$"):
        copied.unet()
