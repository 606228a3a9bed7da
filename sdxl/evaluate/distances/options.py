"""Options of `python -m sdxl evaluate fid`."""

from __future__ import annotations

from dataclasses import dataclass

from harness.options import Options, option
from sdxl import options


@dataclass(frozen=True)
class DistanceOptions(Options):
    """The options of the command."""

    out: str = options.out("runs/fid", "folder for the results")
    generated: tuple[str, ...] = option(
        (), "folders of generated images, each compared with --reference", group="data", metavar="DIR", path=True, required=True
    )
    reference: str = options.source("", "real images", required=True)
    split: str = option("", f"{options.SPLIT}, of --reference", group="data", metavar="NAME", usual=options.USUAL_SPLIT)
    image_column: str = option(
        "", "column of the reference that holds the images", group="data", metavar="NAME", usual="the first with images"
    )
    resolution: int | None = options.resolution(
        None, "size in pixels to which the shorter side of all images is resized; the rest is cropped",
        usual="images stay as they are, and all must be of one size",
    )  # fmt: skip
    images: int | None = options.count(
        None, "number of images to take of each generated folder, from the first on", at_least=2, usual="all"
    )
    extractor: str = options.extractor(
        "dinov2[:MODEL], clip:MODEL, inception:FILE, module:PACKAGE.MODULE:FUNCTION, or tiny for rehearsals"
    )
    kid_subsets: int = options.count(100, "number of random subsets for KID", group="measurement", at_most=1_000_000)
    kid_size: int = options.count(1000, "largest number of images in a subset for KID", group="measurement", at_least=2)
    seed: int = option(0, "seed of the subsets", group="measurement")
    batch: int = options.count(16, "images at a time on each process; it may change last bits", group="measurement")
    anyway: bool = option(
        False, "compute a Frechet distance of fewer images than features too, which means little", group="measurement"
    )
    dry_run: bool = options.dry_run("read the images, print the resolved plan, and exit")
