"""Write a tiny SDXL with random weights: the real classes and folders, small enough for a laptop, made without a network.

    python -m sdxl tiny runs/tiny
    python -m sdxl tiny runs/tiny-v --prediction v_prediction

It generates noise. Tests and rehearsals use it in place of the real SDXL.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ambient.paths import SDXL_BETAS, SDXL_STEPS
from harness.config import parse
from harness.errors import UserError
from harness.options import Options, option
from sdxl.run_command import quiet

CHANNELS = (16, 32, 32)
TEXT = 32  # width of each text encoder


@dataclass(frozen=True)
class TinyOptions(Options):
    """Options of `python -m sdxl tiny`."""

    out: str = option(
        "", "new or empty folder to write the model to", group="output", metavar="DIR", path=True, positional=True, required=True
    )
    seed: int = option(0, "seed of the weights", group="model")
    prediction: str = option(
        "epsilon",
        "prediction type of the UNet, as its scheduler's settings say",
        group="model",
        choices=("epsilon", "v_prediction"),
    )


OPTIONS = TinyOptions


def main(argv: list[str]) -> None:
    """Write the model that `argv` describes. Raises: UserError if the folder is not empty."""
    config = parse(TinyOptions, argv, prog="python -m sdxl tiny", description=__doc__ or "")
    directory = Path(config.out)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(f"{directory} is not an empty folder; name another one")
    quiet()
    write(directory, seed=config.seed, prediction=config.prediction)
    print(f"a tiny SDXL with random weights -> {directory}")


def write(directory: Path, *, seed: int = 0, prediction: str = "epsilon") -> None:
    """Write the folder that `StableDiffusionXLPipeline.save_pretrained` makes of a tiny SDXL."""
    from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
    from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first, second = CLIPTextModel(_text(project=False)), CLIPTextModelWithProjection(_text(project=True))
        unet, vae = _unet(), _vae()
    scheduler = EulerDiscreteScheduler(**SCHEDULE, prediction_type=prediction)
    tokenizer = _tokenizer()
    StableDiffusionXLPipeline(vae, first, second, tokenizer, tokenizer, unet, scheduler).save_pretrained(directory)  # type: ignore[arg-type]


SCHEDULE: dict[str, Any] = {  # that of the real SDXL
    "num_train_timesteps": SDXL_STEPS,
    "beta_start": SDXL_BETAS[0],
    "beta_end": SDXL_BETAS[1],
    "beta_schedule": "scaled_linear",
    "timestep_spacing": "leading",
    "steps_offset": 1,
}


def _unet() -> Any:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=CHANNELS,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=2,
        transformer_layers_per_block=(1, 1, 2),  # type: ignore[arg-type]
        attention_head_dim=(2, 4, 4),  # type: ignore[arg-type]
        cross_attention_dim=2 * TEXT,
        norm_num_groups=8,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + TEXT,
    )


def _vae() -> Any:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),  # type: ignore[arg-type]
        down_block_types=("DownEncoderBlock2D",) * 4,  # type: ignore[arg-type]
        up_block_types=("UpDecoderBlock2D",) * 4,  # type: ignore[arg-type]
        norm_num_groups=4,
        latent_channels=4,
        sample_size=64,
        scaling_factor=0.13025,
        force_upcast=False,
    )


def _text(*, project: bool) -> Any:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=514,
        hidden_size=TEXT,
        intermediate_size=2 * TEXT,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        hidden_act="gelu" if project else "quick_gelu",
        projection_dim=TEXT,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
    )


def _tokenizer() -> Any:
    """CLIP's tokenizer with a vocabulary of the 256 bytes, and no merges."""
    from transformers import CLIPTokenizer

    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
        (Path(folder) / "merges.txt").write_text("#version: 0.2\n")
        return CLIPTokenizer.from_pretrained(folder, model_max_length=77)
