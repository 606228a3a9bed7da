"""The model that is fine-tuned: its parts, from a folder or a hub id, and its schedule as a path."""

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
VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"))  # the files of a vocabulary, in either format
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@contextmanager
def within_memory(advice: str) -> Iterator[None]:
    """Raises: UserError with this advice if memory runs out within the block."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(f"out of memory; {advice}") from error


@dataclass(frozen=True)
class Base:
    """An SDXL in a folder, as diffusers saves it. Parts are loaded only when a method needs them."""

    folder: Path

    def part(self, name: str) -> Path:
        """The folder of a part. Raises: UserError if there is none."""
        folder = self.folder / name
        if name == "vae" and not folder.is_dir() and (self.folder / "config.json").is_file():
            return self.folder  # a VAE alone, as the hub has some
        if not folder.is_dir():
            others = ", ".join(sorted(file.name for file in self.folder.iterdir() if file.is_dir())) or "no folder"
            raise UserError(f"{self.folder} has no {name}/: that is no SDXL as diffusers saves it; found {others}")
        return folder

    def settings(self, part: str) -> Any:
        """The config.json of a part as a record of `sdxl.model.settings`. Raises: UserError if it cannot be read."""
        return records.read(self.part(part) / "config.json", settings.PARTS[part])

    def pixels(self) -> int:
        """The side of a latent in pixels of the image: 8."""
        return 2 ** (len(self.settings("vae").block_out_channels) - 1)

    def resolution(self, pixels: int) -> int:
        """The side in pixels of the images on which the UNet was trained. Raises: UserError if its settings do not say.

        pixels: the side of a latent in pixels.
        """
        own = self.own_resolution(pixels)
        if own is None:
            raise UserError(f"{self.part('unet') / 'config.json'} has no sample_size; give --resolution")
        return own

    def own_resolution(self, pixels: int) -> int | None:
        """As `resolution`; None if the UNet's settings do not say."""
        side = self.settings("unet").sample_size
        return None if side is None else side * pixels

    def unet(self, dtype: torch.dtype = torch.float32) -> Any:
        """The UNet, frozen and in evaluation mode."""
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

        return load_model(UNet2DConditionModel, self.part("unet"), torch_dtype=dtype)

    def meta_unet(self) -> Any:
        """The UNet on torch's meta device, where it has shapes and no numbers; it takes no time and no memory."""
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

        with torch.device("meta"):
            unet: Any = UNet2DConditionModel.from_config(records.plain(self.settings("unet")))
        return unet.requires_grad_(False)

    def vae(self, dtype: torch.dtype = torch.float32) -> Any:
        """The VAE, frozen and in evaluation mode."""
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

        return load_model(AutoencoderKL, self.part("vae"), torch_dtype=dtype)

    def encoders(self, dtype: torch.dtype = torch.float32) -> tuple[list[Any], list[Any]]:
        """The two tokenizers and the two text encoders."""
        from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

        tokenizers = [self._tokenizer(CLIPTokenizer, name, text) for text, name in zip(TEXT, TOKENIZERS, strict=True)]
        kinds = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}
        return tokenizers, [load_model(kind, self.part(name), dtype=dtype) for name, kind in kinds.items()]

    def _tokenizer(self, kind: Any, name: str, text: str) -> Any:
        """Raises: UserError for a tokenizer without vocabulary, which the library accepts, or of another length than `text`."""
        folder, length = self.part(name), self.settings(text).max_position_embeddings
        if not any(all((folder / file).is_file() for file in files) for files in VOCABULARIES):
            raise UserError(f"{folder} has no vocabulary: expected tokenizer.json, or vocab.json and merges.txt; fetch it again")
        tokenizer = load(kind, folder)
        if tokenizer.model_max_length != length:
            file = folder / "tokenizer_config.json"
            raise UserError(f"{file}: model_max_length must be {length} as for {text}; found {tokenizer.model_max_length:g}")
        return tokenizer

    def schedule(self) -> dict[str, Any]:
        """The settings in scheduler_config.json. Raises: UserError for a schedule that is not understood."""
        return schedule.read(self.part("scheduler") / "scheduler_config.json")

    def schedule_digest(self) -> str:
        """A digest of the levels of the schedule."""
        return digest(self.path().alphas_cumprod.numpy().tobytes())

    def path(self) -> Discrete:
        """The schedule's levels. Paper: Sec. 4.2 (sigma = 0.325, 0.850, 0.981 at t = 100, 500, 800)."""
        return schedule.path(self.part("scheduler") / "scheduler_config.json", self.schedule())

    def last_noisy_time(self) -> int:
        """The last time of the schedule that is not pure noise: 999, or 998 where 999 is."""
        return int((self.path().alphas_cumprod > 0).sum()) - 1

    def prediction(self) -> str:
        """What the UNet predicts, by the names of `ambient`: eps, v or x_0."""
        return PREDICTIONS[self.schedule()["prediction_type"]]

    def zeros_for_no_caption(self) -> bool:
        """Whether the condition without a caption is zeros, as in SDXL, and not the embedding of ""."""
        index = self.folder / "model_index.json"
        return records.read(index, settings.Index).force_zeros_for_empty_prompt if index.exists() else True

    def fingerprint(self, part: str) -> str:
        """A digest of the content of a part, see `sdxl.model.weights.fingerprint`."""
        return fingerprint(self.part(part))

    def identity(self, *parts: str) -> dict[str, str]:
        """Everything about these parts that a result may depend on: the fingerprint of each, to be compared with others.

        The scheduler is described by its levels, its class, the times at which it samples and what the UNet predicts. Text
        encoders come with the condition that stands for no caption.
        """
        identity = {part: self.fingerprint(part) for part in parts if part != "scheduler"}
        if "text_encoder" in parts:
            identity["no_caption"] = "zeros" if self.zeros_for_no_caption() else "embedding"
        if "scheduler" in parts:
            scheduler = self.schedule()
            identity |= {
                "schedule": self.schedule_digest(),
                "prediction": self.prediction(),
                "scheduler": scheduler["_class_name"],
            }
            identity["timesteps"] = f"{scheduler['timestep_spacing']}, offset {scheduler['steps_offset']}"
        return identity

    def fit(self, shapes: Mapping[str, tuple[int, ...]], of: str, *, inpainting: bool = False) -> None:
        """Raises: UserError if the UNet is not SDXL's, or does not take inputs of these shapes.

        Args: shapes: of x_n (C, h, w), prompt_embeds (77, W) and pooled (P,); of: where the inputs come from; inpainting: whether
        a UNet that takes a mask and the masked image as well is accepted.
        """
        unet, file = self.settings("unet"), self.part("unet") / "config.json"
        if unet.addition_embed_type != "text_time" or unet.addition_time_embed_dim is None:
            raise UserError(f"{file}: addition_embed_type must be text_time, as SDXL's is; found {unet.addition_embed_type}")
        latent, width, pooled = shapes["x_n"][0], shapes["prompt_embeds"][-1], shapes["pooled"][0]
        expected = {"in_channels": latent, "out_channels": latent, "cross_attention_dim": width}
        expected["projection_class_embeddings_input_dim"] = 6 * unet.addition_time_embed_dim + pooled
        masked = unet.in_channels == 2 * latent + 1
        if masked and inpainting:
            del expected["in_channels"]
        for name, value in expected.items():
            if getattr(unet, name) != value:
                advice = "; a UNet for inpainting is for `attack mask --fill inpainting` alone" if masked else ""
                raise UserError(f"{file}: {name} must be {value} to go with {of}; found {getattr(unet, name)}{advice}")


