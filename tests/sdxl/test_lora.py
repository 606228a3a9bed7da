"""LoRA files: what is saved is what a stock pipeline, without this project, paints with."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from safetensors.torch import load_file, save_file

from ambient.randomness import generator
from harness.errors import UserError
from sdxl.model import lora
from sdxl.model.unet import UNetNetwork
from tests.sdxl.conftest import about
from tests.sdxl.test_base import inputs

ELSEWHERE = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("ambient", "sdxl", "toy", "tests"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
for name in ("ambient", "sdxl"):
    try:
        __import__(name)
        raise SystemExit(f"{name} can be imported here")
    except ModuleNotFoundError:
        pass

import numpy, torch
from diffusers import DDIMScheduler, StableDiffusionXLPipeline

torch.set_num_threads(1)
base, out, *loras = sys.argv[1:]
for number, lora in enumerate(loras):
    pipeline = StableDiffusionXLPipeline.from_pretrained(base)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    pipeline.load_lora_weights(lora)
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    image = pipeline("a cat", latents=latents, num_inference_steps=2, output_type="np").images
    numpy.save(f"{out}/{number}.npy", image)
assert not {"ambient", "sdxl", "toy", "tests"} & set(sys.modules), "imported"
"""


def trained(unet, *, alpha: float, rank: int = 4, layers: str = "attention") -> dict[str, torch.Tensor]:
    """Give a UNet adapters as they are after training: none of them 0."""
    lora.add(unet, rank=rank, alpha=alpha, seed=0, layers=layers)
    source = generator(0, "trained")
    lora.restore(unet, {name: 0.1 * torch.randn(value.shape, generator=source) for name, value in lora.weights(unet).items()})
    return lora.weights(unet)


def answer(unet) -> torch.Tensor:
    """What a UNet says to one input."""
    with torch.no_grad():
        return UNetNetwork(unet)(*inputs())


@pytest.fixture(scope="module")
def once(tiny_base, tmp_path_factory) -> Path:
    """The file of a trained LoRA."""
    folder, unet = tmp_path_factory.mktemp("lora"), tiny_base.unet()
    lora.save(folder, unet, trained(unet, alpha=4), about(tiny_base))
    return folder / lora.FILE


@pytest.fixture
def file(once, tmp_path) -> Path:
    """That file once more, to be changed."""
    return Path(shutil.copy(once, tmp_path))


def test_a_stock_pipeline_without_this_project_paints_the_same(tiny_base, tmp_path):
    """Bitwise, with alpha equal to the rank and not: the images of a stock pipeline that holds the trained UNet itself."""
    ours = []
    for alpha in (4, 16):
        pipeline = StableDiffusionXLPipeline.from_pretrained(tiny_base.folder)
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
        pipeline.set_progress_bar_config(disable=True)
        state = trained(pipeline.unet, alpha=alpha)
        lora.save(tmp_path / f"alpha_{alpha}", pipeline.unet, state, about(tiny_base))
        latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        ours.append(pipeline("a cat", latents=latents, num_inference_steps=2, output_type="np").images)  # type: ignore
    folders = [str(tmp_path / f"alpha_{alpha}") for alpha in (4, 16)]
    words = [sys.executable, "-I", "-c", ELSEWHERE, str(tiny_base.folder), str(tmp_path), *folders]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    theirs = [np.load(tmp_path / f"{number}.npy") for number in range(2)]
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.abs(ours[0] - ours[1]).max() > 0.01  # alpha matters: if it were lost, the two would be one


def test_a_fresh_lora_changes_nothing(tiny_base):
    unet = tiny_base.unet()
    before = answer(unet)
    parameters = lora.add(unet, rank=4, alpha=4, seed=0)
    assert torch.equal(answer(unet), before)
    assert parameters
    assert all(parameter.dtype == torch.float32 and parameter.requires_grad for parameter in parameters)


