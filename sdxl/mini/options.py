"""The options of `python -m sdxl pretrain`."""

from __future__ import annotations

from dataclasses import dataclass

from harness.options import Options, option
from sdxl import options

NOT_IDENTITY = ("out", "save_every", "log_every")  # options on which the model does not depend


@dataclass(frozen=True)
class PretrainOptions(Options):
    """Options of `python -m sdxl pretrain`."""

    out: str = options.out("runs/pretrained", "folder for the run; the model is written to its subfolder model")
    seed: int = option(0, "seed of the pictures, the weights, the noise and the order of the pictures", group="model")
    pictures: int = options.count(65_536, "number of pictures to train on, of those that a seed gives")
    held_out: int = options.count(512, "number of further pictures, for the measurements at the end", at_least=2)
    vae_steps: int = option(6_000, "number of optimiser steps for the VAE", group="optimisation", at_least=1)
    vae_batch: int = option(16, "number of pictures in a step of the VAE", group="optimisation", at_least=1)
    vae_learning_rate: float = option(2e-3, "peak learning rate of the VAE", group="optimisation", above=0)
    kl: float = option(
        1e-5, "weight of the KL divergence of a latent from N(0, 1), per coordinate; the reconstruction error has weight 1",
        group="optimisation", at_least=0,
    )  # fmt: skip
    unet_steps: int = option(
        12_000, "number of optimiser steps for the UNet and the text encoders", group="optimisation", at_least=1
    )
    unet_batch: int = option(32, "number of latents in a step of the UNet", group="optimisation", at_least=1)
    unet_learning_rate: float = option(
        1e-3, "peak learning rate of the UNet and the text encoders", group="optimisation", above=0
    )
    caption_dropout: float = option(
        0.1, "share of the pictures that are shown to the UNet without their caption", group="optimisation", at_least=0, at_most=1
    )
    min_snr: float = option(
        5.0, "gamma of the min-SNR weight on the UNet's loss; 0: no such weight", group="optimisation", at_least=0
    )
    classifier_steps: int = option(3_000, "number of optimiser steps for the classifier", group="measurement", at_least=1)
    classifier_batch: int = option(64, "number of pictures in a step of the classifier", group="measurement", at_least=1)
    classifier_learning_rate: float = option(1e-3, "peak learning rate of the classifier", group="measurement", above=0)
    guidance: float = option(3.0, "guidance scale of the samples that are measured", group="measurement", at_least=1)
    save_every: int = option(500, "number of optimiser steps between two checkpoints", group="output", at_least=1)
    log_every: int = option(
        100, "number of optimiser steps of which each line of metrics.jsonl is the mean", group="output", at_least=1
    )
