"""All of the SDXL track in minutes on a laptop, without a network, from a tiny SDXL to a page with the paper's figures.

    python -m sdxl rehearse
    python -m sdxl rehearse --steps 200 --out runs/longer

A tiny SDXL with random weights, 24 photographs that packages ship, a noisy set at t_n = 500, two LoRAs, with and without the
consistency loss; images, every evaluation, attacks with their controls, figures. Nothing of it is worth looking at but that it
runs: the base paints noise, what sees the images is random too, and 24 images are far too few. Six photographs are held out, so
six are attacked and compared with those six alone: among more images the nearest one is nearer, and a control would look better
than it is. The same command goes on where it was stopped.
"""

from __future__ import annotations

import re
import shlex
import time
from dataclasses import dataclass
from pathlib import Path

from harness.config import parse
from harness.files import write_atomically
from harness.options import Options
from sdxl import options
from sdxl.images.photographs import HELD_OUT, TRAINING
from sdxl.run_command import quiet

ATTACKED = len(HELD_OUT)  # photographs: as many of those to train on as there are for the control
PROMPTS = ("a cat", "the moon", "a wall of bricks", "a flower")
COMMANDS = r"""
tiny {out}/tiny
corrupt --base {out}/tiny --data photographs --resolution 128 --t-n 500 --out {out}/noisy
train --config {laptop} --base {out}/tiny --data {out}/noisy --steps {steps} --weight 0 --out {out}/plain
train --config {laptop} --base {out}/tiny --data {out}/noisy --steps {steps} --weight 0.01 --out {out}/consistent
generate --base {out}/tiny --null-caption --resolution 128 --steps 10 --images {images} --out {out}/samples_base
generate --base {out}/tiny --lora {out}/plain --null-caption --resolution 128 --steps 10 --images {images} \
    --out {out}/samples_plain
generate --base {out}/tiny --lora {out}/consistent --null-caption --resolution 128 --steps 10 --images {images} \
    --out {out}/samples_consistent
generate --base {out}/tiny --lora {out}/plain --stop 500 --null-caption --resolution 128 --steps 10 --images {images} \
    --out {out}/stopped_plain
generate --base {out}/tiny --prompts {out}/prompts.txt --resolution 128 --steps 10 --images 4 --out {out}/prompts_base
generate --base {out}/tiny --lora {out}/plain --prompts {out}/prompts.txt --resolution 128 --steps 10 --images 4 \
    --out {out}/prompts_plain
generate --base {out}/tiny --lora {out}/consistent --prompts {out}/prompts.txt --resolution 128 --steps 10 --images 4 \
    --out {out}/prompts_consistent
generate --base {out}/tiny --lora {out}/consistent --posterior {out}/noisy --steps 10 --images {images} \
    --out {out}/posterior
evaluate restoration --base {out}/tiny --loras {out}/plain {out}/consistent --data photographs --split held_out \
    --resolution 128 --out {out}/restoration
evaluate fid --generated {out}/samples_base {out}/samples_plain {out}/samples_consistent --reference photographs \
    --resolution 128 --extractor tiny --anyway --out {out}/fid
attack noise --base {out}/tiny --data photographs --images {attacked} --resolution 128 --t 500 900 --steps 10 \
    --out {out}/attack_base
attack noise --base {out}/tiny --lora {out}/plain --data photographs --images {attacked} --resolution 128 --t 500 900 \
    --steps 10 --out {out}/attack_plain
attack noise --base {out}/tiny --lora {out}/consistent --data photographs --images {attacked} --resolution 128 --t 500 900 \
    --steps 10 --out {out}/attack_consistent
attack noise --base {out}/tiny --data photographs --split held_out --images {attacked} --resolution 128 --t 500 900 --steps 10 \
    --out {out}/control_base
attack noise --base {out}/tiny --lora {out}/plain --data photographs --split held_out --images {attacked} --resolution 128 \
    --t 500 900 --steps 10 --out {out}/control_plain
attack noise --base {out}/tiny --lora {out}/consistent --data photographs --split held_out --images {attacked} \
    --resolution 128 --t 500 900 --steps 10 --out {out}/control_consistent
attack mask --base {out}/tiny --lora {out}/consistent --data photographs --images {attacked} --captions \
    --detector center:0.5 --resolution 128 --steps 10 --out {out}/masked
attack mask --base {out}/tiny --lora {out}/consistent --data photographs --split held_out --images {attacked} --captions \
    --detector center:0.5 --resolution 128 --steps 10 --out {out}/masked_control
evaluate memorization --images {out}/attack_base {out}/attack_plain {out}/attack_consistent --control {out}/control_base \
    {out}/control_plain {out}/control_consistent --training {out}/attacked --held-out photographs --held-out-split held_out \
    --extractor tiny --out {out}/memory
evaluate memorization --images {out}/attack_base {out}/samples_base --training photographs --held-out photographs \
    --held-out-split held_out --extractor tiny --out {out}/memory_base
evaluate memorization --images {out}/attack_consistent {out}/samples_consistent --training photographs --held-out photographs \
    --held-out-split held_out --extractor tiny --out {out}/memory_consistent
evaluate memorization --images {out}/masked --control {out}/masked_control --training {out}/masked/originals \
    --held-out {out}/masked_control/originals --extractor tiny --out {out}/memory_masked
figures --runs {out}/noisy {out}/plain {out}/consistent {out}/posterior {out}/restoration {out}/fid {out}/masked \
    {out}/memory {out}/memory_base {out}/memory_consistent {out}/memory_masked {out}/samples_base {out}/samples_plain \
    {out}/samples_consistent {out}/stopped_plain {out}/prompts_base {out}/prompts_plain {out}/prompts_consistent \
    {out}/attack_base {out}/attack_plain {out}/attack_consistent --data photographs --out {out}/figures
"""  # each line a command, with `python -m sdxl` before it