def test_each_choice_of_layers_adds_to_the_one_before(tiny_base):
    names = []
    for layers in lora.LAYERS:
        unet = tiny_base.meta_unet()
        lora.add(unet, rank=4, alpha=4, seed=0, layers=layers)
        names.append({name.partition(".lora_")[0] for name, weight in unet.named_parameters() if weight.requires_grad})
    attention, feed_forward, convolutions = names
    assert all(".attn" in name for name in attention)
    assert feed_forward > attention
    assert all(".ff.net." in name for name in feed_forward - attention)
    assert convolutions > feed_forward
    assert all(".resnets." in name and ".conv" in name for name in convolutions - feed_forward)


@pytest.mark.parametrize("layers", lora.LAYERS)
def test_a_lora_of_any_layers_comes_back_from_its_file(tiny_base, tmp_path, layers):
    """In our commands, in a stock pipeline, and as the start of another training of the same layers alone."""
    unet = tiny_base.unet()
    lora.save(tmp_path, unet, trained(unet, alpha=8, layers=layers), about(tiny_base))
    expected = answer(unet)
    found = lora.opened(str(tmp_path), tiny_base)
    assert (found.rank, found.alpha) == (4, 8)
    torch.testing.assert_close(answer(lora.adapted(tiny_base, found, torch.float32)), expected, rtol=0, atol=1e-6)
    pipeline = StableDiffusionXLPipeline.from_pretrained(tiny_base.folder)
    pipeline.load_lora_weights(str(tmp_path))
    torch.testing.assert_close(answer(pipeline.unet), expected, rtol=0, atol=1e-6)
    for other in lora.LAYERS:
        if other == layers:
            lora.refuse_start(found, tiny_base, rank=4, alpha=8, layers=other)
        else:
            with pytest.raises(UserError, match=f"than --layers {other} trains"):
                lora.refuse_start(found, tiny_base, rank=4, alpha=8, layers=other)


def test_weights_of_the_lora_are_float32_on_a_base_in_bfloat16(tiny_base):
    unet = tiny_base.unet(torch.bfloat16)
    assert {parameter.dtype for parameter in lora.add(unet, rank=4, alpha=4, seed=0)} == {torch.float32}
    frozen = {parameter.dtype for parameter in unet.parameters() if not parameter.requires_grad}
    assert frozen == {torch.bfloat16}


def test_the_seed_alone_decides_how_a_lora_starts(tiny_base):
    found = []
    for seed, disturbance in ((0, 1), (0, 2), (1, 2)):
        unet = tiny_base.unet()
        torch.manual_seed(disturbance)
        lora.add(unet, rank=4, alpha=4, seed=seed)
        found.append(lora.weights(unet))
    name = next(name for name in found[0] if "lora_A" in name)
    assert torch.equal(found[0][name], found[1][name])
    assert not torch.equal(found[0][name], found[2][name])


def test_weights_put_back_are_the_same_bits(tiny_base):
    first, second = tiny_base.unet(), tiny_base.unet()
    state = trained(first, alpha=4)
    lora.add(second, rank=4, alpha=4, seed=7)
    lora.restore(second, state)
    assert all(torch.equal(state[name], value) for name, value in lora.weights(second).items())
    assert torch.equal(answer(first), answer(second))


@pytest.mark.parametrize("alpha", [4, 16])
def test_a_file_gives_back_rank_alpha_and_bits(tiny_base, tmp_path, alpha):
    first, second = tiny_base.unet(), tiny_base.unet()
    state = trained(first, alpha=alpha)
    lora.save(tmp_path, first, state, about(tiny_base, alpha=alpha))
    said = lora.about(tmp_path / lora.FILE)
    assert said is not None
    assert replace(said, weights=None) == about(tiny_base, alpha=alpha)
    found = lora.opened(str(tmp_path), tiny_base)
    assert (found.rank, found.alpha, found.about) == (4, alpha, said)
    assert all(torch.equal(value, state[name]) for name, value in found.state.items())
    lora.attach(second, found)
    settings = second.peft_config["default"]
    assert (settings.r, settings.lora_alpha) == (4, alpha)
    assert torch.equal(answer(first), answer(second))


