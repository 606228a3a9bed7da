"""All of the SDXL track in minutes on a laptop, without a network: tiny, corrupt, train, generate.

    python -m sdxl rehearse

A tiny SDXL with random weights, 24 photographs that packages ship, a noisy set at t_n = 500, a LoRA by the ambient and the
consistency loss, images by full sampling and by early stop. Nothing of it is worth looking at but that it runs: the base paints
noise, and 24 images are far too few. The same command goes on where it was stopped.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ambient.config import option, parse
from sdxl import corrupt, generate, tiny, train
from sdxl.base import quiet


@dataclass(frozen=True)
class Config:
    """How much of it."""

    out: str = option("runs/rehearsal", "folder of it all", metavar="DIR")
    steps: int = option(60, "of training", metavar="COUNT")
    images: int = option(4, "to generate, of each kind", metavar="COUNT")


def main(argv: list[str]) -> None:
    """Rehearse as `argv` says."""
    config = parse(Config, argv, prog="python -m sdxl rehearse", description=__doc__ or "")
    quiet()
    out, begun = Path(config.out), time.monotonic()
    for name, (command, words) in stages(config).items():
        if name == "tiny" and (out / "tiny").exists():
            continue
        print(f"\n$ python -m sdxl {shlex.join(words)}", flush=True)
        command(words[1:])
    print(f"\nall of it took {time.monotonic() - begun:.0f} s; look at {out / 'images/sheet.png'}")


def stages(config: Config) -> dict[str, tuple[Callable[[list[str]], None], list[str]]]:
    """The commands, each with its words."""
    out = config.out
    base = ["--base", f"{out}/tiny"]
    made = [*base, "--lora", f"{out}/run", "--images", str(config.images), "--prompt", "a photograph"]
    noisy = ["--data", "photographs", "--resolution", "128", "--t-n", "500", "--out", f"{out}/noisy"]
    trained = ["--config", str(Path(__file__).parent / "configs/laptop.yaml"), "--data", f"{out}/noisy", "--out", f"{out}/run"]
    behind = [*base, "--lora", f"{out}/run", "--images", str(config.images), "--posterior", f"{out}/noisy"]
    return {
        "tiny": (tiny.main, ["tiny", f"{out}/tiny"]),
        "corrupt": (corrupt.main, ["corrupt", *base, *noisy]),
        "train": (train.main, ["train", *base, *trained, "--steps", str(config.steps)]),
        "generate": (generate.main, ["generate", *made, "--out", f"{out}/images"]),
        "stop": (generate.main, ["generate", *made, "--stop", "500", "--out", f"{out}/stopped"]),
        "posterior": (generate.main, ["generate", *behind, "--out", f"{out}/posterior"]),
    }