def find(source: str, *, parts: tuple[str, ...], revision: str | None = None) -> Base:
    """The SDXL in a folder, or the named parts of a hub repository. Raises: UserError if it does not exist."""
    wanted = [f"{part}/{kind}" for part in parts for kind in ("*.json", "*.txt", "*.safetensors")]
    wanted += ["config.json", "diffusion_pytorch_model.safetensors"] if parts == ("vae",) else []  # for a VAE alone
    return Base(fetch(source, ["model_index.json", *wanted], example=SDXL, revision=revision))


def find_with_vae(source: str, vae: str | None, *, parts: tuple[str, ...]) -> tuple[Base, Base]:
    """The base with the named parts, and the base that holds the VAE: that of `vae`, or else the same. Raises: as `find`."""
    base = find(source, parts=parts if vae else (*parts, "vae"))
    return base, find(vae, parts=("vae",)) if vae else base


def dtype_of(name: str, device: torch.device) -> torch.dtype:
    """The type of frozen weights. For auto: bfloat16 on a GPU, float32 on a CPU."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return DTYPES[name]


MOST_TIMES_OWN = 4  # a resolution may be so many times that of the UNet's training
PARTS = (*TEXT, *TOKENIZERS)  # the parts of an SDXL that turn captions into embeddings


def shapes(base: Base, vae: Base, resolution: int) -> dict[str, tuple[int, ...]]:
    """The shapes of one image in a noisy set, from the models' settings.

    Raises: UserError for a resolution that does not divide into latents, or is far above that of the UNet's training.
    """
    factor, first, second = vae.pixels(), base.settings("text_encoder"), base.settings("text_encoder_2")
    if resolution % factor:
        raise UserError(f"--resolution must be a multiple of {factor}, the pixels of one latent; got {resolution}")
    own = base.own_resolution(factor) if (base.folder / "unet/config.json").is_file() else None
    if own and resolution > MOST_TIMES_OWN * own:
        trained = f"{own / factor:g} latents of {factor:g} pixels, as {vae.part('vae') / 'config.json'} says"
        far = f"--resolution {resolution} is far above that of {base.folder} ({trained})"
        raise UserError(f"{far}; take --resolution {own:g}")
    side, width = resolution // factor, first.hidden_size + second.hidden_size
    return {
        "x_n": (vae.settings("vae").latent_channels, side, side),
        "prompt_embeds": (first.max_position_embeddings, width),
        "pooled": (second.projection_dim,),
    }
