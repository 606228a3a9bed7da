"""Run the commands of the SDXL track, from corrupt to figures, on a laptop, in minutes and without a network.

    python -m sdxl rehearse
    python -m sdxl rehearse --steps 400 --out runs/longer

On the mini SDXL, which knows letters, the commands make a noisy set at t_n = 500 of 200 handwritten digits in colours, and two
LoRAs, with and without the consistency loss; then images, every evaluation, attacks with their controls, and a page of figures.
The trainings are far too short for results: for these see `python -m sdxl reproduce`. Eight digits are attacked, and compared
with those eight alone and with eight that are held out: in a larger set the nearest image is nearer, and the control would look
better than it is. The same command continues where it was stopped.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from harness import statistics
from harness.config import parse
from harness.files import write_atomically
from harness.options import Options
from sdxl import options, script
from sdxl.mini import digits, shipped
from sdxl.reproduce.experiments import FEATURES, PROMPTS
from sdxl.run_command import quiet

TRAINING, HELD_OUT, ATTACKED = 200, 100, 8  # numbers of digits
SHARED = {  # arguments that several commands share
    "sampling": "--base {out}/mini --steps 10",
    "training": "--config {laptop} --base {out}/mini --data {out}/noisy --steps {steps}",
    "samples": "--null-caption --images {images}",
    "prompts": "--prompts {out}/prompts.txt --images 4",
    "attacked": "--data {out}/attacked --split train",
    "control": "--data {out}/attacked --split held_out",
    "memory": "--training {out}/attacked --training-split train --held-out {out}/attacked --held-out-split held_out",
    "extractor": f"--extractor {FEATURES}",
    "regions": "--captions --detector center:0.5",
}
COMMANDS = r"""
corrupt --base {out}/mini --data {out}/digits --split train --resolution 32 --t-n 500 --out {out}/noisy
train {training} --weight 0 --out {out}/plain
train {training} --weight 0.01 --out {out}/consistent
generate {sampling} {samples} --out {out}/samples_base
generate {sampling} --lora {out}/plain {samples} --out {out}/samples_plain
generate {sampling} --lora {out}/consistent {samples} --out {out}/samples_consistent
generate {sampling} --lora {out}/plain --stop 500 {samples} --out {out}/stopped_plain
generate {sampling} {prompts} --out {out}/prompts_base
generate {sampling} --lora {out}/plain {prompts} --out {out}/prompts_plain
generate {sampling} --lora {out}/consistent {prompts} --out {out}/prompts_consistent
generate {sampling} --lora {out}/consistent --posterior {out}/noisy --images {images} --out {out}/posterior
evaluate restoration --base {out}/mini --loras {out}/plain {out}/consistent --data {out}/digits --split held_out \
    --resolution 32 --out {out}/restoration
evaluate fid --generated {out}/samples_base {out}/samples_plain {out}/samples_consistent --reference {out}/digits \
    --split held_out {extractor} --anyway --out {out}/fid
attack noise {sampling} {attacked} --t 500 900 --out {out}/attack_base
attack noise {sampling} --lora {out}/plain {attacked} --t 500 900 --out {out}/attack_plain
attack noise {sampling} --lora {out}/consistent {attacked} --t 500 900 --out {out}/attack_consistent
attack noise {sampling} {control} --t 500 900 --out {out}/control_base
attack noise {sampling} --lora {out}/plain {control} --t 500 900 --out {out}/control_plain
attack noise {sampling} --lora {out}/consistent {control} --t 500 900 --out {out}/control_consistent
attack mask {sampling} --lora {out}/consistent {attacked} {regions} --out {out}/masked
attack mask {sampling} --lora {out}/consistent {control} {regions} --out {out}/masked_control
evaluate memorization --images {out}/attack_base {out}/attack_plain {out}/attack_consistent --control {out}/control_base \
    {out}/control_plain {out}/control_consistent {memory} {extractor} --out {out}/memory
evaluate memorization --images {out}/attack_base {out}/samples_base {memory} {extractor} --out {out}/memory_base
evaluate memorization --images {out}/attack_consistent {out}/samples_consistent {memory} {extractor} --out {out}/memory_consistent
evaluate memorization --images {out}/masked --control {out}/masked_control --training {out}/masked/originals \
    --held-out {out}/masked_control/originals {extractor} --out {out}/memory_masked
figures --runs {out}/noisy {out}/plain {out}/consistent {out}/posterior {out}/restoration {out}/fid {out}/masked \
    {out}/memory {out}/memory_base {out}/memory_consistent {out}/memory_masked {out}/samples_base {out}/samples_plain \
    {out}/samples_consistent {out}/stopped_plain {out}/prompts_base {out}/prompts_plain {out}/prompts_consistent \
    {out}/attack_base {out}/attack_plain {out}/attack_consistent --data {out}/digits --split train --out {out}/figures
"""  # each line is a command of `python -m sdxl`


@dataclass(frozen=True)
class RehearseOptions(Options):
    """Options of `python -m sdxl rehearse`."""

    out: str = options.out("runs/rehearsal", "folder for the directories of all commands")
    steps: int = options.count(300, "number of optimiser steps of each training", group="size")
    images: int = options.count(
        6, "number of images of each kind to generate", group="size", at_least=statistics.FEWEST, at_most=options.MOST_IMAGES
    )


OPTIONS = RehearseOptions


def main(argv: list[str]) -> None:
    """Run all commands, with the numbers that `argv` gives."""
    config = parse(RehearseOptions, argv, prog="python -m sdxl rehearse", description=__doc__ or "")
    quiet()
    out, start, start_cpu = Path(config.out), time.monotonic(), time.process_time()
    prepare(out)
    shipped.ensure(out / "mini")
    script.run(stages(config))
    spent = f"{time.monotonic() - start:.0f} s, of them {time.process_time() - start_cpu:.0f} s of CPU time"
    print(f"\nall commands took {spent}; look at {out / 'figures/report.html'}")


def prepare(out: Path) -> None:
    """Write what the commands read and none of them writes: prompts, and folders of digits."""
    sets = digits.handwritten(None)
    counts = {"train": TRAINING, "held_out": HELD_OUT}
    digits.write(out / "digits", digits.first(sets, counts))
    digits.write(out / "attacked", digits.first(sets, dict.fromkeys(counts, ATTACKED)))
    write_atomically(out / "prompts.txt", "\n".join(PROMPTS).encode())


def stages(config: RehearseOptions) -> list[list[str]]:
    """The commands, each a list of arguments."""
    values = {"out": config.out, "steps": config.steps, "images": config.images}
    return script.filled(COMMANDS, SHARED, values | {"laptop": Path(__file__).parent / "configs/laptop.yaml"})
