"""Does a model give back its training images? Similarity to the nearest one, beside what it is for images that are no copies.

    python -m sdxl evaluate memorization --images attacked --training photos --held-out others --out memory
    python -m sdxl evaluate memorization --images clean noisy --training photos ...    paired, image by image: Fig. 8
    python -m sdxl evaluate memorization --images generated --training photos ...      plain samples: the Somepalli baseline
    python -m sdxl evaluate memorization --images attacked --control attacked_others --training photos --held-out others ...

`--images` are folders of `attack noise`, of `generate`, or of any images of one size; training images are resized and cropped to
that size. Similarity is the cosine of features, as the paper's thresholds .9 and .95 have it for DINOv2; with another extractor
look at the baselines before you trust a threshold. `--control`: the same attack on the held-out images, for each of `--images`;
it is compared with the images it attacked, and what an attack finds beyond its control was learned from the training images.
Writes results.json, table.md, similarities.csv (every image, and the training image that was found), histograms.png, matches.png
(the images that lie nearest, each beside that training image). Paper: Sec. 4.1, 4.4, Figs. 3, 8, 9, 10.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ambient.config import Options, option, parse
from ambient.runs import stop_requests
from harness import records
from sdxl import options
from sdxl.base import quiet
from sdxl.evaluate import tables
from sdxl.evaluate.matches import Found, Sets, measure
from sdxl.evaluate.results import Memorization
from sdxl.evaluate.shown import draw, table, unequal
from sdxl.extract import find
from sdxl.group import Group


@dataclass(frozen=True)
class Config(Options):
    """What is compared with what."""

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


def main(argv: list[str]) -> None:
    """Compare as `argv` says."""
    config = parse(Config, argv, prog="python -m sdxl evaluate memorization", description=__doc__ or "")
    quiet()
    group = Group()
    with closing(group), stop_requests() as stopping:
        sets = Sets(config, group)
        extractor = group.together(lambda: find(config.extractor, group.device))
        identity: dict[str, Any] = {"seed": config.seed, "top": config.top, "extractor": extractor.fingerprint, **sets.about()}
        if config.dry_run:
            return group.say("\n".join(f"{key}: {value}" for key, value in (asdict(config) | identity).items()))
        with group.results(config.out, identity):
            found = measure(sets, extractor, group, stopping)
            group.on_main(lambda: write(config, identity, found, sets))


def write(config: Config, identity: dict[str, Any], found: Found, sets: Sets) -> None:
    """Numbers, table, pictures."""
    about, out = {"config": tables.asked(config), "identity": identity}, Path(config.out)
    results = records.fit(about | found.results(config.seed), Memorization, where="the results")
    shown = table(results) + shared(sets) + warning(results)
    tables.write(out, results, shown, found.lines(sets), csv="similarities.csv")
    draw(found, sets, out, config.top)
    print(f"{shown}\n{len(sets.training)} training images; results -> {config.out}")


def shared(sets: Sets) -> str:
    """A line where held-out images are among the training images."""
    count = sets.shared()
    return f"\n{count:,} of the held-out images are among the training images, to the byte.\n" if count else ""


def warning(results: Memorization) -> str:
    """A line where an attack and its control are compared with sets of different sizes."""
    counts = unequal(results)
    if counts is None:
        return ""
    return (
        f"\nAttacks are compared with {counts[0]:,} images and their controls with {counts[1]:,}: among more images the nearest "
        "one is nearer, by chance alone. Take as many of both.\n"
    )
