"""The parts of `evaluate memorization`: the images, the training image nearest to each, and the numbers that follow."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness import copying, records, statistics
from harness.errors import UserError
from harness.files import digest
from harness.neighbours import Neighbours, nearest
from sdxl.evaluate.features.extractors import Extractor
from sdxl.evaluate.features.features import features
from sdxl.evaluate.memorization.options import MemorizationOptions
from sdxl.images.folder import Images, opened
from sdxl.images.pictures import Columns
from sdxl.manifest import Attacked, Filled, Noised
from sdxl.parallel import Group

GENERATED = "generated"  # the kind of images that are no results of an attack
OF_IMAGES = ("data", "split", "images", "print of images", "print of regions")  # in these an attack and its control may differ
OTHERS, HELD_OUT = "training, nearest other", "held out"  # the baselines
Kinds = dict[str, dict[str, list[int]]]  # {kind of results: {key of the image: numbers of its results}}


class ComparedImages:
    """All images, read and checked by all processes. Raises: UserError if sets do not go together."""

    def __init__(self, config: MemorizationOptions, group: Group):
        self.config = config
        self.models = {Path(folder).name: opened(folder, group) for folder in config.images}
        side = group.together(self._side)
        columns = [Columns(split, caption="") for split in (config.training_split, config.held_out_split)]
        self.training = opened(config.training, group, columns=columns[0], resolution=side)
        self.held_out = opened(config.held_out, group, columns=columns[1], resolution=side) if config.held_out else None
        controls = zip(self.models, config.control, strict=bool(config.control))
        self.controls = {model: opened(folder, group) for model, folder in controls}
        group.together(self._check)

    def _side(self) -> int:
        """The pixels of a side of all images. Raises: UserError if they have several sizes, or are not square."""
        sizes = {images.size for images in self.models.values()}
        if len(sizes) > 1:
            raise UserError(f"images of the models are of several sizes: {sorted(sizes)}; they need one")
        [(height, width)] = sizes
        if height != width:
            raise UserError(f"images must be square; got {width}x{height}")
        return height

    def _check(self) -> None:
        """Raises: UserError if a set has too few images or the wrong ones."""
        for model, control in self.controls.items():
            self._check_control(self.models[model], control)
        results = [*self.models.values(), *self.controls.values()]
        counts = {images.source: min(map(len, kinds_of(images).values())) for images in results}
        counts |= {images.source: len(images) for images in (self.training, self.held_out) if images is not None}
        for source, count in counts.items():
            if count < statistics.FEWEST:
                raise UserError(f"an interval needs at least {statistics.FEWEST} images, and {source} has {count}")
        for images in self.models.values():
            hidden = {content for _, content in contents(images)}
            if hidden and not hidden & set(self.training.digests):
                remedy = f"--training {images.source}/originals" if originals(images) else "the images that it attacked"
                raise UserError(f"{images.source} attacked no image of --training {self.config.training}; give {remedy}")
        if self.held_out is not None and self.shared() == len(self.held_out):
            raise UserError(f"all images of --held-out {self.config.held_out} are among those of --training; take others")

    def shared(self) -> int:
        """How many held-out images have the same bytes as a training image."""
        known = set(self.training.digests)
        return sum(content in known for content in self.held_out.digests) if self.held_out is not None else 0

    def _check_control(self, attack: Images, control: Images) -> None:
        """Raises: UserError if `control` is not the same attack on held-out images."""
        if control.size != attack.size:
            raise UserError(f"{control.source} has images of another size than {attack.source}; a control is the same attack")
        manifests = [images.manifest for images in (attack, control)]
        ours, theirs = (records.plain(manifest.identity) if manifest else {} for manifest in manifests)
        other = sorted(key for key in ours.keys() | theirs.keys() if key not in OF_IMAGES and ours.get(key) != theirs.get(key))
        if other or not (attacked(attack) and attacked(control)):
            why = f"they differ in {', '.join(other)}" if other else "one of them is no folder of `python -m sdxl attack`"
            raise UserError(f"{control.source} is another attack than {attack.source}: {why}")
        known = set(self.held_out.digests if self.held_out else [])
        for key, content in contents(control):
            if content not in known:
                raise UserError(f"{control.source} attacked {key}, which is none of the --held-out images")

    def identity(self) -> dict[str, Any]:
        """The fingerprints of all sets."""
        prints = {f"images of {name}": images.fingerprint for name, images in self.models.items()}
        prints |= {f"control of {name}": images.fingerprint for name, images in self.controls.items()}
        prints |= {"training": self.training.fingerprint}
        return prints | ({"held out": self.held_out.fingerprint} if self.held_out else {})


def attacked(images: Images) -> list[Attacked]:
    """The entries of an attack's manifest; none for other images."""
    return [row for row in images.manifest.images if isinstance(row, Attacked)] if images.manifest else []


def originals(images: Images) -> dict[str, str]:
    """The digests of the regions that a masking attack has hidden, by their files as the manifest names them."""
    files = {row.original for row in attacked(images) if isinstance(row, Filled)}
    return {file: digest((Path(images.source) / file).read_bytes()) for file in files}


def contents(images: Images) -> list[tuple[str, str]]:
    """Key and digest of what each result of an attack tries to recover: the image, or the region that a mask has hidden."""
    regions = originals(images)
    return [(row.key, regions.get(getattr(row, "original", ""), row.digest)) for row in attacked(images)]


