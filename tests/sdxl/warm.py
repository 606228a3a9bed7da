"""Imported once by the process from which those of `in_two` are forked: all that takes long to import."""

from __future__ import annotations

import importlib

import torch

for name in (
    "diffusers.models.autoencoders.autoencoder_kl",
    "diffusers.models.unets.unet_2d_condition",
    "diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl",
    "peft",
    "sdxl.__main__",
    "sdxl.parallel",
    "torch.distributed.nn",
    "torchmetrics.image.fid",
    "torchmetrics.image.kid",
    "transformers.models.clip.modeling_clip",
):
    importlib.import_module(name)
torch.set_num_threads(1)
