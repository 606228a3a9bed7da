"""Options of `python -m sdxl evaluate memorization`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.options import Options, option
from sdxl import options


@dataclass(frozen=True)
class MemorizationOptions(Options):
    """The options of the command."""

    out: str = options.out("runs/memorization", "folder for the results")
    images: tuple[str, ...] = option(
        (), "folders of images to examine, one for each model", group="data", metavar="DIR", path=True, required=True
    )
    training: str = options.source("", "images that the models were trained on", required=True)
    training_split: str = option("", f"{options.SPLIT}, of --training", group="data", metavar="SPLIT", usual=options.USUAL_SPLIT)
    held_out: str | None = options.source(None, "images of the same kind that no model has seen", usual="no such baseline")
    held_out_split: str = option(
        "", f"{options.SPLIT}, of --held-out (held_out for the photographs)", group="data", metavar="SPLIT",
        usual=options.USUAL_SPLIT,
    )  # fmt: skip
    control: tuple[str, ...] = option(
        (), "folders of the same attack on the --held-out images, one for each of --images and in the same order", group="data",
        metavar="DIR", path=True,
    )  # fmt: skip
    extractor: str = options.extractor("dinov2[:MODEL], clip:MODEL, module:PACKAGE.MODULE:FUNCTION, or tiny for rehearsals")
    top: int = options.count(16, "number of matches to show, the nearest first", group="output")
    seed: int = option(0, "seed of the bootstrap", group="measurement")
    batch: int = options.count(16, "images at a time in the feature extractor", group="measurement")
    dry_run: bool = options.dry_run("read the images, print the resolved plan, and exit")

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [Path(folder).name for folder in (*self.images, *self.control)]
        if len(set(names)) < len(names):
            raise ValueError(f"folders of --images and --control need names of their own; got {', '.join(names)}")
        if self.control and not self.held_out:
            raise ValueError("--control needs --held-out: the images that it attacked")
        if self.control and len(self.control) != len(self.images):
            raise ValueError(f"one --control for each of --images: there are {len(self.control)} for {len(self.images)}")