@pytest.mark.parametrize(("name", "other"), [("base", "0" * 16), ("schedule", "0" * 16), ("prediction", "v")])
def test_a_lora_of_another_base_is_refused(tiny_base, tmp_path, name, other):
    unet, known = tiny_base.unet(), tiny_base.identity("unet", "scheduler")
    state, same = trained(unet, alpha=4), replace(about(tiny_base), schedule=known["schedule"], prediction=known["prediction"])
    lora.save(tmp_path, unet, state, same)
    assert lora.opened(str(tmp_path), tiny_base).rank == 4
    lora.save(tmp_path, unet, state, replace(same, **{name: other}))
    with pytest.raises(UserError, match=rf"was trained on another base than {tiny_base.folder}: .* is {other}, here "):
        lora.opened(str(tmp_path), tiny_base)


def test_weights_of_another_rank_are_refused(tiny_base):
    first, second = tiny_base.unet(), tiny_base.unet()
    state = trained(first, alpha=4)
    lora.add(second, rank=2, alpha=4, seed=0)
    with pytest.raises(UserError, match="other layers or another rank"):
        lora.restore(second, state)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda state: {}, "holds no LoRA of a UNet"),
        (lambda state: {name.replace("unet.", "text_encoder."): value for name, value in state.items()}, "no LoRA of a UNet"),
        (lambda state: {name.replace("mid_block", "end_block"): value for name, value in state.items()}, "of its 64 weights"),
        (lambda state: {name: torch.cat([value, value]) for name, value in state.items()}, "Error"),
        (lambda state: {name: value for name, value in state.items() if "lora_A" in name}, "Error"),
        (lambda state: {name: state[name] for name in sorted(state)[:-1]}, "weights missing: 1, as unet.up_blocks"),
        (lambda state: {name.replace("unet.", "base_model.model."): value for name, value in state.items()}, "no LoRA of a UNet"),
        (lambda state: state | {"text_encoder.q_proj.lora_A.weight": torch.zeros(4, 32)}, "also changes the text encoders"),
        (lambda state: {"lora_unet_x.weight": torch.zeros(3)}, "diffusers cannot read its names"),
    ],
    ids=["empty", "text encoder", "other layers", "other widths", "half", "one less", "peft", "text encoder too", "no names"],
)
def test_files_that_do_not_fit_are_refused_in_one_line(tiny_base, file, capfd, change, why):
    """Diffusers warns, and goes on without what it does not know. The file has no header of ours, as one from elsewhere."""
    save_file(change(load_file(file)), file, metadata={"format": "pt"})
    with pytest.raises(UserError, match=rf"{file.name}.*{why}") as caught:
        lora.opened(str(file), tiny_base)
    assert "\n" not in str(caught.value)
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""


def kohya(state: dict[str, torch.Tensor], alpha: Callable[[int], float]) -> dict[str, torch.Tensor]:
    """The same LoRA as kohya's scripts write it: their names, an alpha for each layer, in float16."""
    found = {}
    for number, name in enumerate(sorted(name for name in state if "lora_A" in name)):
        layer = name.removeprefix("unet.").removesuffix(".lora_A.weight")
        flat, up = "lora_unet_" + layer.replace(".", "_"), state[name.replace("lora_A", "lora_B")]
        found |= {f"{flat}.alpha": torch.tensor(alpha(number)), f"{flat}.lora_down.weight": state[name].half()}
        found[f"{flat}.lora_up.weight"] = up.half()
    return found


