"""The model that is fine-tuned: its parts from a folder or a hub id, its schedule as a path, its UNet as a denoiser."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ambient.paths import Discrete
from harness import records
from harness.errors import UserError
from harness.files import digest
from sdxl.model import schedule, settings
from sdxl.model.schedule import PREDICTIONS
from sdxl.model.weights import fetch, fingerprint, load, load_model

SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
TEXT, TOKENIZERS = ("text_encoder", "text_encoder_2"), ("tokenizer", "tokenizer_2")
VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"))  # the files of one, in either format
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


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
            others = ", ".join(sorted(file.name for file in self.folder.iterdir() if file.is_dir())) or "no folder"
            raise UserError(f"{self.folder} has no {name}/: that is no SDXL as diffusers saves it; found {others}")
        return found

    def settings(self, part: str) -> Any:
        """What is read of a part's config.json, see `sdxl.model.settings`. Raises: UserError if it cannot be read."""
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

        return load_model(UNet2DConditionModel, self.part("unet"), torch_dtype=dtype)

    def imagined_unet(self) -> Any:
        """The UNet on torch's meta device: it has shapes and no numbers, and is there at once."""
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

        with torch.device("meta"):
            unet: Any = UNet2DConditionModel.from_config(records.plain(self.settings("unet")))
        return unet.requires_grad_(False)

    def vae(self, dtype: torch.dtype = torch.float32) -> Any:
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

        return load_model(AutoencoderKL, self.part("vae"), torch_dtype=dtype)

    def encoders(self, dtype: torch.dtype = torch.float32) -> tuple[list[Any], list[Any]]:
        """(tokenizers, text encoders), two each."""
        from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

        tokenizers = [self._tokenizer(CLIPTokenizer, name, text) for text, name in zip(TEXT, TOKENIZERS, strict=True)]
        kinds = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}
        return tokenizers, [load_model(kind, self.part(name), dtype=dtype) for name, kind in kinds.items()]

    def _tokenizer(self, kind: Any, name: str, text: str) -> Any:
        """Raises: UserError for one without its words, of which the library makes an empty one, or of another length."""
        folder, length = self.part(name), self.settings(text).max_position_embeddings
        if not any(all((folder / file).is_file() for file in files) for files in VOCABULARIES):
            raise UserError(f"{folder} has no vocabulary: expected tokenizer.json, or vocab.json and merges.txt; fetch it again")
        found = load(kind, folder)
        if found.model_max_length != length:
            file = folder / "tokenizer_config.json"
            raise UserError(f"{file}: model_max_length must be {length} as for {text}; found {found.model_max_length:g}")
        return found

    def schedule(self) -> dict[str, Any]:
        """The scheduler's settings, as in scheduler_config.json. Raises: UserError for those that are not understood."""
        return schedule.read(self.part("scheduler") / "scheduler_config.json")

    def schedule_digest(self) -> str:
        """Sixteen digits of the levels."""
        return digest(self.path().alphas_cumprod.numpy().tobytes())

    def path(self) -> Discrete:
        """The schedule's levels. Paper: Sec. 4.2 (sigma = 0.325, 0.850, 0.981 at t = 100, 500, 800)."""
        return schedule.path(self.part("scheduler") / "scheduler_config.json", self.schedule())

    def last_noisy_time(self) -> int:
        """The last time of the schedule that is not pure noise: 999, or 998 where 999 is."""
        return int((self.path().alphas_cumprod > 0).sum()) - 1

    def prediction(self) -> str:
        """What the UNet predicts, in the words of `ambient`: eps, v or x_0."""
        return PREDICTIONS[self.schedule()["prediction_type"]]

    def zeros_for_no_caption(self) -> bool:
        """Whether no caption is zeros, as for SDXL, or the embedding of ""."""
        index = self.folder / "model_index.json"
        return records.read(index, settings.Index).force_zeros_for_empty_prompt if index.exists() else True

    def fingerprint(self, part: str) -> str:
        """Sixteen digits that tell a part from another: `fingerprint` of its folder."""
        return fingerprint(self.part(part))

    def identity(self, *parts: str) -> dict[str, str]:
        """All of these parts that a result may depend on, in words to compare: of each its fingerprint.

        The scheduler is told by its levels, the times it samples at, its class and what the UNet predicts; text encoders also by
        what stands for no caption.
        """
        found = {part: self.fingerprint(part) for part in parts if part != "scheduler"}
        if "text_encoder" in parts:
            found["no_caption"] = "zeros" if self.zeros_for_no_caption() else "embedding"
        if "scheduler" in parts:
            it = self.schedule()
            spacing = {key: it.get(key) for key in ("timestep_spacing", "steps_offset")}
            found |= {"schedule": self.schedule_digest(), "prediction": self.prediction(), "scheduler": it["_class_name"]}
            found["timesteps"] = f"{spacing['timestep_spacing']}, offset {spacing['steps_offset']}"
        return found

    def fit(self, shapes: Mapping[str, tuple[int, ...]], of: str, *, inpainting: bool = False) -> None:
        """Raises: UserError if the UNet is not SDXL's, or does not take what is of these shapes.

        Args: shapes of x_n (C, h, w), prompt_embeds (77, W) and pooled (P,); of: where they come from; inpainting: a UNet that
        also takes a mask and what is around it will do.
        """
        it, file = self.settings("unet"), self.part("unet") / "config.json"
        if it.addition_embed_type != "text_time" or it.addition_time_embed_dim is None:
            raise UserError(f"{file}: addition_embed_type must be text_time, as SDXL's is; found {it.addition_embed_type}")
        latent, width, pooled = shapes["x_n"][0], shapes["prompt_embeds"][-1], shapes["pooled"][0]
        expected = {"in_channels": latent, "out_channels": latent, "cross_attention_dim": width}
        expected["projection_class_embeddings_input_dim"] = 6 * it.addition_time_embed_dim + pooled
        masked = it.in_channels == 2 * latent + 1
        if masked and inpainting:
            del expected["in_channels"]
        for name, value in expected.items():
            if getattr(it, name) != value:
                advice = "; a UNet for inpainting is for `attack mask --fill inpainting` alone" if masked else ""
                raise UserError(f"{file}: {name} must be {value} to go with {of}; found {getattr(it, name)}{advice}")


