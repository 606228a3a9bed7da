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

from harness.errors import UserError
from sdxl.model.base import Base, find
from sdxl.model.unet import UNetNetwork, denoiser, guided


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


LOADS = {
    "unet": ("unet/diffusion_pytorch_model.safetensors", lambda base: base.unet()),
    "vae": ("vae/diffusion_pytorch_model.safetensors", lambda base: base.vae()),
    "text_encoder": ("text_encoder/model.safetensors", lambda base: base.encoders()),
    "text_encoder_2": ("text_encoder_2/model.safetensors", lambda base: base.encoders()),
}


@pytest.mark.parametrize("part", LOADS)
@pytest.mark.parametrize("fault", ["4 missing", "1 unexpected (strange", "1 of another shape"])
def test_weights_that_are_not_those_of_the_model_are_refused_by_name(copied, part, fault):
    """transformers and diffusers would draw what is missing at random, anew in each run, and pass over the rest."""
    file, load = LOADS[part][0], LOADS[part][1]
    weights = load_file(copied.folder / file)
    names = sorted(weights)[:4]
    if "missing" in fault:
        weights = {name: value for name, value in weights.items() if name not in names}
    elif "unexpected" in fault:
        weights["strange"] = torch.zeros(1)
    else:
        weights[names[0]] = torch.cat([weights[names[0]]] * 2)
    save_file(weights, copied.folder / file, metadata={"format": "pt"})
    with pytest.raises(UserError) as caught:
        load(copied)
    said = str(caught.value)
    assert f"the weights in {copied.folder / part} are not those of its config.json: {fault}" in said
    assert ("strange" if "unexpected" in fault else names[0]) in said
    assert "\n" not in said


@pytest.mark.parametrize("part", LOADS)
def test_files_of_weights_that_are_not_whole_are_refused_before_anything_is_loaded(copied, part):
    """By the fingerprint too, which all commands take before they write."""
    file = copied.folder / LOADS[part][0]
    right, half = file.read_bytes(), file.with_suffix(".fp16.safetensors")

    def refused(remedy: str) -> None:
        for look in (LOADS[part][1], lambda base: base.fingerprint(part)):
            with pytest.raises(UserError, match=rf"{file.parent}.*{remedy}[^\n]*$"):
                look(copied)

    for length in (-1000, 1000, 4, 0):
        file.write_bytes(right[:length])
        refused("is damaged.*fetch the model again")
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    refused("git lfs pull")
    file.unlink()
    refused("has no weights: expected model.safetensors")
    half.write_bytes(right)
    refused(f"rename {half.name} to {file.name}")
    half.rename(file)
    LOADS[part][1](copied)


@pytest.mark.parametrize(
    ("file", "said"), [("tokenizer.json", "has no vocabulary"), ("tokenizer_config.json", "model_max_length must be 77")]
)
def test_a_tokenizer_that_is_not_whole_is_refused(copied, file, said):
    """transformers makes an empty one of what is left, and all captions would be one."""
    (copied.folder / "tokenizer_2" / file).unlink()
    with pytest.raises(UserError, match=rf"tokenizer_2.*{said}"):
        copied.encoders()


def test_text_encoders_by_the_names_of_the_hub_are_the_same(tiny_base, copied):
    """SDXL's own files have text_model. before each name, and the positions, which no newer model stores."""
    file = copied.folder / "text_encoder/model.safetensors"
    weights = {f"text_model.{name.removeprefix('text_model.')}": value for name, value in load_file(file).items()}
    positions = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    save_file(weights | positions, file, metadata={"format": "pt"})
    one, other = (base.encoders()[1][0](torch.tensor([[1, 2, 3]])).last_hidden_state for base in (tiny_base, copied))
    assert torch.equal(one, other)


