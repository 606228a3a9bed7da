"""Feature extractors: pretrained networks whose outputs are compared in distances and similarities of images.

    dinov2                    facebook/dinov2-giant from the hub, 1,536 numbers; dinov2:SOURCE for another, or for a folder
    clip:SOURCE               the image embedding of a CLIP, by hub id or folder
    inception:FILE            Inception-v3 as the FID convention has it, 2,048 numbers, through torchmetrics and torch-fidelity
    module:PACKAGE.MODULE:FUNCTION   what FUNCTION() returns: a torch module, uint8 (B, 3, H, W) -> (B, F); SSCD for one
    tiny                      a small DINOv2 with random weights, for rehearsals and tests only: its features mean nothing

DINOv2 and CLIP get the whole image, resized to the square on which they were trained, as in FD-DINOv2 (Stein et al. 2023).
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.errors import UserError
from harness.options import nearest
from sdxl.model.base import within_memory
from sdxl.model.weights import fetch, fingerprint, frozen, load, load_model

DINOV2 = "facebook/dinov2-giant"
FILES = ["config.json", "preprocessor_config.json", "model*.safetensors", "model.safetensors.index.json"]
INCEPTION = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
INCEPTION_DIGEST = "6726825d"  # the first digits of the SHA-256 of that file
WORDS = ("dinov2", "clip", "inception", "module", "tiny")
RECIPE = 1  # to be increased when a change of this code changes features


class Extractor:
    """uint8 images (B, 3, H, W) -> features (B, F), float32 on the CPU.

    Args: content: text that differs for extractors with other features; network: the same function, on `device`.
    """

    def __init__(self, name: str, content: str, network: Callable[[Tensor], Tensor], device: torch.device | str):
        self.name, self.network, self.device = name, network, device
        self.fingerprint = hashlib.sha256(f"{content}, recipe {RECIPE}".encode()).hexdigest()[:16]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Raises: UserError if memory runs out, or if the network does not return a row of numbers for each image."""
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be uint8 (B, 3, H, W); got {images.dtype} {tuple(images.shape)}")
        with within_memory(f"take a smaller --batch for the extractor {self.name}"):
            output = self.network(images.to(self.device))
        if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != len(images) or not output.is_floating_point():
            got = f"{output.dtype} {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
            raise UserError(f"the extractor {self.name} must return numbers (B, F) for {len(images)} images; it returned {got}")
        return output.float().cpu()


def find(word: str, device: torch.device | str = "cpu") -> Extractor:
    """The extractor that `word` names. Raises: UserError if it is unknown, or if its weights cannot be loaded."""
    kind, _, source = word.partition(":")
    if kind not in WORDS:
        raise UserError(f"unknown extractor {word!r}{nearest(kind, WORDS)} (a folder with weights: dinov2:FOLDER, clip:FOLDER)")
    if kind == "tiny":
        return _tiny(device)
    if kind == "module":
        return _of_module(source, device)
    if kind == "inception":
        return _inception(source, device)
    if not source and kind == "clip":
        raise UserError("which CLIP? Give clip:openai/clip-vit-large-patch14, say, or clip:FOLDER")
    try:
        return _of_transformers(kind, source or DINOV2, device)
    except UserError as error:
        raise UserError(f"no weights for the extractor {word}: {error} (as {kind}:FOLDER)") from error


def _of_transformers(kind: str, source: str, device: torch.device | str) -> Extractor:
    from transformers import BitImageProcessorPil, CLIPImageProcessorPil, CLIPVisionModelWithProjection, Dinov2Model

    folder = fetch(source, FILES, example=DINOV2)
    classes: dict[str, Any] = {
        "dinov2": (Dinov2Model, BitImageProcessorPil, ("classifier.",)),
        "clip": (CLIPVisionModelWithProjection, CLIPImageProcessorPil, ("text_", "logit_scale")),
    }
    model_class, processor_class, spare = classes[kind]  # spare: weights in the same files that the features do not need
    model, processor = load_model(model_class, folder, spare=spare, dtype=torch.float32), load(processor_class, folder)
    return Extractor(f"{kind}:{source}", f"{kind} {fingerprint(folder)}", _network(model, processor, device), device)


def _network(model: Any, processor: Any, device: torch.device | str) -> Callable[[Tensor], Tensor]:
    """The function from whole images to DINOv2's class token after the last norm, or to CLIP's projected embedding."""
    model, size = model.to(device), dict(processor.crop_size)

    def network(images: Tensor) -> Tensor:
        rows = list(images.cpu().permute(0, 2, 3, 1).numpy())
        inputs = processor(rows, size=size, do_center_crop=False, input_data_format="channels_last", return_tensors="pt")
        output = model(pixel_values=inputs["pixel_values"].to(device))
        return output.image_embeds if "image_embeds" in output else output.pooler_output

    return network


def _tiny(device: torch.device | str) -> Extractor:
    from transformers import BitImageProcessorPil, Dinov2Config, Dinov2Model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        settings = Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, image_size=56, initializer_range=0.2)  # type: ignore[call-arg]
        model = frozen(Dinov2Model(settings))
    side = {"height": 56, "width": 56}
    return Extractor("tiny", "tiny dinov2, seed 0", _network(model, BitImageProcessorPil(crop_size=side), device), device)


def _of_module(source: str, device: torch.device | str) -> Extractor:
    """The torch module that a user's function returns. Raises: UserError, with the function's own message, if it fails."""
    path, _, name = source.partition(":")
    try:
        function = getattr(importlib.import_module(path), name)
        model = function()
    except Exception as error:  # the user's own code may raise anything
        raise UserError(f"the extractor module:{source} cannot be made ({type(error).__name__}: {error})") from error
    if not isinstance(model, torch.nn.Module):
        raise UserError(f"module:{source} must return a torch module; it returned {type(model).__name__}")
    content = hashlib.sha256(source.encode())
    file = getattr(importlib.import_module(path), "__file__", None)
    content.update(Path(file).read_bytes() if file else b"")
    for key, value in model.state_dict().items():
        content.update(key.encode() + value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return Extractor(f"module:{source}", content.hexdigest(), frozen(model).to(device), device)


def _inception(file: str, device: torch.device | str) -> Extractor:
    if not file or not Path(file).is_file():
        given = f"{file} does not exist" if file else "no file is given"
        raise UserError(f"no weights for the extractor inception: {given}; download {INCEPTION} and give inception:FILE")
    content = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    if not content.startswith(INCEPTION_DIGEST):
        raise UserError(
            f"{file} does not hold the weights of the FID convention; download {INCEPTION}, whole, and give that file"
        )
    try:
        torch.load(file, weights_only=True)  # refuses a file with code, which torch-fidelity would run
        from torchmetrics.image.fid import NoTrainInceptionV3

        model: Any = NoTrainInceptionV3("inception-v3-compat", ["2048"], file)
    except ModuleNotFoundError as error:
        raise UserError("the extractor inception needs torch-fidelity; pip install torch-fidelity") from error
    except Exception as error:  # a damaged file raises errors of a dozen kinds
        raise UserError(f"{file} cannot be read ({type(error).__name__}); download {INCEPTION} once more") from error
    return Extractor("inception", f"inception {content}", frozen(model).to(device), device)
