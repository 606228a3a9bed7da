"""Fine-tune SDXL with a LoRA on noisy latents alone.

    python -m sdxl train --data noisy --base stabilityai/stable-diffusion-xl-base-1.0 --out run
    python -m sdxl train --config sdxl/configs/ffhq_500.yaml --data noisy --out run --dry-run
    torchrun --nproc-per-node 8 -m sdxl train --config sdxl/configs/ffhq_500.yaml --data noisy --out run

The same command continues a stopped run; on the same machine the result has the same bits. Any diffusers pipeline loads the LoRA
from the run directory: pipeline.load_lora_weights("run").
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from harness.errors import UserError
from harness.files import digest
from sdxl.corrupt.noisy_set import NoisySet, describe_levels
from sdxl.model import lora
from sdxl.model.base import PARTS as TEXT
from sdxl.model.base import Base, dtype_of, find, within_memory
from sdxl.parallel import Group
from sdxl.run_command import started
from sdxl.train import cost
from sdxl.train.options import TrainOptions

OPTIONS = TrainOptions
VALIDATION = ("validate_every", "validation_images", "validation_steps")
NOT_IDENTITY = ("out", "data", "base", "vae", "dry_run", "time_limit", "keep", "log_every", "save_every", "tracker", *VALIDATION)
ADVICE = (  # if memory runs out
    "take --micro-batch 1 and --checkpointing, or a set of a lower resolution; the same command continues from the newest "
    "checkpoint"
)


def main(argv: list[str]) -> None:
    """Train as `argv` describes."""
    with started(OPTIONS, argv, "train", __doc__) as (config, group):
        parts = ("unet", "scheduler", *(["vae"] if config.validate_every else []))
        base = group.together(lambda: find(config.base, parts=parts))
        vae = group.together(lambda: find(config.vae, parts=("vae",))) if config.vae else base
        data = group.together(lambda: checked(config, base, vae, group))
        if config.dry_run:
            return group.say(*(group.on_main(lambda: plan(config, base, data, group)) or []))
        group.together(lambda: data.verify(rank=group.rank, size=group.size))
        from sdxl.train.loop import Loop

        identity = identity_of(config, data, base, group.device)
        with group.run(config.out, identity, keep=config.keep) as (run, stopping), within_memory(ADVICE):
            Loop(config, base, vae, data, group, run).train(stopping)


def checked(config: TrainOptions, base: Base, vae: Base, group: Group) -> NoisySet:
    """The noisy set. Raises: UserError if it does not fit the base, the batch or the processes."""
    if config.validate_every:
        vae.part("vae")
    data = NoisySet(config.data)
    base.fit(data.shapes(), config.data)
    if data.manifest.schedule != base.schedule_digest():
        raise UserError(f"{config.data} was made with another noise schedule than that of {config.base}; corrupt again with it")
    if (config.vae or (vae.folder / "vae").is_dir()) and data.manifest.vae != vae.fingerprint("vae"):
        raise UserError(f"{config.data} was made with another VAE than that of {config.vae or config.base}; name it with --vae")
    of_set = data.manifest.identity.models | {"no_caption": data.manifest.identity.no_caption}
    for name, of_base in base.identity(*(part for part in TEXT if (base.folder / part).is_dir())).items():
        if of_set.get(name) != of_base:
            other = f"has its captions from another {name} than that of {config.base}"
            raise UserError(f"{config.data} {other}; corrupt again with it")
    highest = int(data.levels().max())
    if highest > base.last_noisy_time():
        raise UserError(f"{config.data} has images at t_n = {highest}, which are pure noise; corrupt again below")
    if config.start_from:
        start = lora.opened(config.start_from, base)
        lora.refuse_start(start, base, rank=config.rank, alpha=config.alpha, layers=config.layers)
    divisor = config.micro_batch * group.size
    if config.batch % divisor:
        product = f"--micro-batch {config.micro_batch} x {group.size} processes"
        raise UserError(f"--batch {config.batch} is no multiple of {divisor} ({product})")
    group.employ(len(data), config.data)
    return data


def identity_of(config: TrainOptions, data: NoisySet, base: Base, device: torch.device) -> dict[str, Any]:
    """What the result depends on: options, and digests of the data, of the base and of a LoRA that training starts from."""
    identity = config.without(*NOT_IDENTITY)
    identity["dtype"] = str(dtype_of(config.dtype, device)).removeprefix("torch.")
    if config.start_from:
        identity["start_from"] = digest(lora.find(config.start_from).read_bytes())
    return identity | {"data": data.digest} | base.identity("unet", "scheduler")


def plan(config: TrainOptions, base: Base, data: NoisySet, group: Group) -> list[str]:
    """The lines that --dry-run prints."""
    accumulated = config.batch // (config.micro_batch * group.size)
    return [
        *(f"{key}: {value}" for key, value in asdict(config).items()),
        f"images: {len(data):,} ({describe_levels(data.levels().tolist())}), {data.manifest.size}x{data.manifest.size}",
        f"processes: {group.size} on {group.device.type}; {accumulated} micro-batches of {config.micro_batch} a step on each",
        f"epochs: {config.steps * config.batch / len(data):.1f}",
        f"predicts: {base.prediction()}",
        *share(config, group.size),
        *cost.plan(config, base, data),
    ]


def share(config: TrainOptions, processes: int) -> list[str]:
    """The line of --dry-run on the images with a consistency term; none without the consistency loss."""
    own = config.batch // processes
    pairs = config.fraction * own
    rare = f", all of them in one step of {1 / pairs:.3g}" if pairs < 1 else ""
    term = f"consistency: {pairs:.3g} of the {own} images of each process have a consistency term in a step{rare}"
    return [term] if config.weight else []
