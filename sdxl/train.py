"""Fine-tune SDXL by LoRA on noisy latents alone.

    python -m sdxl train --data noisy --base stabilityai/stable-diffusion-xl-base-1.0 --out run
    python -m sdxl train --config sdxl/configs/ffhq_500.yaml --data noisy --out run --dry-run
    torchrun --nproc-per-node 8 -m sdxl train --config sdxl/configs/ffhq_500.yaml --data noisy --out run

The same command resumes, with the same bits on the same machine. The LoRA is in the run directory as any diffusers pipeline
loads it: pipeline.load_lora_weights("run").
"""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ambient.config import nearest, option, parse
from ambient.runs import Run, UserError, digest, stop_requests
from sdxl import cost, lora
from sdxl.base import DTYPES, SDXL, Base, dtype_of, find, quiet, within_memory
from sdxl.group import Group
from sdxl.noisy_set import NoisySet
from sdxl.objective import SPACES, STEPS, Objective

COUNTS = ("rank", "steps", "batch", "micro_batch", "largest_step", "save_every", "keep", "log_every", "validation_images")
VALIDATION = ("validate_every", "validation_images", "validation_steps")
NOT_IDENTITY = ("out", "data", "base", "vae", "dry_run", "time_limit", "keep", "log_every", "save_every", "tracker", *VALIDATION)
TRACKERS = ("tensorboard", "wandb", "none")


@dataclass(frozen=True)
class Config:
    """What is run."""

    out: str = option("runs/sdxl", "run directory", metavar="DIR")
    data: str = option("", "noisy set, as `python -m sdxl corrupt` wrote it", metavar="DIR")
    base: str = option(SDXL, "SDXL: a folder or a hub id")
    vae: str | None = option(None, "the VAE of the set, if not the base's: a folder or a hub id")
    start_from: str | None = option(None, "a LoRA to go on from: a run directory or a file (same rank)", metavar="LORA")
    rank: int = option(4, "of the LoRA")
    alpha: float = option(4.0, "of the LoRA; its updates are scaled by alpha / rank")
    steps: int = option(1_000, "optimiser steps in all")
    batch: int = option(16, "images a step, over all processes")
    micro_batch: int = option(1, "images at a time on each process; batch must be a multiple of it times the processes")
    learning_rate: float = option(1e-5, "of AdamW, constant")
    weight_decay: float = option(0.01, "of AdamW")
    max_norm: float = option(1.0, "gradients are clipped to this norm; 0: not at all")
    space: str = option("eps", "units of the losses: eps, or the paper's x_n", choices=SPACES)
    min_snr: float = option(0.0, "min-SNR weight in units of eps, usually 5; 0: none", metavar="GAMMA")
    weight: float = option(0.01, "of the consistency loss; 0: the ambient loss alone")
    consistency_from: int = option(0, "first step with the consistency loss", metavar="STEP")
    fraction: float = option(0.25, "share of the images that pay for consistency")
    below: float = option(0.5, "share of those whose pair starts below t_n, one evaluation more")
    kernel: str = option("ancestral", "reverse step of the consistency loss", choices=STEPS)
    largest_step: int = option(20, "largest step of t in a consistency pair", metavar="STEP")
    antithetic: bool = option(False, "four evaluations a pair, and far less variance, instead of two")
    caption_dropout: float = option(0.1, "share of images trained without their caption, for guidance", metavar="SHARE")
    dtype: str = option("auto", "of the base's weights: auto (bfloat16 on a GPU), float32, bfloat16, float16", metavar="DTYPE")
    checkpointing: bool = option(True, "recompute activations: a third more work, far less memory")
    ema: float = option(0.0, "decay of an average of the weights, saved as ema/ too, e.g. 0.999; 0: none", metavar="DECAY")
    seed: int = option(0, "data order, levels, noise and the LoRA's start follow from it")
    collapse: float = option(3.0, "stop where the ambient loss is this many times its least; 0: never", metavar="TIMES")
    save_every: int = option(500, "steps between checkpoints", metavar="STEPS")
    keep: int = option(2, "checkpoints kept", metavar="COUNT")
    log_every: int = option(10, "steps between lines of metrics.jsonl", metavar="STEPS")
    validate_every: int = option(0, "steps between validation images; 0: none", metavar="STEPS")
    validation_images: int = option(4, "how many, with captions of the set and without guidance", metavar="COUNT")
    validation_steps: int = option(25, "sampling steps of validation images", metavar="COUNT")
    tracker: str = option("tensorboard", "beside metrics.jsonl", choices=("tensorboard", "wandb", "none"))
    time_limit: float = option(0.0, "save and stop after so many minutes; 0: never", metavar="MINUTES")
    dry_run: bool = option(False, "print the plan and what it costs, and leave")

    def __post_init__(self) -> None:
        for name, known in (("space", SPACES), ("kernel", STEPS), ("dtype", ("auto", *DTYPES)), ("tracker", TRACKERS)):
            if getattr(self, name) not in known:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}{nearest(getattr(self, name), known)}")
        for name in COUNTS:
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be at least 1; got {getattr(self, name)}")
        for name in ("fraction", "below", "caption_dropout", "ema"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"--{name.replace('_', '-')} is a share between 0 and 1; got {getattr(self, name)}")
        if self.ema == 1:
            raise ValueError("--ema 1 would keep the first weights for ever; take less, e.g. 0.999")
        for name in ("weight", "weight_decay", "max_norm", "min_snr", "consistency_from", "validate_every", "time_limit"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"--{name.replace('_', '-')} must not be negative; got {getattr(self, name)}")
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"--learning-rate must lie between 0 and 1; got {self.learning_rate}")
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"--alpha must be positive and finite; got {self.alpha}")
        if self.min_snr and self.space != "eps":
            raise ValueError("--min-snr is a weight in units of eps; take --space eps")
        if self.collapse != 0 and not self.collapse > 1:
            raise ValueError(f"--collapse is a factor above 1, or 0; got {self.collapse}")
        if self.weight > 0 and self.consistency_from >= self.steps:
            raise ValueError(
                f"--consistency-from {self.consistency_from} is not reached in {self.steps} steps; take --weight 0 for the "
                "ambient loss alone"
            )
        if self.weight > 0 and self.fraction == 0:
            raise ValueError("--fraction 0 leaves no image for the consistency loss; take --weight 0 for the ambient loss alone")

    def objective(self, base: Base) -> Objective:
        """The loss that these options describe."""
        units = {"space": self.space, "min_snr": self.min_snr}
        pairs = {"kernel": self.kernel, "largest_step": self.largest_step, "antithetic": self.antithetic, "below": self.below}
        return Objective(base.path(), **units, **pairs)

    def identity(self, data: NoisySet, base: Base, device: torch.device) -> dict[str, Any]:
        """What the result depends on; data, base and a LoRA that it starts from by their content."""
        own = {key: value for key, value in asdict(self).items() if key not in NOT_IDENTITY}
        own["dtype"] = str(dtype_of(self.dtype, device)).removeprefix("torch.")
        if self.start_from:
            own["start_from"] = digest(lora.find(self.start_from).read_bytes())
        return own | {"data": data.digest, "base": base.fingerprint("unet"), "schedule": base.schedule_digest()}