def kinds_of(images: Images) -> Kinds:
    """The results of an attack by level and kind; other images are each a result of its own."""
    results = attacked(images)
    if not results:
        return {GENERATED: {str(row): [row] for row in range(len(images))}}
    kinds: Kinds = {}
    for row, result in enumerate(results):
        level = f"t = {result.t}, " if isinstance(result, Noised) else ""
        kind = level + re.sub(r"_\d+$", "s", result.kind).replace("_", " ")
        kinds.setdefault(kind, {}).setdefault(result.key, []).append(row)
    return kinds


class MatchedResults(NamedTuple):
    """Results of a model with the image nearest to each."""

    neighbours: Neighbours
    kinds: Kinds

    def similarity(self, kind: str) -> Tensor:
        """Similarities (N, samples) of the results of N images."""
        return self.neighbours.similarity[torch.tensor(list(self.kinds[kind].values()))]

    def results(self) -> Iterator[tuple[str, str, int]]:
        """The kind, the key and the number of each result."""
        return ((kind, key, i) for kind, rows in self.kinds.items() for key, numbers in rows.items() for i in numbers)


@dataclass(frozen=True)
class Matches:
    """The matches of all models and of their controls, by the names of the models, and of the baselines."""

    models: dict[str, MatchedResults]
    controls: dict[str, MatchedResults]
    baselines: dict[str, Neighbours]

    def named(self) -> dict[str, MatchedResults]:
        """The matches of each model and of its control, by their names in results."""
        named = {}
        for model, matched in self.models.items():
            named[model] = matched
            if model in self.controls:
                named[f"control of {model}"] = self.controls[model]
        return named

    def similarities(self) -> dict[tuple[str, str], list[float]]:
        """All similarities by the name of the images and their kind, "" for baselines."""
        baselines = {(name, ""): found.similarity.tolist() for name, found in self.baselines.items()}
        return baselines | {
            (name, kind): matched.similarity(kind).flatten().tolist()
            for name, matched in self.named().items()
            for kind in matched.kinds
        }

    def results(self, seed: int) -> dict[str, Any]:
        """The fields `baselines`, `models` and `differences` of `Memorization`."""
        baselines = {name: copying.described(found.similarity[:, None], seed=seed) for name, found in self.baselines.items()}
        rows, pairs, (first, *_) = [], [], self.models
        for model, matched in self.models.items():
            for kind, numbers in matched.kinds.items():
                x = matched.similarity(kind)
                row = {"model": model, "kind": kind, **copying.described(x, seed=seed)}
                if HELD_OUT in self.baselines:
                    row["beyond held out"] = copying.beyond(x, self.baselines[HELD_OUT].similarity[:, None], seed=seed)
                if model in self.controls and kind in self.controls[model].kinds:
                    y = self.controls[model].similarity(kind)
                    row |= {"control": copying.described(y, seed=seed), "beyond control": copying.beyond(x, y, seed=seed)}
                rows.append(row)
                same_images = list(self.models[first].kinds.get(kind, {})) == list(numbers)
                if model != first and kind != GENERATED and same_images:
                    difference = copying.paired(self.models[first].similarity(kind), x, seed=seed)
                    pairs.append({"model": first, "less": model, "kind": kind, **difference})
        return {"baselines": baselines, "models": rows, "differences": pairs}

    def lines(self, images: ComparedImages) -> list[dict[str, Any]]:
        """The rows of similarities.csv: every image, and the image nearest to it."""
        training, held_out = images.training.pictures, images.held_out.pictures if images.held_out else []
        lines = []

        def add(name: str, kind: str, key: str, found: Neighbours, i: int, known: list[Any]) -> None:
            row = {"images": name, "kind": kind, "key": key, "similarity": f"{float(found.similarity[i]):.6f}"}
            lines.append(row | {"nearest": known[int(found.row[i])].key})

        for name, found in self.baselines.items():
            for i, picture in enumerate({OTHERS: training, HELD_OUT: held_out}[name]):
                add(name, "", picture.key, found, i, training)
        for name, matched in self.named().items():
            for kind, key, i in matched.results():
                add(name, kind, key, matched.neighbours, i, training if name in self.models else held_out)
        return lines


def measure(images: ComparedImages, extractor: Extractor, group: Group, stopping: Callable[[], bool]) -> Matches:
    """The nearest image of every image. Raises: UserError, Interrupted, as `features` and `nearest`."""

    def features_of(some: Images) -> Tensor:
        return features(some, extractor, group, batch=images.config.batch, stopping=stopping)

    def matched(results: Images, known: Tensor) -> MatchedResults:
        return MatchedResults(nearest(features_of(results), known, group=group).first(), kinds_of(results))

    known, controls = features_of(images.training), {}
    baselines = {OTHERS: nearest(known, known, own=torch.arange(len(known)), group=group).first()}
    if images.held_out is not None:
        held_out = features_of(images.held_out)
        baselines[HELD_OUT] = nearest(held_out, known, group=group).first()
        controls = {name: matched(control, held_out) for name, control in images.controls.items()}
    return Matches({name: matched(model, known) for name, model in images.models.items()}, controls, baselines)
