"""The model that is fine-tuned: its parts from a folder or a hub id, its schedule as a path, its UNet as a denoiser."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ambient.denoisers import NetworkDenoiser
from ambient.paths import Discrete
from ambient.runs import UserError, digest
from harness import records
from sdxl import settings

SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
BLOCKS, BLOCK = 64, 1 << 16  # of a file of weights that go into its fingerprint, and their bytes
WEIGHTS = ("diffusion_pytorch_model", "model")  # how the names of files of weights begin
PREDICTIONS = {"epsilon": "eps", "v_prediction": "v", "sample": "x_0"}


def quiet() -> None:
    """No bars, no advice from libraries: what a user must know, we say."""
    import diffusers
    import transformers

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    diffusers.utils.logging.set_verbosity(logging.CRITICAL)  # its errors are raised too
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*torchvision.*")


@contextmanager
def within_memory(advice: str) -> Iterator[None]:
    """Raises: UserError with advice where memory runs out."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(f"out of memory; {advice}") from error


@dataclass(frozen=True)
class Base:
    """An SDXL on disk; parts are loaded when asked for."""

    folder: Path

    def part(self, name: str) -> Path:
        """The folder of a part. Raises: UserError if there is none."""
        found = self.folder / name
        if name == "vae" and not found.is_dir() and (self.folder / "config.json").is_file():
            return self.folder  # a VAE by itself, as those on the hub are
        if not found.is_dir():
            raise UserError(f"{self.folder} has no {name}/: that is no SDXL as diffusers saves it")
        return found

    def settings(self, part: str) -> Any:
        """What is read of a part's config.json, see `sdxl.settings`. Raises: UserError if it cannot be read."""
        return records.read(self.part(part) / "config.json", settings.PARTS[part])

    def pixels(self) -> int:
        """The image's pixels along the edge of one latent: 8."""
        return 2 ** (len(self.settings("vae").block_out_channels) - 1)

    def resolution(self, pixels: int) -> int:
        """The edge of the images that the UNet was trained on. Raises: UserError if its settings do not tell it."""
        side = self.settings("unet").sample_size
        if side is None:
            raise UserError(f"{self.part('unet') / 'config.json'} has no sample_size; give --resolution")
        return side * pixels

    def unet(self, dtype: torch.dtype = torch.float32) -> Any:
        """Frozen, in evaluation mode."""
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

        return frozen(load(UNet2DConditionModel, self.part("unet"), torch_dtype=dtype))

    def vae(self, dtype: torch.dtype = torch.float32) -> Any:
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

        return frozen(load(AutoencoderKL, self.part("vae"), torch_dtype=dtype))

    def encoders(self, dtype: torch.dtype = torch.float32) -> tuple[list[Any], list[Any]]:
        """(tokenizers, text encoders), two each."""
        from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

        tokenizers = [load(CLIPTokenizer, self.part(name)) for name in ("tokenizer", "tokenizer_2")]
        kinds = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}
        return tokenizers, [frozen(load(kind, self.part(name), dtype=dtype)) for name, kind in kinds.items()]

    def schedule(self) -> dict[str, Any]:
        """The scheduler's settings, as in scheduler_config.json."""
        return records.plain(records.read(self.part("scheduler") / "scheduler_config.json", settings.Schedule))

    def schedule_digest(self) -> str:
        """Sixteen digits of the levels."""
        return digest(self.path().alphas_cumprod.numpy().tobytes())

    def path(self) -> Discrete:
        """The schedule's levels. Paper: Sec. 4.2 (sigma = 0.325, 0.850, 0.981 at t = 100, 500, 800)."""
        from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

        scheduler: Any = DDPMScheduler.from_config(self.schedule())
        return Discrete(scheduler.alphas_cumprod)

    def prediction(self) -> str:
        """What the UNet predicts, in the words of `ambient`: eps, v or x_0."""
        return PREDICTIONS[self.schedule().get("prediction_type", "epsilon")]

    def fingerprint(self, part: str) -> str:
        """Sixteen digits that tell a part from another: `fingerprint` of its folder."""
        return fingerprint(self.part(part))


