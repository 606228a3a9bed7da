"""Options of `python -m sdxl train`."""

from __future__ import annotations

from dataclasses import dataclass

from harness.options import Options, option
from sdxl import options
from sdxl.model.lora import LAYERS

SPACES = ("eps", "x_n")  # units of the losses
KERNELS = ("ancestral", "euler-maruyama")  # reverse steps that need no evaluation beyond the one at their start
TRACKERS = ("tensorboard", "wandb", "none")


@dataclass(frozen=True)
class TrainOptions(Options):
    """Options of `python -m sdxl train`."""

    out: str = options.out("runs/sdxl", "run directory")
    data: str = option("", "noisy set that `python -m sdxl corrupt` wrote", group="data", metavar="DIR", path=True, required=True)
    base: str = options.base()
    vae: str | None = option(
        None, "VAE with which the noisy set was made: a folder or a model id", group="model", metavar="MODEL",
        usual="the VAE of --base", path=True,
    )  # fmt: skip
    start_from: str | None = option(
        None, "LoRA whose weights training starts from, of the same rank: a run directory or a file", group="model",
        metavar="LORA", usual="a LoRA that changes nothing", path=True,
    )  # fmt: skip
    rank: int = option(4, "rank of the LoRA matrices", group="model", at_least=1, at_most=4096)
    alpha: float = option(4.0, "scale of the LoRA: its updates are multiplied by alpha / rank", group="model", above=0)
    layers: str = option(
        "attention", "layers that get a LoRA: attention; feed-forward, which adds those layers of the transformer blocks; or "
        "convolutions, which adds those and the convolutions of the residual blocks", group="model", choices=LAYERS,
    )  # fmt: skip
    steps: int = options.count(1_000, "number of optimiser steps", group="optimisation")
    batch: int = options.count(16, "images in an optimiser step, summed over all processes", group="optimisation")
    micro_batch: int = options.count(
        1, "images that each process handles at a time; --batch must be a multiple of this times the processes",
        group="optimisation",
    )  # fmt: skip
    learning_rate: float = option(1e-5, "learning rate of AdamW", group="optimisation", above=0, below=1)
    decay: float = option(
        0.0, "share of the steps, at the end, in which the learning rate falls linearly to 0; 0 keeps it constant",
        group="optimisation", metavar="SHARE", at_least=0, at_most=1,
    )  # fmt: skip
    weight_decay: float = option(0.01, "weight decay of AdamW", group="optimisation", at_least=0)
    max_norm: float = option(1.0, "norm to which gradients are clipped; 0 turns clipping off", group="optimisation", at_least=0)
    space: str = option("eps", "units of the losses: of the noise (eps), or the paper's x_n", group="objective", choices=SPACES)
    min_snr: float = option(
        0.0, "gamma of the min-SNR weight of the losses in units of eps, usually 5; 0 turns it off", group="objective",
        metavar="GAMMA", at_least=0,
    )  # fmt: skip
    weight: float = option(0.01, "weight of the consistency loss; 0 leaves the ambient loss alone", group="objective", at_least=0)
    consistency_from: int = option(
        0, "number of steps before the consistency loss begins", group="objective", metavar="STEP", at_least=0
    )
    fraction: float = option(
        0.25, "share of the images with a consistency term", group="objective", metavar="SHARE", at_least=0, at_most=1
    )
    below: float = option(
        0.5, "share of the consistency pairs that start below t_n, at the price of one more evaluation of the UNet each",
        group="objective", metavar="SHARE", at_least=0, at_most=1,
    )  # fmt: skip
    kernel: str = option("ancestral", "kernel of the reverse step of the consistency loss", group="objective", choices=KERNELS)
    largest_step: int = option(
        20, "largest difference t - s of a consistency pair, in times of the schedule", group="objective", metavar="STEP",
        at_least=1,
    )  # fmt: skip
    antithetic: bool = option(
        False, "use antithetic noise in the pairs of the consistency loss: far less variance, for four evaluations of the UNet "
        "instead of two", group="objective",
    )  # fmt: skip
    antithetic_ambient: bool = option(
        False, "use antithetic noise in the ambient loss, which then trains the levels at and just above t_n as well as all "
        "others, for two evaluations of the UNet instead of one", group="objective",
    )  # fmt: skip
    caption_dropout: float = option(
        0.1, "share of the images trained without their caption, which classifier-free guidance needs", group="objective",
        metavar="SHARE", at_least=0, at_most=1,
    )  # fmt: skip
    dtype: str = options.dtype()
    checkpointing: bool = option(
        True, "recompute activations in the backward pass: a third more work, far less memory", group="optimisation"
    )
    ema: float = option(
        0.0, "decay of an exponential average of the weights, saved in ema/, e.g. 0.999; 0 keeps none", group="optimisation",
        metavar="DECAY", at_least=0, below=1,
    )  # fmt: skip
    seed: int = option(
        0, "seed of the order of the data, of levels, noise and the first weights of the LoRA", group="optimisation"
    )
    collapse: float = option(
        3.0, "stop when the ambient loss is this many times the least it was; 0 never stops", group="optimisation",
        metavar="TIMES", above=1, also=(0,),
    )  # fmt: skip
    save_every: int = option(500, "steps between checkpoints", group="output", metavar="STEPS", at_least=1)
    keep: int = options.count(2, "number of checkpoints to keep, the newest ones", group="output")
    log_every: int = option(10, "steps between lines of metrics.jsonl", group="output", metavar="STEPS", at_least=1)
    validate_every: int = option(0, "steps between validation images; 0 makes none", group="output", metavar="STEPS", at_least=0)
    validation_images: int = options.count(
        4, "number of validation images, made with captions of the set and without guidance", group="output"
    )
    validation_steps: int = options.count(25, "number of sampling steps of a validation image", group="output")
    tracker: str = option(
        "tensorboard", "tracker that receives the metrics in addition to metrics.jsonl", group="output", choices=TRACKERS
    )
    time_limit: float = option(
        0.0, "minutes after which to save and stop; 0 sets no limit", group="output", metavar="MINUTES", at_least=0
    )
    dry_run: bool = options.dry_run("print the resolved plan and what it costs, and exit")

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step, which is counted from 0."""
        return self.learning_rate * (min(1.0, (self.steps - step) / (self.decay * self.steps)) if self.decay else 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_snr and self.space != "eps":
            raise ValueError("--min-snr is a weight in units of eps; take --space eps")
        if self.weight > 0 and self.consistency_from >= self.steps:
            raise ValueError(
                f"--consistency-from {self.consistency_from} is not reached in {self.steps} steps; take --weight 0 for the "
                "ambient loss alone"
            )
        if self.weight > 0 and self.fraction == 0:
            raise ValueError("--fraction 0 leaves no image for the consistency loss; take --weight 0 for the ambient loss alone")