@dataclass(frozen=True)
class RehearseOptions(Options):
    """How much of it."""

    out: str = options.out("runs/rehearsal", "folder for everything")
    steps: int = options.count(40, "number of optimiser steps of each training", group="size")
    images: int = options.count(6, "number of images of each kind to generate", group="size", at_most=options.MOST_IMAGES)


OPTIONS = RehearseOptions


def main(argv: list[str]) -> None:
    """Rehearse as `argv` says."""
    config = parse(RehearseOptions, argv, prog="python -m sdxl rehearse", description=__doc__ or "")
    quiet()
    from sdxl.__main__ import main as run

    out, begun, at_work = Path(config.out), time.monotonic(), time.process_time()
    prepare(out)
    for words in stages(config):
        if words[0] == "tiny" and (out / "tiny").exists():
            continue
        print(f"\n$ python -m sdxl {shlex.join(words)}", flush=True)
        run(words)
    spent = f"{time.monotonic() - begun:.0f} s, {time.process_time() - at_work:.0f} s of them at work"
    print(f"\nall of it took {spent}; look at {out / 'figures/report.html'}")


def prepare(out: Path) -> None:
    """What commands read that no command writes: prompts, and the photographs that are attacked."""
    (out / "attacked").mkdir(parents=True, exist_ok=True)
    write_atomically(out / "prompts.txt", "\n".join(PROMPTS).encode())
    for one in TRAINING[:ATTACKED]:
        write_atomically(out / "attacked" / f"{one.key}.ppm", one.payload())


def stages(config: RehearseOptions) -> list[list[str]]:
    """The commands, each a list of arguments."""
    laptop = str(Path(__file__).parent / "configs/laptop.yaml")
    values = {"out": config.out, "steps": str(config.steps), "images": str(config.images)}
    values |= {"attacked": str(ATTACKED), "laptop": laptop}
    lines = COMMANDS.replace("\\\n", "").strip().splitlines()
    return [[re.sub(r"\{(\w+)\}", lambda name: values[name[1]], word) for word in line.split()] for line in lines]
