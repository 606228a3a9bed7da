"""Write a tiny SDXL with random weights: the real classes and folders, small enough for a laptop, made without a network.

    python -m sdxl tiny runs/tiny
    python -m sdxl tiny runs/tiny-v --prediction v_prediction

It generates noise. Tests and rehearsals use it in place of the real SDXL.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.config import parse
from harness.options import Options, option
from sdxl import options
from sdxl.model import fresh
from sdxl.run_command import quiet

TINY = fresh.Sizes(
    text=32,
    time_features=8,
    unet={
        "sample_size": 8,
        "block_out_channels": (16, 32, 32),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 2,
        "transformer_layers_per_block": (1, 1, 2),
        "attention_head_dim": (2, 4, 4),
        "norm_num_groups": 8,
    },
    vae={
        "block_out_channels": (8, 8, 16, 16),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "norm_num_groups": 4,
        "sample_size": 64,
        "scaling_factor": 0.13025,
    },
)


@dataclass(frozen=True)
class TinyOptions(Options):
    """Options of `python -m sdxl tiny`."""

    out: str = options.new_folder()
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
    directory = options.require_empty(config.out)
    quiet()
    write(directory, seed=config.seed, prediction=config.prediction)
    print(f"a tiny SDXL with random weights -> {directory}")


def write(directory: Path, *, seed: int = 0, prediction: str = "epsilon") -> None:
    """Write the folder that `StableDiffusionXLPipeline.save_pretrained` makes of a tiny SDXL."""
    fresh.pipeline(TINY, fresh.byte_tokenizer(), seed=seed, prediction=prediction).save_pretrained(directory)
