"""Feature extractors: what they see, how they are told apart, and what is said where one cannot be had."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ambient.randomness import generator
from harness.errors import UserError
from sdxl.evaluate.features import extractors as extract

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # of ImageNet


def images(count: int = 3, size: int = 64) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator(0, "images"))


class Means(nn.Module):
    """The mean of each colour: three numbers."""

    def __init__(self, scale: float = 1.0):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * x.float().mean((2, 3))


def double() -> nn.Module:
    return Means(2.0)


def broken() -> nn.Module:
    return nn.Flatten(2)


def no_module() -> int:
    return 3


def refused(word: str) -> str:
    with pytest.raises(UserError) as caught:
        extract.find(word)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory) -> str:
    """A DINOv2 as the hub has it, with random weights."""
    from transformers import BitImageProcessorPil, Dinov2Config, Dinov2Model

    folder = tmp_path_factory.mktemp("dinov2")
    torch.manual_seed(0)
    settings = Dinov2Config(hidden_size=24, num_hidden_layers=1, num_attention_heads=2, image_size=28, initializer_range=0.3)  # type: ignore[call-arg]
    Dinov2Model(settings).save_pretrained(folder)
    sizes = {"size": {"shortest_edge": 32}, "crop_size": {"height": 28, "width": 28}}
    BitImageProcessorPil(**sizes, image_mean=MEAN, image_std=STD).save_pretrained(folder)  # as DINOv2's own say
    return str(folder)


def test_dinov2_is_that_of_transformers_on_the_whole_image(dinov2):
    from transformers import Dinov2Model

    x = images(2, size=28)  # already of the size it takes: nothing is resized
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    ready = (x / 255 - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    with torch.no_grad():
        expected = Dinov2Model.from_pretrained(dinov2).eval()(pixel_values=ready).pooler_output
    found = extract.find(f"dinov2:{dinov2}")(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_border_is_seen(dinov2):
    x = images(1)
    changed = x.clone()
    changed[:, :, :3] = 255  # a crop from 64 to 56 pixels would not see it
    see = extract.find(f"dinov2:{dinov2}")
    assert float((see(x) - see(changed)).abs().max()) > 0.1


def test_clip_gives_its_projected_embedding(tmp_path):
    from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModelWithProjection

    settings = CLIPVisionConfig(  # type: ignore[call-arg]
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14,
        projection_dim=8,
    )  # fmt: skip
    CLIPVisionModelWithProjection(settings).save_pretrained(tmp_path)
    file, text = (
        tmp_path / "model.safetensors",
        {"text_model.final_layer_norm.bias": torch.zeros(8), "logit_scale": torch.zeros(())},
    )
    save_file(load_file(file) | text, file, metadata={"format": "pt"})  # the hub's hold the text encoder too
    CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}).save_pretrained(tmp_path)
    assert extract.find(f"clip:{tmp_path}")(images()).shape == (3, 8)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: {name: value for name, value in state.items() if name != "layernorm.bias"}, "1 missing (layernorm.bias)"),
        (lambda state: state | {"strange": torch.zeros(1)}, "1 unexpected (strange)"),
        (lambda state: state | {"classifier.weight": torch.zeros(1)}, None),  # as a DINOv2 that was made to classify
    ],
    ids=["missing", "unexpected", "classifier"],
)
def test_weights_that_do_not_fill_the_extractor_are_refused(dinov2, tmp_path, change, said):
    folder = Path(shutil.copytree(dinov2, tmp_path / "copied"))
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors", metadata={"format": "pt"})
    if said is None:
        assert torch.equal(extract.find(f"dinov2:{folder}")(images()), extract.find(f"dinov2:{dinov2}")(images()))
    else:
        assert said in refused(f"dinov2:{folder}")


def test_the_tiny_one_is_always_the_same_and_tells_images_apart():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, other = extract.find("tiny"), extract.find("tiny")
    assert torch.equal(torch.get_rng_state(), state)
    assert one.fingerprint == other.fingerprint
    features = one(images())
    assert torch.equal(features, other(images()))
    assert float(torch.cdist(features, features)[~torch.eye(3, dtype=torch.bool)].min()) > 0.01


def test_a_module_of_the_users_own():
    found = extract.find(f"module:{__name__}:double")
    torch.testing.assert_close(found(images()), 2 * images().float().mean((2, 3)))


def test_fingerprints_follow_the_weights(dinov2, tmp_path, monkeypatch):
    copied = shutil.copytree(dinov2, tmp_path / "copied")
    before = extract.find(f"dinov2:{dinov2}").fingerprint
    assert extract.find(f"dinov2:{copied}").fingerprint == before  # the place does not matter
    state = load_file(copied / "model.safetensors")
    state["layernorm.bias"] += 1
    save_file(state, copied / "model.safetensors", metadata={"format": "pt"})
    assert extract.find(f"dinov2:{copied}").fingerprint != before
    mine = extract.find(f"module:{__name__}:double").fingerprint
    monkeypatch.setitem(globals(), "double", lambda: Means(3.0))
    assert extract.find(f"module:{__name__}:double").fingerprint != mine


def test_mistakes_are_told_in_a_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "did you mean dinov2?" in refused("dino")
    assert "hf download facebook/dinov2-giant" in refused("dinov2")
    assert "is no folder" in refused("dinov2:/no/such/folder")
    assert "no weights for the extractor dinov2" in refused(f"dinov2:{tmp_path}")
    assert "clip:FOLDER" in refused("clip")
    assert "download https://github.com/toshas/torch-fidelity" in refused("inception")
    (tmp_path / "weights.pth").write_bytes(b"no weights")
    assert "FID convention" in refused(f"inception:{tmp_path / 'weights.pth'}")
    assert "cannot be made" in refused("module:no_such_module:f")
    assert "must return a torch module; it returned int" in refused(f"module:{__name__}:no_module")
    with pytest.raises(UserError, match="must return numbers"):
        extract.find(f"module:{__name__}:broken")(images())
    with pytest.raises(ValueError, match="uint8"):
        extract.find("tiny")(images().float())