def fingerprint(folder: Path) -> str:
    """Sixteen digits that tell a model from another: its settings, and of each file of weights the size and 64 blocks.

    Only of files that are loaded: a hub repository also holds weights in other types and for other programs.
    """
    found = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix == ".json" and not file.name.endswith(".index.json"):
            plain = {k: v for k, v in settings.read(file).items() if not k.startswith("_")}
            found.update(json.dumps(plain, sort_keys=True).encode())
        elif file.suffix == ".safetensors" and file.name.startswith(WEIGHTS) and ".fp16." not in file.name:
            size = file.stat().st_size
            found.update(str(size).encode())
            with open(file, "rb") as stream:
                for i in range(BLOCKS):
                    stream.seek(i * max(0, size - BLOCK) // (BLOCKS - 1))
                    found.update(stream.read(BLOCK))
    return found.hexdigest()[:16]


def find(source: str, *, parts: tuple[str, ...], revision: str | None = None) -> Base:
    """A folder, or the named parts of a hub repository. Raises: UserError if neither can be had."""
    wanted = [f"{part}/{kind}" for part in parts for kind in ("*.json", "*.txt", "*.safetensors")]
    wanted += ["config.json", "diffusion_pytorch_model.safetensors"] if parts == ("vae",) else []  # of a VAE by itself
    return Base(fetch(source, ["model_index.json", *wanted], example=SDXL, revision=revision))


def find_with_vae(source: str, vae: str | None, *, parts: tuple[str, ...]) -> tuple[Base, Base]:
    """The named parts, and the VAE of its own source or else of the same. Raises: as `find`."""
    base = find(source, parts=parts if vae else (*parts, "vae"))
    return base, find(vae, parts=("vae",)) if vae else base


def fetch(source: str, files: list[str], *, example: str, revision: str | None = None) -> Path:
    """A folder, or the named files of a hub repository. Raises: UserError if neither can be had."""
    if Path(source).is_dir():
        return Path(source)
    if source.startswith((".", "/", "~")) or source.count("/") != 1:
        raise UserError(f"{source} is no folder, and no hub id such as {example}")
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(source, revision=revision, allow_patterns=files, ignore_patterns=["*.fp16.*", "*openvino*"])
        )
    except Exception as error:  # of the hub, of the network, of the disk: dozens of kinds
        raise UserError(
            f"cannot fetch {source} from the hub ({type(error).__name__}); where there is a network run "
            f"`hf download {source}`, and give the folder here"
        ) from error


def load(kind: Any, folder: Path, **options: Any) -> Any:
    """`kind.from_pretrained`, from disk alone. Raises: UserError if it cannot be loaded."""
    if any(options):
        options["use_safetensors"] = True
    try:
        return kind.from_pretrained(folder, local_files_only=True, **options)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"cannot load {folder}: {str(error).splitlines()[0]}") from error


def dtype_of(name: str, device: torch.device) -> torch.dtype:
    """The type of frozen weights; auto: bfloat16 on a GPU, float32 on a CPU."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return DTYPES[name]


def frozen(model: nn.Module) -> nn.Module:
    """In evaluation mode, its weights at addresses of our own.

    Weights mapped from a file lie at any address, and those sent to a device, even the same one, at a multiple of 64. Products
    differ in their last bits between the two, and accelerate's device is one thing in one process and another in several.
    """
    for weight in (*model.parameters(), *model.buffers()):
        if weight.data_ptr() % 64:
            weight.data = weight.data.clone()
    return model.requires_grad_(False).eval()


class UNetNetwork(nn.Module):
    """SDXL's UNet as the network of a `NetworkDenoiser`: (x_t, t, condition) -> its prediction, in float32.

    condition: dict of `prompt_embeds` (B, 77, C), `pooled` (B, P) and `time_ids` (B, 6): sizes before, corner of the crop, size.
    """

    def __init__(self, unet: nn.Module):
        super().__init__()
        self.unet = unet

    def forward(self, x_t: Tensor, t: Tensor, condition: dict[str, Tensor]) -> Tensor:
        dtype = next(self.unet.parameters()).dtype
        added = {"text_embeds": condition["pooled"].to(dtype), "time_ids": condition["time_ids"].to(dtype)}
        states = condition["prompt_embeds"].to(dtype)
        out = self.unet(x_t.to(dtype), t, encoder_hidden_states=states, added_cond_kwargs=added, return_dict=False)[0]
        return out.float()


def denoiser(unet: nn.Module, path: Discrete, prediction: str) -> NetworkDenoiser:
    """h(x_t, t, condition) of a UNet."""
    return NetworkDenoiser(UNetNetwork(unet), path, prediction)


def guided(h: Any, null: dict[str, Tensor], scale: float) -> Any:
    """Classifier-free guidance: h(null) + scale (h(condition) - h(null)), the same for h, eps and v.

    `null`: the condition without a caption, of one sample. With a scale of 1 nothing is added. The two run one after the other,
    so that guidance takes no more memory. Source: Ho and Salimans 2022, Eq. (6).
    """
    if scale == 1:
        return h

    def both(x_t: Tensor, t: Any, condition: dict[str, Tensor]) -> Tensor:
        without = condition | {key: null[key].expand_as(condition[key]) for key in ("prompt_embeds", "pooled")}
        base = h(x_t, t, without)
        return base + scale * (h(x_t, t, condition) - base)

    return both
