"""What directories are, by what lies in them."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml

from harness import records
from harness.errors import UserError
from harness.files import digest
from sdxl.attack.options import MaskAttackOptions, NoiseAttackOptions
from sdxl.corrupt.noisy_set import NoisySet
from sdxl.corrupt.options import CorruptOptions
from sdxl.evaluate.distances.options import DistanceOptions
from sdxl.evaluate.memorization.options import MemorizationOptions
from sdxl.evaluate.restoration.options import RestorationOptions
from sdxl.evaluate.results import Distances, Memorization, Restoration
from sdxl.evaluate.tables import labels
from sdxl.generate.options import GenerateOptions
from sdxl.images.folder import fingerprint, generated
from sdxl.manifest import Filled, Made, Manifest, Noised, Restored, read_manifest
from sdxl.model import lora
from sdxl.train.options import TrainOptions

NOISY, TRAINING, SAMPLES, POSTERIOR = "noisy set", "training", "generated images", "posterior samples"
NOISE, MASK = "noise attack", "masking attack"
RESTORATION, FID, MEMORY = "restoration", "distances", "memorization"
MADE_BY = {
    NOISY: "corrupt", TRAINING: "train", SAMPLES: "generate", POSTERIOR: "generate", NOISE: "attack noise", MASK: "attack mask",
    RESTORATION: "evaluate restoration", FID: "evaluate fid", MEMORY: "evaluate memorization",
}  # fmt: skip
OPTIONS: dict[str, Any] = {
    NOISY: CorruptOptions, TRAINING: TrainOptions, SAMPLES: GenerateOptions, POSTERIOR: GenerateOptions,
    NOISE: NoiseAttackOptions, MASK: MaskAttackOptions, RESTORATION: RestorationOptions, FID: DistanceOptions,
    MEMORY: MemorizationOptions,
}  # fmt: skip
KINDS = {Made: SAMPLES, Restored: POSTERIOR, Noised: NOISE, Filled: MASK}  # by what a manifest says of an image
KINDS |= {Restoration: RESTORATION, Distances: FID, Memorization: MEMORY}  # by results.json


def options(kind: str) -> Any:
    """The class of the options of the command that makes a kind of directory."""
    return OPTIONS[kind]


@dataclass(frozen=True)
class RunFound:
    """A directory: its kind, and its manifest, its results, or what its LoRA says of itself.

    `config`: the options of its command, None for a noisy set, where they are not recorded; `trained`: what the LoRA behind it
    says of itself, if there is one and it says it.
    """

    folder: Path
    kind: str
    label: str
    about: Any
    config: Any = None
    trained: lora.About | None = None

    @cached_property
    def model(self) -> str | None:
        """The LoRA, by its content; None: the base alone."""
        if self.kind == TRAINING:
            return digest((self.folder / lora.FILE).read_bytes())
        if self.kind in (NOISE, MASK):
            return self.about.identity.lora_content
        return self.about.identity.lora if self.kind in (SAMPLES, POSTERIOR) else None

    def pictures(self) -> list[tuple[Any, Path]]:
        """What the manifest says of each image, and its file."""
        return [(row, self.folder / row.file) for row in self.about.images]

    @cached_property
    def fingerprint(self) -> str:
        """Of the images, as they are: that of `Images`."""
        return fingerprint([digest(file.read_bytes()) for _, file in self.pictures()], None)

    def strips(self) -> list[Path]:
        return sorted((self.folder / "strips").glob("*.png"))

    def similarities(self) -> dict[tuple[str, str], list[float]]:
        """similarities.csv, by images and kind. Raises: UserError where it is not there, or is not that of the results."""
        file, found = self.folder / "similarities.csv", dict[tuple[str, str], list[float]]()
        try:
            with open(file, newline="") as stream:
                for row in csv.DictReader(stream):
                    found.setdefault((row["images"], row["kind"]), []).append(float(row["similarity"]))
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise UserError(f"{file} cannot be read; {Memorization.remedy}") from error
        if any(len(found.get((row.model, row.kind), [])) != row.images * row.samples for row in self.about.models):
            raise UserError(f"{file} is not that of the results beside it; {Memorization.remedy}")
        return found


class Runs:
    """All that was given."""

    def __init__(self, found: list[RunFound]):
        self.found = found

    @classmethod
    def read(cls, folders: tuple[str, ...]) -> Runs:
        """Raises: UserError for a directory that is none of these, or not finished, and for one given twice."""
        twice = [folder for folder, times in Counter(str(Path(f).resolve()) for f in folders).items() if times > 1]
        if twice:
            raise UserError(f"--runs names {twice[0]} twice")
        return cls([recognised(Path(f), name) for f, name in zip(folders, labels([str(Path(f)) for f in folders]), strict=True)])

    def of(self, *kinds: str) -> list[RunFound]:
        return [found for found in self.found if found.kind in kinds]

    def trained(self, found: RunFound) -> lora.About | None:
        """What the LoRA of a directory says of itself, if its images or its training are among these."""
        alike = sorted((one for one in self.found if one.model == found.model), key=lambda one: one.kind != TRAINING)
        return next((one.trained for one in alike if one.trained), None) if found.model else None

    def model_of(self, found: RunFound | None) -> str:
        """Its model, in words."""
        if found is None:
            return "a model that is not among these runs"
        if found.model is None:
            return "the base alone"
        about = self.trained(found)
        if about is None:
            return f"the LoRA {Path(found.config.lora or found.folder).name}"
        return f"a LoRA trained at t_n = {about.t_n:g}, {'with' if about.weight > 0 else 'without'} consistency"

    def behind(self, memory: RunFound) -> dict[str, RunFound | None]:
        """What each name in the results of `evaluate memorization` is: one of these that holds the same images; else None."""
        found = {}
        for name, images in memory.about.names.items():
            alike = (one for one in self.of(SAMPLES, POSTERIOR, NOISE, MASK) if one.folder.name == name)
            found[name] = next((one for one in alike if one.fingerprint == images), None)
        return found


def recognised(folder: Path, label: str) -> RunFound:
    """What a directory is. Raises: UserError."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; --runs takes directories of corrupt, train, generate, attack and evaluate")
    if (folder / "manifest.json").is_file():
        return _of_manifest(folder, label)
    finished = (folder / "DONE").exists()
    if (folder / "results.json").is_file() and finished:
        return _of_results(folder, label)
    if (folder / lora.FILE).is_file() and finished:
        return _of_training(folder, label)
    if (folder / "config.yaml").is_file():
        raise UserError(f"{folder} is not finished; run the same command again, or leave it out")
    raise UserError(
        f"{folder} is no directory of corrupt, train, generate, attack or evaluate: it has neither manifest.json nor results.json"
    )


