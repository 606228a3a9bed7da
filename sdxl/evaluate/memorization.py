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

from ambient.config import option, parse
from ambient.runs import stop_requests
from sdxl.base import quiet
from sdxl.evaluate import tables
from sdxl.evaluate.matches import Found, Sets, measure
from sdxl.evaluate.shown import draw, table, unequal
from sdxl.extract import find
from sdxl.group import Group


@dataclass(frozen=True)
class Config:
    """What is compared with what."""

    out: str = option("runs/memorization", "folder of the results", metavar="DIR")
    images: tuple[str, ...] = option((), "folders of images, one for each model", metavar="DIR")
    training: str = option("", "what the models were trained on: a folder, a dataset on the hub, or the word photographs")
    training_split: str = option("", "of it (default: train, or its only one)", metavar="SPLIT")
    held_out: str | None = option(None, "images of the same kind that no model has seen", metavar="DATA")
    held_out_split: str = option("", "of them; held_out of the photographs", metavar="SPLIT")
    control: tuple[str, ...] = option(
        (), "folders of the same attack on the --held-out images, one for each of --images in their order", metavar="DIR"
    )
    extractor: str = option("dinov2", "what sees the images: dinov2[:SOURCE], clip:SOURCE, module:PACKAGE.MODULE:FUNCTION, tiny")
    top: int = option(16, "matches shown", metavar="COUNT")
    seed: int = option(0, "the bootstrap follows from it")
    batch: int = option(16, "images at a time in the extractor", metavar="COUNT")
    dry_run: bool = option(False, "read the images, print the plan, and leave")

    def __post_init__(self) -> None:
        if not self.images or not self.training:
            raise ValueError("--images and --training are both needed: folders of images, and what the models were trained on")
        names = [Path(folder).name for folder in (*self.images, *self.control)]
        if len(set(names)) < len(names):
            raise ValueError(f"folders of --images and --control need names of their own; got {', '.join(names)}")
        if self.control and not self.held_out:
            raise ValueError("--control needs --held-out: the images that it attacked")
        if self.control and len(self.control) != len(self.images):
            raise ValueError(f"one --control for each of --images: there are {len(self.control)} for {len(self.images)}")
        if self.top < 1 or self.batch < 1:
            raise ValueError("--top and --batch must be at least 1")


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
    results, out = found.results(config.seed), Path(config.out)
    shown = table(results) + shared(sets) + warning(results)
    about = {"config": tables.asked(config), "identity": identity}
    tables.write(out, about | results, shown, found.lines(sets), csv="similarities.csv")
    draw(found, sets, out, config.top)
    print(f"{shown}\n{len(sets.training)} training images; results -> {config.out}")


def shared(sets: Sets) -> str:
    """A line where held-out images are among the training images."""
    count = sets.shared()
    return f"\n{count:,} of the held-out images are among the training images, to the byte.\n" if count else ""


def warning(results: dict[str, Any]) -> str:
    """A line where an attack and its control are compared with sets of different sizes."""
    counts = unequal(results)
    if counts is None:
        return ""
    return (
        f"\nAttacks are compared with {counts[0]:,} images and their controls with {counts[1]:,}: among more images the nearest "
        "one is nearer, by chance alone. Take as many of both.\n"
    )