def find(source: str, *, parts: tuple[str, ...], revision: str | None = None) -> Base:
    """A folder, or the named parts of a hub repository. Raises: UserError if neither can be had."""
    wanted = [f"{part}/{kind}" for part in parts for kind in ("*.json", "*.txt", "*.safetensors")]
    wanted += ["config.json", "diffusion_pytorch_model.safetensors"] if parts == ("vae",) else []  # of a VAE by itself
    return Base(fetch(source, ["model_index.json", *wanted], example=SDXL, revision=revision))


def find_with_vae(source: str, vae: str | None, *, parts: tuple[str, ...]) -> tuple[Base, Base]:
    """The named parts, and the VAE of its own source or else of the same. Raises: as `find`."""
    base = find(source, parts=parts if vae else (*parts, "vae"))
    return base, find(vae, parts=("vae",)) if vae else base


def dtype_of(name: str, device: torch.device) -> torch.dtype:
    """The type of frozen weights; auto: bfloat16 on a GPU, float32 on a CPU."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return DTYPES[name]


PARTS = (*TEXT, *TOKENIZERS)  # of an SDXL, that captions pass through


def shapes(base: Base, vae: Base, resolution: int) -> dict[str, tuple[int, ...]]:
    """What one image takes in a noisy set, by name, from the models' settings. Raises: UserError for an odd resolution."""
    factor, first, second = vae.pixels(), base.settings("text_encoder"), base.settings("text_encoder_2")
    if resolution % factor:
        raise UserError(f"--resolution must be a multiple of {factor}, the pixels of one latent; got {resolution}")
    side, width = resolution // factor, first.hidden_size + second.hidden_size
    return {
        "x_n": (vae.settings("vae").latent_channels, side, side),
        "prompt_embeds": (first.max_position_embeddings, width),
        "pooled": (second.projection_dim,),
    }
