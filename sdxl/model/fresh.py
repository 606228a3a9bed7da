"""Small SDXLs with random weights: the real classes in the sizes of a laptop."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ambient.paths import SDXL_BETAS, SDXL_STEPS

SCHEDULE: dict[str, Any] = {  # that of the real SDXL
    "num_train_timesteps": SDXL_STEPS,
    "beta_start": SDXL_BETAS[0],
    "beta_end": SDXL_BETAS[1],
    "beta_schedule": "scaled_linear",
    "timestep_spacing": "leading",
    "steps_offset": 1,
}


@dataclass(frozen=True)
class Sizes:
    """What distinguishes one small SDXL from another. `text`: the width of each text encoder."""

    unet: dict[str, Any]
    vae: dict[str, Any]
    text: int
    time_features: int  # for each of the six numbers about an image's size


def pipeline(sizes: Sizes, tokenizer: Any, *, seed: int, prediction: str = "epsilon") -> Any:
    """A `StableDiffusionXLPipeline` of these sizes, with weights drawn from the seed. Both text encoders share the tokenizer."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
    from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first = CLIPTextModel(_text(sizes.text, tokenizer, "quick_gelu"))
        second = CLIPTextModelWithProjection(_text(sizes.text, tokenizer, "gelu"))
        unet = UNet2DConditionModel(
            use_linear_projection=True,
            cross_attention_dim=2 * sizes.text,
            addition_embed_type="text_time",
            addition_time_embed_dim=sizes.time_features,
            projection_class_embeddings_input_dim=6 * sizes.time_features + sizes.text,
            **sizes.unet,
        )
        vae = AutoencoderKL(latent_channels=4, force_upcast=False, **sizes.vae)
    scheduler = EulerDiscreteScheduler(**SCHEDULE, prediction_type=prediction)
    return StableDiffusionXLPipeline(vae, first, second, tokenizer, tokenizer, unet, scheduler)  # type: ignore[arg-type]


def _text(width: int, tokenizer: Any, activation: str) -> Any:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        hidden_act=activation,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def byte_tokenizer(length: int = 77) -> Any:
    """CLIP's tokenizer with a vocabulary of the 256 bytes, and no merges. `length`: of a caption in tokens."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return clip_tokenizer(words, [], length)


def clip_tokenizer(words: Sequence[str], merges: Sequence[Sequence[str]], length: int) -> Any:
    """CLIP's tokenizer with these words, numbered from 0, and these merges, each of two words."""
    from transformers import CLIPTokenizer

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
        (Path(folder) / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, merges), ""]))
        return CLIPTokenizer.from_pretrained(folder, model_max_length=length)
