"""Options of `python -m sdxl attack noise` and `attack mask`."""

from __future__ import annotations

from dataclasses import dataclass

from harness.options import Options, option
from sdxl import options


@dataclass(frozen=True)
class AttackOptions(Options):
    """The options that both attacks have."""

    out: str = options.out("runs/attacked", "folder for the results")
    data: str = options.source("", "images to attack: those the model was trained on, or others for a control", required=True)
    split: str = option("", options.SPLIT, group="data", metavar="NAME", usual=options.USUAL_SPLIT)
    images: int | None = options.first_images()
    base: str = options.base()
    vae: str | None = options.vae()
    lora: str | None = options.lora()
    captions: bool = option(False, "give the model the captions of the data instead of none", group="data")
    caption_column: str = option("text", "column that holds the captions", group="data", metavar="NAME")
    resolution: int | None = options.resolution(None, "size of the square images in pixels", usual="the base's own")
    samples: int = options.count(1, "number of samples of each image", group="sampling", at_most=options.MOST_SAMPLES)
    steps: int = options.steps()
    seed: int = option(0, "seed of the noise, which follows from the seed and the image's key", group="sampling")
    dtype: str = options.dtype()
    dry_run: bool = options.dry_run(options.PLAN_ONLY)

    def check_samples(self, kernel: str) -> None:
        """Raises: ValueError if all samples of an image would be the same."""
        if kernel == "ddim" and self.samples > 1:
            raise ValueError(
                "ddim draws nothing: all its samples of an image are the same; take --samples 1, or another --kernel"
            )


@dataclass(frozen=True)
class NoiseAttackOptions(AttackOptions):
    """The options of the noise attack."""

    t: tuple[int, ...] = option(
        (500, 900), "levels, times of the schedule, to which the images are noised", group="noise", metavar="T", at_least=1
    )
    samples: int = options.count(
        1, "number of posterior samples of each image at each level; 0 for the restoration in one step alone", at_least=0,
        group="sampling", at_most=options.MOST_SAMPLES,
    )  # fmt: skip
    kernel: str = options.kernel("ancestral")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_samples(self.kernel)


FILLS = ("posterior", "inpainting")
KERNELS = ("ancestral", "ddim")  # of `fill`: kernels that take the denoised image for X_0, which the known part is


@dataclass(frozen=True)
class MaskAttackOptions(AttackOptions):
    """The options of the masking attack."""

    out: str = options.out("runs/masked", "folder for the results")
    detector: str = option(
        "faces", "detector of the regions to hide: faces, boxes:FILE, detr:MODEL, or center:SHARE", group="data", path=":"
    )
    fill: str = option(
        "posterior", "filler of the regions: the model itself, conditioned on what is around (posterior), or the inpainting "
        "pipeline of diffusers", group="sampling", choices=FILLS,
    )  # fmt: skip
    guidance: float | None = option(
        None, "scale of classifier-free guidance, which needs --captions; 1 turns it off", group="sampling", metavar="SCALE",
        at_least=0, usual="1 for --fill posterior, 7.5 for inpainting",
    )  # fmt: skip
    resample: int = options.count(
        0, "number of times each step of --fill posterior is repeated, to fit the region to its surroundings", at_least=0,
        group="sampling", at_most=options.MOST_SAMPLES,
    )  # fmt: skip
    kernel: str = option("ancestral", "kernel of each sampling step of --fill posterior", group="sampling", choices=KERNELS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fill == "inpainting" and (self.resample or self.kernel != "ancestral"):
            raise ValueError("--resample and --kernel are of --fill posterior; the inpainting pipeline has its own scheduler")
        if self.fill == "inpainting" and self.steps < 2:
            raise ValueError("the inpainting pipeline leaves one step out: --steps must be at least 2")
        if self.guidance is not None and not self.captions:
            raise ValueError("--guidance needs --captions to guide by")
        if not self.resample:
            self.check_samples(self.kernel)
