"""The fields that are read from the JSON files of a model, as diffusers and transformers save it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from harness import records


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A JSON file of a model. `rest`: its other fields, which only the libraries read."""

    remedy: ClassVar[str] = "fetch the model again"
    rest: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class UNet(Settings):
    """unet/config.json. `sample_size`: the side of the latents on which it was trained."""

    in_channels: int = 4
    out_channels: int = 4
    cross_attention_dim: int | tuple[int, ...] = 1280
    addition_embed_type: str | None = None
    addition_time_embed_dim: int | None = None
    projection_class_embeddings_input_dim: int | None = None
    sample_size: int | None = None
    layers_per_block: int | tuple[int, ...] = 2


@dataclass(frozen=True, kw_only=True)
class VAE(Settings):
    """vae/config.json."""

    latent_channels: int
    block_out_channels: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Text(Settings):
    """text_encoder/config.json."""

    hidden_size: int
    max_position_embeddings: int
    projection_dim: int


@dataclass(frozen=True, kw_only=True)
class Schedule(Settings):
    """scheduler/scheduler_config.json."""

    num_train_timesteps: int
    beta_start: float
    beta_end: float
    beta_schedule: str
    prediction_type: str = "epsilon"
    timestep_spacing: str = "leading"
    steps_offset: int = 0
    rescale_betas_zero_snr: bool = False


@dataclass(frozen=True, kw_only=True)
class Index(Settings):
    """model_index.json."""

    force_zeros_for_empty_prompt: bool = True


PARTS = {"unet": UNet, "vae": VAE, "text_encoder": Text, "text_encoder_2": Text}


def read(file: Path) -> dict[str, Any]:
    """All fields of a JSON file. Raises: UserError if it cannot be read."""
    return records.read(file, Settings).rest