def _of_manifest(folder: Path, label: str) -> RunFound:
    about = read_manifest(folder)
    if isinstance(about, Manifest):
        return RunFound(folder, NOISY, label, NoisySet(folder).manifest)
    generated(folder, about)  # all images are there, and no others
    kind, file = KINDS[type(about.images[0])], folder / "manifest.json"
    return RunFound(folder, kind, label, about, _asked(about.config, kind, file), about.lora)


def _of_training(folder: Path, label: str) -> RunFound:
    """Its config has all that the LoRA depends on; data and base by their content."""
    about, file = lora.about(folder / lora.FILE), folder / "config.yaml"
    if about is None:
        raise UserError(f"{folder / lora.FILE} is none of `python -m sdxl train`: it says nothing of itself; leave it out")
    try:
        found = yaml.safe_load(file.read_text())
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{file} is missing or damaged; run the same `python -m sdxl train` again") from error
    known = records.fit(found, dict[str, Any], where=str(file))
    if "data" not in known:
        raise UserError(f"{file}: data is missing; run the same `python -m sdxl train` again")
    own = options(TRAINING).__dataclass_fields__  # not among them: by what content base and schedule are known
    asked = _asked({key: value for key, value in known.items() if key in own}, TRAINING, file)
    return RunFound(folder, TRAINING, label, about, asked, about)


def _of_results(folder: Path, label: str) -> RunFound:
    kinds: Any = Restoration | Distances | Memorization
    about = records.read(folder / "results.json", kinds)
    kind = KINDS[type(about)]
    return RunFound(folder, kind, label, about, _asked(about.config, kind, folder / "results.json"))


def _asked(found: dict[str, Any], kind: str, file: Path) -> Any:
    """The options of a command as they are recorded. Raises: UserError for such as it does not have."""
    return records.fit(found, options(kind), where=f"{file}: config")


NOTHING: Mapping[str, Any] = MappingProxyType({})


class Shown(NamedTuple):
    """Pictures and their captions by name; the directories that it is made from; tables by what they are of; remarks."""

    pictures: dict[str, Any]
    used: list[RunFound]
    captions: Mapping[str, str] = NOTHING
    tables: Mapping[str, list[list[str]]] = NOTHING  # headings first
    remarks: tuple[str, ...] = ()


class Missing(NamedTuple):
    """What the directories lack."""

    lacks: str
