"""Options of `python -m sdxl generate`."""

from __future__ import annotations

from dataclasses import dataclass

from harness.options import Options, option
from sdxl import options


@dataclass(frozen=True)
class GenerateOptions(Options):
    """Options of `python -m sdxl generate`."""

    out: str = options.out("runs/images", "folder for the images")
    base: str = options.base()
    vae: str | None = options.vae()
    lora: str | None = options.lora()
    images: int = options.count(4, "number of images to generate", group="images", at_most=options.MOST_IMAGES)
    seed: int = option(0, "seed of the noise; an image follows from the seed and from its own number", group="images")
    prompt: str = option("", "caption of all images", group="images", metavar="TEXT", usual="an empty caption")
    prompts: str | None = option(
        None, "text file with a caption on each line; image i takes line i, starting over at the end", group="images",
        metavar="FILE", path=True,
    )  # fmt: skip
    null_caption: bool = option(
        False, "use no caption, as for captions dropped in training; guidance has no effect then", group="images"
    )
    guidance: float = option(
        5.0, "scale of classifier-free guidance; 1 turns it off, at half the cost", group="sampling", metavar="SCALE", at_least=0
    )
    steps: int = options.steps()
    kernel: str = options.kernel("ddim")
    stop: int | None = option(
        None, "time t_n of the schedule at which to stop and denoise once: the paper's early stop", group="sampling",
        metavar="T_N", at_least=1, usual="sample to the end",
    )  # fmt: skip
    posterior: str | None = option(
        None, "noisy set to draw posterior samples for: image i starts from row i, at its own t_n, with its caption, starting "
        "over at the end", group="images", metavar="DIR", path=True, usual="start from pure noise",
    )  # fmt: skip
    resolution: int | None = option(
        None, "size of the square images in pixels", group="images", metavar="PIXELS", at_least=1, at_most=options.LARGEST,
        usual="the base's own",
    )  # fmt: skip
    dtype: str = options.dtype()
    batch: int = options.count(1, "images that each process generates at a time; it may change their last bits", group="sampling")
    dry_run: bool = options.dry_run(options.PLAN_ONLY)

    def __post_init__(self) -> None:
        super().__post_init__()
        captions = {"--prompt": self.prompt, "--prompts": self.prompts, "--null-caption": self.null_caption}
        given = [name for name, value in captions.items() if value]
        if len(given) > 1:
            raise ValueError(f"{given[0]} and {given[1]} both set the caption; leave one of them out")
        if self.posterior and (self.prompt or self.prompts):
            raise ValueError(f"--posterior takes the captions of the noisy set; leave {given[0]} out, or take --null-caption")