EDM = {
    "_class_name": "EDMDPMSolverMultistepScheduler",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "sigma_max": 80,
}
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (EDM, "EDMDPMSolverMultistepScheduler has no beta_schedule"),
        (FLOW, "FlowMatchEulerDiscreteScheduler has no beta_schedule"),
        ({"prediction_type": "flow_prediction"}, "prediction_type must be one of epsilon, v_prediction, sample"),
        ({"prediction_type": None}, "prediction_type must be one of"),
        ({"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True}, "use_flow_sigmas"),
        ({"timestep_type": "continuous"}, "timestep_type"),
        ({"_class_name": "CogVideoXDDIMScheduler"}, "its levels are not those that its betas give"),
        ({"_class_name": "NoScheduler"}, "the schedule of NoScheduler is not understood"),
        ({"beta_schedule": "strange"}, "is not understood"),
        ({"rescale_betas_zero_snr": True}, "prediction_type is epsilon, but the schedule ends in pure noise"),
    ],
)
def test_schedules_that_are_not_understood_are_refused(copied, change, said):
    """diffusers would take its own betas and epsilon for what is missing."""
    file = copied.folder / "scheduler/scheduler_config.json"
    if change in (EDM, FLOW):
        file.write_text("{}")
    change_settings(file, **change)
    for read in (copied.path, copied.prediction, lambda: copied.identity("scheduler")):
        with pytest.raises(UserError, match=rf"{file}: .*{said}[^\n]*$"):
            read()


@pytest.mark.parametrize("name", ["DDPMScheduler", "DDIMScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler"])
def test_schedulers_of_one_schedule_give_the_same_levels(tiny_base, copied, name):
    change_settings(copied.folder / "scheduler/scheduler_config.json", _class_name=name)
    assert copied.schedule_digest() == tiny_base.schedule_digest()
    assert copied.last_noisy_time() == 999


def test_the_last_time_of_a_schedule_that_ends_in_pure_noise_holds_no_image(copied):
    change_settings(
        copied.folder / "scheduler/scheduler_config.json", rescale_betas_zero_snr=True, prediction_type="v_prediction"
    )
    assert float(copied.path()(999).alpha) == 0
    assert copied.last_noisy_time() == 998


CHANGES = {
    "unet": ("unet/config.json", {"sample_size": 16}),
    "vae": ("vae/config.json", {"scaling_factor": 1.0}),
    "text_encoder": ("text_encoder/config.json", {"layer_norm_eps": 1e-4}),
    "tokenizer_2": ("tokenizer_2/tokenizer_config.json", {"pad_token": "!"}),
    "no_caption": ("model_index.json", {"force_zeros_for_empty_prompt": False}),
    "prediction": ("scheduler/scheduler_config.json", {"prediction_type": "v_prediction"}),
    "schedule": ("scheduler/scheduler_config.json", {"beta_end": 0.013}),
    "timesteps": ("scheduler/scheduler_config.json", {"timestep_spacing": "trailing"}),
    "scheduler": ("scheduler/scheduler_config.json", {"_class_name": "DDIMScheduler"}),
}
EVERY = ("unet", "vae", "scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_result_depends_on_is_part_of_the_identity(tiny_base, copied, name):
    file, change = CHANGES[name]
    before = tiny_base.identity(*EVERY)
    assert copied.identity(*EVERY) == before
    change_settings(copied.folder / file, **change)
    after = copied.identity(*EVERY)
    assert {key for key in before if before[key] != after[key]} == {name}


def test_merges_of_a_tokenizer_are_part_of_the_identity(copied):
    """As the hub's SDXL has them: vocab.json and merges.txt instead of tokenizer.json."""
    file = copied.folder / "tokenizer/merges.txt"
    file.write_text("#version: 0.2\n")
    before = copied.fingerprint("tokenizer")
    file.write_text("#version: 0.2\na b\n")
    assert copied.fingerprint("tokenizer") != before


SHAPES = {"x_n": (4, 8, 8), "prompt_embeds": (77, 64), "pooled": (32,)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"addition_embed_type": None}, "addition_embed_type must be text_time.*found None"),  # Stable Diffusion 1.5
        ({"cross_attention_dim": 48}, "cross_attention_dim must be 64 .*found 48"),
        ({"projection_class_embeddings_input_dim": 72}, "must be 80 .*found 72"),  # the refiner has five sizes, not six
        ({"in_channels": 9}, "in_channels must be 4 .*found 9; a UNet for inpainting is for `attack mask --fill inpainting`"),
        ({"in_channels": 16, "out_channels": 16}, "in_channels must be 4 .*found 16$"),
        ({"in_channels": "4"}, "in_channels must be a whole number"),
    ],
)
def test_a_unet_that_is_not_sdxls_is_refused(copied, change, said):
    copied.fit(SHAPES, "the set")
    change_settings(copied.folder / "unet/config.json", **change)
    with pytest.raises(UserError, match=said):
        copied.fit(SHAPES, "the set")


def test_a_unet_for_inpainting_will_do_where_it_is_asked_for(copied):
    change_settings(copied.folder / "unet/config.json", in_channels=9)
    copied.fit(SHAPES, "the set", inpainting=True)