def old(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same LoRA by the names that diffusers used before it used peft."""
    found = {}
    for name, value in state.items():
        head, _, layer = name.replace(".to_out.0.", ".to_out.").partition(".to_")
        layer = layer.replace(".lora_A.", "_lora.down.").replace(".lora_B.", "_lora.up.")
        found[f"{head}.processor.to_{layer}"] = value
    return found


@pytest.mark.parametrize(
    "write", [lambda state: kohya(state, lambda _: 2.0), old, dict], ids=["kohya", "old diffusers", "no header"]
)
def test_loras_of_others_are_loaded_as_a_stock_pipeline_loads_them(tiny_base, file, write):
    save_file(write(load_file(file)), file)
    pipeline: Any = StableDiffusionXLPipeline.from_pretrained(tiny_base.folder)
    pipeline.load_lora_weights(str(file.parent), weight_name=file.name)
    found = lora.opened(str(file), tiny_base)
    assert (found.rank, found.alpha, found.about) == (4, 4, None)
    expected = answer(pipeline.unet)
    torch.testing.assert_close(answer(lora.adapted(tiny_base, found, torch.float32)), expected)
    assert float((expected - answer(tiny_base.unet())).abs().max()) > 0.01


def test_each_layer_of_a_lora_of_kohyas_keeps_its_own_alpha(tiny_base, file):
    """Diffusers 0.42 gives all layers of attention the commonest."""
    alphas, state = [2.0, 2.0, 40.0], load_file(file)
    save_file(kohya(state, lambda number: alphas[number % 3]), file)
    found = lora.opened(str(file), tiny_base)
    for number, down in enumerate(sorted(name for name in state if "lora_A" in name)):
        up = down.replace("lora_A", "lora_B")
        expected = state[up].half().float() @ state[down].half().float() * alphas[number % 3] / 4
        product = found.state[up.removeprefix("unet.")].float() @ found.state[down.removeprefix("unet.")].float()
        torch.testing.assert_close(product, expected)


def test_training_starts_from_a_lora_of_its_rank_alpha_and_layers_alone(tiny_base, once, file):
    found = lora.opened(str(once), tiny_base)
    lora.refuse_start(found, tiny_base, rank=4, alpha=4, layers="attention")
    for rank, alpha in ((8, 4), (4, 8)):
        with pytest.raises(UserError, match="take --rank 4 --alpha 4"):
            lora.refuse_start(found, tiny_base, rank=rank, alpha=alpha, layers="attention")
    with pytest.raises(UserError, match=r"other layers than --layers convolutions trains .*; take --layers attention"):
        lora.refuse_start(found, tiny_base, rank=4, alpha=4, layers="convolutions")
    state = load_file(file)
    save_file({name: value for name, value in state.items() if "mid_block" in name}, file)
    with pytest.raises(UserError, match=r"other layers than --layers attention trains \(to_q.*; no --layers trains the same"):
        lora.refuse_start(lora.opened(str(file), tiny_base), tiny_base, rank=4, alpha=4, layers="attention")
    half = {name: value[:2] if "lora_A" in name else value[:, :2].clone() for name, value in state.items() if "mid_block" in name}
    save_file(state | half, file)
    with pytest.raises(UserError, match="layers of several ranks or alphas"):
        lora.refuse_start(lora.opened(str(file), tiny_base), tiny_base, rank=4, alpha=4, layers="attention")


def test_a_changed_weight_is_found(tiny_base, file):
    payload = bytearray(file.read_bytes())
    payload[-100] ^= 0x55
    file.write_bytes(payload)
    for read in (lora.read, lambda file: lora.opened(str(file), tiny_base)):
        with pytest.raises(UserError, match="its weights are not those that were saved; copy it again"):
            read(file)


def test_damaged_and_missing_files_are_refused(tiny_base, file):
    payload = file.read_bytes()
    for damaged in (payload[:-100], b"", b"PK" + payload):
        file.write_bytes(damaged)
        for read in (lora.about, lora.read, lambda file: lora.opened(str(file), tiny_base)):
            with pytest.raises(UserError, match="is damaged, or no safetensors file"):
                read(file)
    file.unlink()
    for source in (file.parent, file):
        with pytest.raises(UserError, match=r"pytorch_lora_weights.safetensors does not exist; give a run directory"):
            lora.find(str(source))
