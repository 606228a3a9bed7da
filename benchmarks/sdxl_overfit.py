"""Does the SDXL track learn? A tiny SDXL trains on noisy photographs: its training loss, and its restoration of other ones.

    python benchmarks/sdxl_overfit.py                      three seeds, minutes on two cores
    python benchmarks/sdxl_overfit.py --seeds 1 --steps 50

For each seed: another tiny base, the noisy set at t_n of the 24 pictures, a LoRA. Six held-out photographs are noised and
restored in one step by the base and by the base with the LoRA, under the same noise; the error is of latents, per coordinate.
A base with random weights knows nothing about photographs, so any decrease of the error is due to the LoRA.
"""

from __future__ import annotations

import io
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ambient.randomness import generator
from harness.commands import command
from harness.config import parse
from harness.options import Options, option
from harness.runs import read_metrics
from sdxl.__main__ import main as sdxl
from sdxl.images import photographs
from sdxl.images.crop import fit
from sdxl.model import lora, tiny
from sdxl.model.base import Base
from sdxl.model.text import TextEncoder
from sdxl.model.unet import denoiser
from sdxl.model.vae import latent
from sdxl.run_command import quiet
from toy.report.table import aligned, over_seeds, show

LEVELS, DRAWS = (900, 500, 300, 100), 8


@dataclass(frozen=True)
class Config(Options):
    """How long."""

    seeds: int = option(3, "number of seeds, each with a tiny base, noise and training of its own", metavar="COUNT", at_least=1)
    steps: int = option(300, "number of training steps", metavar="COUNT", at_least=1)
    t_n: int = option(300, "level of the noisy set", at_least=0)
    rank: int = option(32, "rank of the LoRA matrices, large since the tiny UNet has few layers to adapt", at_least=1)
    resolution: int = option(64, "size of the images in pixels", at_least=1)


def main(argv: list[str]) -> None:
    """Print the table for `argv`, and the numbers as JSON."""
    config = parse(Config, argv, prog="python benchmarks/sdxl_overfit.py", description=__doc__ or "")
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        found = [one(config, Path(folder) / str(seed), seed) for seed in range(config.seeds)]
    columns = {"before": lambda f: f[0], "after": lambda f: f[1], "change": lambda f: f[1] / f[0] - 1}
    rows = [[name, *(show(over_seeds([of(f[name]) for f in found])) for of in columns.values())] for name in found[0]]
    print(aligned([["", *columns], *rows]))
    print(json.dumps({"config": vars(config), "seeds": found}))


def one(config: Config, folder: Path, seed: int) -> dict[str, tuple[float, float]]:
    """(before, after) of the training loss and of the restoration error at each level."""
    tiny.write(folder / "tiny", seed=seed)
    base = Base(folder / "tiny")
    given = ["--base", base.folder, "--seed", seed]
    noisy = ["--data", "photographs", "--resolution", config.resolution, "--t-n", config.t_n, "--out", folder / "noisy"]
    trained = ["--data", folder / "noisy", "--out", folder / "run", "--steps", config.steps, "--rank", config.rank]
    trained += ["--alpha", 4 * config.rank, "--learning-rate", 3e-3, "--batch", 8, "--micro-batch", 8, "--no-checkpointing"]
    trained += ["--tracker", "none", "--log-every", 1]
    for words in (["corrupt", *given, *noisy], ["train", *given, *trained]):
        sdxl([str(word) for word in words])
    losses = [row["ambient"] for row in read_metrics(folder / "run/metrics.jsonl")]
    tenth = max(1, len(losses) // 10)
    found = {"training loss": (sum(losses[:tenth]) / tenth, sum(losses[-tenth:]) / tenth)}
    plain, tuned = base.unet(), base.unet()
    lora.attach(tuned, lora.opened(str(folder / "run"), base))
    for t in LEVELS:
        found[f"held out, t = {t}"] = (restoration(base, plain, config, t, seed), restoration(base, tuned, config, t, seed))
    return found


@torch.no_grad()
def restoration(base: Base, unet: Any, config: Config, t: int, seed: int) -> float:
    """Mean squared error of h(x_t, t) on the held-out photographs, DRAWS draws of the noise each."""
    path, text, vae, errors = base.path(), TextEncoder(base, torch.device("cpu")), base.vae(), []
    h = denoiser(unet, path, base.prediction())
    for number, photograph in enumerate(photographs.HELD_OUT):
        with Image.open(io.BytesIO(photograph.payload())) as image:
            pixels, time_ids = fit(image.convert("RGB"), config.resolution, "center", seed, photograph.key)
        x_0 = latent(vae, pixels[None]).expand(DRAWS, -1, -1, -1)
        noise = torch.randn(x_0.shape, generator=generator(seed, f"restoration at {t}", number))
        condition = text(photograph.caption) | {"time_ids": time_ids[None]}
        condition = {name: value.expand(DRAWS, *value.shape[1:]) for name, value in condition.items()}
        errors.append((h(path(float(t)).apply(x_0, noise), float(t), condition) - x_0).square().mean())
    return float(torch.stack(errors).mean())


if __name__ == "__main__":
    command(main)