def main(argv: list[str]) -> None:
    """Train as `argv` describes."""
    config = parse(Config, argv, prog="python -m sdxl train", description=__doc__ or "")
    quiet()
    group = Group()
    with closing(group):
        parts = ("unet", "scheduler", *(["vae"] if config.validate_every else []))
        base = group.together(lambda: find(config.base, parts=parts))
        vae = group.together(lambda: find(config.vae, parts=("vae",))) if config.vae else base
        data = group.together(lambda: checked(config, base, vae, group))
        if config.dry_run:
            lines = group.on_main(lambda: plan(config, base, data, group))
            return group.say("\n".join(lines or []))
        group.together(lambda: data.verify(rank=group.rank, size=group.size))
        from sdxl.loop import Loop

        run = group.on_main(lambda: Run(config.out, config.identity(data, base, group.device), keep=config.keep))
        advice = "take --micro-batch 1 and --checkpointing, or a set of a lower resolution"
        try:
            with within_memory(f"{advice}; the same command goes on from the newest checkpoint"), stop_requests() as stopping:
                Loop(config, base, vae, data, group, run).train(stopping)
        finally:
            if run is not None:
                run.close()


def checked(config: Config, base: Base, vae: Base, group: Group) -> NoisySet:
    """The noisy set. Raises: UserError if it does not go with the base, the batch or the processes."""
    if not config.data:
        raise UserError("--data is missing: a noisy set, as `python -m sdxl corrupt` writes it")
    if config.validate_every:
        vae.part("vae")
    data = NoisySet(config.data)
    if data.manifest["schedule"] != base.schedule_digest():
        raise UserError(f"{config.data} was made with another noise schedule than that of {config.base}; corrupt again with it")
    if (config.vae or (vae.folder / "vae").is_dir()) and data.manifest["vae"] != vae.fingerprint("vae"):
        raise UserError(f"{config.data} was made with another VAE than that of {config.vae or config.base}; name it with --vae")
    for part, fingerprint in data.manifest.get("identity", {}).get("text", {}).items():
        if (base.folder / part).is_dir() and base.fingerprint(part) != fingerprint:
            raise UserError(
                f"{config.data} has its captions from another {part} than that of {config.base}; corrupt again with it"
            )
    if config.start_from:
        rank = lora.rank(lora.read(lora.find(config.start_from)))
        if rank != config.rank:
            raise UserError(f"{config.start_from} is of rank {rank}; take --rank {rank}")
    together = config.micro_batch * group.size
    if config.batch % together:
        raise UserError(
            f"--batch {config.batch} is no multiple of {together} (--micro-batch {config.micro_batch} x {group.size} processes)"
        )
    group.employ(len(data), config.data)
    return data


def plan(config: Config, base: Base, data: NoisySet, group: Group) -> list[str]:
    """The resolved plan: what --dry-run prints."""
    levels = data.levels()
    shown = ", ".join(f"{int((levels == t).sum()):,} at t_n = {t:g}" for t in levels.unique().tolist()[:6])
    accumulated = config.batch // (config.micro_batch * group.size)
    lines = [f"{key}: {value}" for key, value in asdict(config).items()]
    lines += [
        f"images: {len(data):,} ({shown}), {data.manifest['size']}x{data.manifest['size']}",
        f"processes: {group.size} on {group.device.type}; {accumulated} micro-batches of {config.micro_batch} a step on each",
        f"epochs: {config.steps * config.batch / len(data):.1f}",
        f"predicts: {base.prediction()}",
    ]
    return [*lines, *share(config, group.size), *cost.plan(config, base, data)]


def share(config: Config, processes: int) -> list[str]:
    """How many images of a process pay for consistency, in words."""
    own = config.batch // processes
    paying = config.fraction * own
    rare = f", all at once in one step of {1 / paying:.3g}" if paying < 1 else ""
    return [f"consistency: {paying:.3g} of the {own} images of each process pay in a step{rare}"] if config.weight else []
