"""What directories are, by what lies in them."""

from __future__ import annotations

import csv
import json
import math
import shlex
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from ambient.runs import UserError, digest
from sdxl import lora
from sdxl.evaluate.tables import labels
from sdxl.folder import fingerprint, generated, manifest_of
from sdxl.noisy_set import NoisySet

NOISY, TRAINING, SAMPLES, POSTERIOR = "noisy set", "training", "generated images", "posterior samples"
NOISE, MASK = "noise attack", "masking attack"
RESTORATION, FID, MEMORY = "restoration", "distances", "memorization"
TELLING = {"errors": RESTORATION, "reference_images": FID, "baselines": MEMORY}  # a key of results.json that no other has


@dataclass(frozen=True)
class Found:
    """A directory: its kind, and its manifest or results."""

    folder: Path
    kind: str
    label: str
    about: dict[str, Any]

    @property
    def config(self) -> dict[str, Any]:
        """What was asked for, where it is known."""
        return self.about.get("config", {})

    @property
    def trained(self) -> dict[str, Any]:
        """What the LoRA says of itself that made these images; empty without one."""
        return self.about.get("lora", {})

    @cached_property
    def model(self) -> str | None:
        """The LoRA, by its content; None: the base alone."""
        if self.kind == TRAINING:
            return digest((self.folder / lora.FILE).read_bytes())
        key = "lora" if self.kind in (SAMPLES, POSTERIOR) else "print of lora content"
        return self.about.get("identity", {}).get(key) if self.config.get("lora") else None

    def pictures(self) -> list[tuple[dict[str, Any], Path]]:
        """What the manifest says of each image, and its file."""
        return [(row, self.folder / row["file"]) for row in self.about["images"]]

    @cached_property
    def fingerprint(self) -> str:
        """Of the images, as they are: that of `Images`."""
        return fingerprint([digest(file.read_bytes()) for _, file in self.pictures()], None)

    def strips(self) -> list[Path]:
        return sorted((self.folder / "strips").glob("*.png"))

    def similarities(self) -> list[dict[str, str]]:
        """The lines of similarities.csv. Raises: UserError where it is not there."""
        try:
            with open(self.folder / "similarities.csv", newline="") as stream:
                return list(csv.DictReader(stream))
        except OSError as error:
            raise UserError(
                f"{self.folder / 'similarities.csv'} cannot be read; run the same `evaluate memorization` again"
            ) from error


class Runs:
    """All that was given."""

    def __init__(self, found: list[Found]):
        self.found = found

    @classmethod
    def read(cls, folders: tuple[str, ...]) -> Runs:
        """Raises: UserError for a directory that is none of these, or not finished, and for one given twice."""
        twice = [folder for folder, times in Counter(str(Path(f).resolve()) for f in folders).items() if times > 1]
        if twice:
            raise UserError(f"--runs names {twice[0]} twice")
        return cls([recognised(Path(f), name) for f, name in zip(folders, labels([str(Path(f)) for f in folders]), strict=True)])

    def of(self, *kinds: str) -> list[Found]:
        return [found for found in self.found if found.kind in kinds]

    def trained(self, found: Found) -> dict[str, Any]:
        """What the LoRA of a directory says of itself, if its images or its training are among these; else nothing."""
        alike = [one for one in self.found if one.model == found.model]
        known = [one.about for one in alike if one.kind == TRAINING] + [one.trained for one in alike if one.kind != TRAINING]
        return next((about for about in known if about), {}) if found.model else {}

    def model_of(self, found: Found | None) -> str:
        """Its model, in words."""
        if found is None:
            return "a model that is not among these runs"
        if found.model is None:
            return "the base alone"
        about = self.trained(found)
        if about.get("t_n") is None:
            return f"the LoRA {Path(found.config.get('lora') or found.folder).name}"
        word = "" if about.get("weight") is None else ", with consistency" if paid(about) else ", without consistency"
        return f"a LoRA trained at t_n = {about['t_n']:g}{word}"

    def behind(self, memory: Found) -> dict[str, Found | None]:
        """What each name in the results of `evaluate memorization` is: one of these that holds the same images; else None."""
        found = {}
        for name in dict.fromkeys(row["model"] for row in memory.about["models"]):
            alike = (one for one in self.of(SAMPLES, POSTERIOR, NOISE, MASK) if one.folder.name == name)
            found[name] = next((one for one in alike if one.fingerprint == memory.about["identity"][f"images of {name}"]), None)
        return found

    def one(self, kind: str, otherwise: str) -> str:
        """The folder of the first of a kind, or a word in its place: for a command that would make what is missing."""
        return next((shlex.quote(str(found.folder)) for found in self.of(kind)), otherwise)


def paid(about: dict[str, Any]) -> bool:
    """Whether a LoRA has learned consistency, by what it says of itself; False too where it says nothing."""
    return (about.get("weight") or 0) > 0


def recognised(folder: Path, label: str) -> Found:
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


def _of_manifest(folder: Path, label: str) -> Found:
    try:
        sealed = "shards" in json.loads((folder / "manifest.json").read_text())
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{folder / 'manifest.json'} cannot be read; run the command that made it again") from error
    if sealed:
        return Found(folder, NOISY, label, NoisySet(folder).manifest)
    about = manifest_of(folder)
    generated(folder, about)  # all images are there, and no others
    asked = about.get("config", {})
    of_generate = POSTERIOR if asked.get("posterior") else SAMPLES
    kind = next((kind for key, kind in {"detector": MASK, "t": NOISE, "stop": of_generate}.items() if key in asked), None)
    if kind is None:
        raise UserError(f"{folder / 'manifest.json'} is none of generate or attack")
    return Found(folder, kind, label, about)


def _of_training(folder: Path, label: str) -> Found:
    """Its config has all that the LoRA depends on; data and base by their content."""
    about = lora.about(folder / lora.FILE)
    try:
        asked = yaml.safe_load((folder / "config.yaml").read_text())
        never = about.get("steps", math.inf) <= asked.get("consistency_from", 0)
    except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise UserError(f"{folder / 'config.yaml'} is missing or damaged; run the same `python -m sdxl train` again") from error
    return Found(folder, TRAINING, label, about | {"config": asked} | ({"weight": 0.0} if never else {}))


def _of_results(folder: Path, label: str) -> Found:
    try:
        about = json.loads((folder / "results.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / 'results.json'} is damaged; run the command that made it again") from error
    kind = next((kind for key, kind in TELLING.items() if isinstance(about, dict) and key in about), None)
    if kind is None:
        raise UserError(f"{folder / 'results.json'} is none of restoration, fid or memorization")
    return Found(folder, kind, label, about)
