"""Train the mini model: a small SDXL that knows pictures of letters, with their colours, sizes and grounds.

    python -m sdxl pretrain --out runs/pretrained
    python -m sdxl pretrain --out runs/other --seed 1

The pictures are drawn by code, from fonts that come with matplotlib. First the VAE is trained on them, then the UNet together
with the two text encoders on the latents of the VAE. At the end a classifier, trained on the same pictures, measures whether
samples show what their prompts name. This takes about two hours of one core. The same command continues a stopped run; on the
same machine, with as many threads, the result has the same bits. Pictures and latents are kept in the cache, about 270 MB for
each seed.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness import cache
from harness.config import parse
from harness.files import digest
from harness.runs import Run
from harness.states import pack
from harness.tables import markdown
from sdxl.images.sheets import from_bytes
from sdxl.mini import glyphs, measure, models, shipped
from sdxl.mini.options import NOT_IDENTITY, PretrainOptions
from sdxl.mini.stages import ClassifierStage, UnetStage, VaeStage
from sdxl.mini.training import Training
from sdxl.model.base import Base
from sdxl.run_command import quiet

OPTIONS = PretrainOptions
STANDARDISED = 4096  # pictures whose features have mean 0 and variance 1


def main(argv: list[str]) -> None:
    """Train as `argv` describes."""
    config = parse(PretrainOptions, argv, prog="python -m sdxl pretrain", description=__doc__ or "")
    quiet()
    identity = config.without(*NOT_IDENTITY) | {"pictures_are_drawn_by": digest(glyphs.source())}
    with closing(Run(config.out, identity)) as run:
        if run.done:
            print(f"{config.out} is finished; the model is {config.out}/model")
        else:
            pretrain(config, run)


def pretrain(config: PretrainOptions, run: Run) -> None:
    """Train, measure and write the model. Raises: as `Training.train`."""
    out, pipeline = Path(config.out), models.pipeline(config.seed)
    folder = out / "untrained"
    pipeline.save_pretrained(folder)  # `Base` reads the schedule from a folder
    print(f"pictures of letters: {config.pictures:,}, drawn once or read from the cache", flush=True)
    pictures = models.pixels(range(config.pictures), seed=config.seed)
    training = Training(config, run)
    training.train(VaeStage(config, pipeline, pictures))
    latents = normalised_latents(pipeline.vae, pictures)
    training.train(UnetStage(config, pipeline, Base(folder), latents))
    last = ClassifierStage(config, pictures, pipeline.vae, latents)
    training.train(last)
    last.classifier.standardise(from_bytes(pictures[:STANDARDISED]))
    shipped.write(out / "model", pipeline, last.classifier)
    measured = measure.measure_model(Base(out / "model"), last.classifier, config, out / "samples")
    shipped.write_card(out / "model", config, measured, run, pipeline)
    run.finish()
    print(f"{measured.decibels()}\n\n{markdown(measured.table())}\nthe model is {out}/model")


def normalised_latents(vae: Any, pictures: torch.Tensor) -> torch.Tensor:
    """The latents of the pictures. Mean and standard deviation of their channels become part of the VAE's settings."""

    def encoded() -> dict[str, np.ndarray]:
        return {"latents": models.encoded(vae, pictures).numpy()}

    key = {"vae": digest(pack(vae.state_dict())), "pictures": digest(pictures.numpy().tobytes())}
    latents = torch.from_numpy(cache.cached("latents", key, encoded)["latents"])
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    vae.register_to_config(latents_mean=mean.tolist(), latents_std=std.tolist())
    return (latents - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1)
