"""Which command made a directory, and what it recorded: read from the files in the directory."""

from __future__ import annotations

import csv
import shlex
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from harness import records
from harness.config import to_argv
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
COMMANDS: dict[str, tuple[str, Any]] = {  # the command that makes each kind of directory, and the class of its options
    NOISY: ("corrupt", CorruptOptions),
    TRAINING: ("train", TrainOptions),
    SAMPLES: ("generate", GenerateOptions),
    POSTERIOR: ("generate", GenerateOptions),
    NOISE: ("attack noise", NoiseAttackOptions),
    MASK: ("attack mask", MaskAttackOptions),
    RESTORATION: ("evaluate restoration", RestorationOptions),
    FID: ("evaluate fid", DistanceOptions),
    MEMORY: ("evaluate memorization", MemorizationOptions),
}
KINDS = {Made: SAMPLES, Restored: POSTERIOR, Noised: NOISE, Filled: MASK}  # by the class of the entries of manifest.json
KINDS |= {Restoration: RESTORATION, Distances: FID, Memorization: MEMORY}  # by the class of results.json


@dataclass(frozen=True)
class RunDirectory:
    """A directory that a command has finished.

    Args: about: its manifest, its results, or the header of its LoRA; config: the options of its command, None for a noisy set,
    which does not record them; lora_about: the header of the LoRA behind it, if there is one.
    """

    folder: Path
    kind: str
    label: str
    about: Any
    config: Any = None
    lora_about: lora.About | None = None

    @cached_property
    def model(self) -> str | None:
        """The digest of the LoRA behind it; None for the base alone."""
        if self.kind == TRAINING:
            return digest((self.folder / lora.FILE).read_bytes())
        if self.kind in (NOISE, MASK):
            return self.about.identity.lora_content
        return self.about.identity.lora if self.kind in (SAMPLES, POSTERIOR) else None

    def pictures(self) -> list[tuple[Any, Path]]:
        """The entry of each image in the manifest, and its file."""
        return [(row, self.folder / row.file) for row in self.about.images]

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint that `Images` has for these images."""
        return fingerprint([digest(file.read_bytes()) for _, file in self.pictures()], None)

    def strips(self) -> list[Path]:
        """The pictures in strips/."""
        return sorted((self.folder / "strips").glob("*.png"))

    def similarities(self) -> dict[tuple[str, str], list[float]]:
        """The numbers in similarities.csv by images and kind. Raises: UserError if it is missing or of other results."""
        file, values = self.folder / "similarities.csv", dict[tuple[str, str], list[float]]()
        try:
            with open(file, newline="") as stream:
                for row in csv.DictReader(stream):
                    values.setdefault((row["images"], row["kind"]), []).append(float(row["similarity"]))
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise UserError(f"{file} cannot be read; {Memorization.remedy}") from error
        if any(len(values.get((row.model, row.kind), [])) != row.images * row.samples for row in self.about.models):
            raise UserError(f"{file} is not that of the results beside it; {Memorization.remedy}")
        return values


class Runs:
    """All directories that --runs names."""

    def __init__(self, directories: list[RunDirectory]):
        self.directories = directories

    @classmethod
    def read(cls, folders: tuple[str, ...]) -> Runs:
        """Raises: UserError for a directory that no command has finished, and for one that is named twice."""
        twice = [folder for folder, times in Counter(str(Path(f).resolve()) for f in folders).items() if times > 1]
        if twice:
            raise UserError(f"--runs names {twice[0]} twice")
        names = labels([str(Path(folder)) for folder in folders])
        return cls([read_directory(Path(folder), name) for folder, name in zip(folders, names, strict=True)])

    def of(self, *kinds: str) -> list[RunDirectory]:
        """The directories of these kinds."""
        return [run for run in self.directories if run.kind in kinds]

    def trained(self, run: RunDirectory) -> lora.About | None:
        """The header of the LoRA behind a directory, if its images or its training are among the directories."""
        same_model = [other for other in self.directories if other.model == run.model and other.lora_about] if run.model else []
        return min(same_model, key=lambda other: other.kind != TRAINING).lora_about if same_model else None

    def model_of(self, run: RunDirectory | None) -> str:
        """The model behind a directory, in words."""
        if run is None:
            return "a model that is not among these runs"
        if run.model is None:
            return "the base alone"
        about = self.trained(run)
        if about is None:
            return f"the LoRA {Path(run.config.lora or run.folder).name}"
        return f"a LoRA trained at t_n = {about.t_n:g}, {'with' if about.weight > 0 else 'without'} consistency"

    def behind(self, memory: RunDirectory) -> dict[str, RunDirectory | None]:
        """For each name in the results of `evaluate memorization` the directory with its images; None if it is not here."""
        candidates = self.of(SAMPLES, POSTERIOR, NOISE, MASK)
        return {
            name: next((run for run in candidates if run.folder.name == name and run.fingerprint == images), None)
            for name, images in memory.about.names.items()
        }

    def command(self, run: RunDirectory) -> str:
        """The command that made a directory. Words in capitals stand for folders that the directory does not record."""
        command, options = COMMANDS[run.kind]
        values, remark = (_of_noisy_set(run.about), "  # not recorded: columns, captions, seed") if run.kind == NOISY else (
            asdict(run.config), ""
        )  # fmt: skip
        if run.kind in (NOISY, TRAINING):
            bases = {other.config.base for other in self.of(SAMPLES, POSTERIOR, NOISE, MASK, RESTORATION)}
            values["base"] = bases.pop() if len(bases) == 1 else "BASE"
        if run.kind == TRAINING:  # its config.yaml knows the set by its digest
            sets = {noisy.about.digest: str(noisy.folder) for noisy in self.of(NOISY)}
            values["data"] = sets.get(values["data"], "NOISY")
        return f"python -m sdxl {command} {shlex.join(to_argv(options, values | {'out': str(run.folder)}))}{remark}"


def _of_noisy_set(manifest: Manifest) -> dict[str, Any]:
    """The options of `corrupt` that the manifest of a noisy set records."""
    identity = manifest.identity
    values = {key: getattr(identity, key) for key in ("t_n", "dtype", "vae_dtype", "shard")}
    values |= {"data": "DATA" if manifest.source != "photographs" else manifest.source, "vae": manifest.vae_name and "VAE"}
    values |= {"t_n": None} if identity.t_n == "of each image" else {}
    return values | {"resolution": manifest.size, "images": manifest.images, "crop": identity.transform.split()[-2]}


def read_directory(folder: Path, label: str) -> RunDirectory:
    """The directory with its kind and its record. Raises: UserError if no command has finished it."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; --runs takes directories of corrupt, train, generate, attack and evaluate")
    if (folder / "manifest.json").is_file():
        return _with_manifest(folder, label)
    finished = (folder / "DONE").exists()
    if (folder / "results.json").is_file() and finished:
        return _with_results(folder, label)
    if (folder / lora.FILE).is_file() and finished:
        return _training(folder, label)
    if (folder / "config.yaml").is_file():
        raise UserError(f"{folder} is not finished; run the same command again, or leave it out")
    raise UserError(
        f"{folder} is no directory of corrupt, train, generate, attack or evaluate: it has neither manifest.json nor results.json"
    )


def _with_manifest(folder: Path, label: str) -> RunDirectory:
    about = read_manifest(folder)
    if isinstance(about, Manifest):
        return RunDirectory(folder, NOISY, label, NoisySet(folder).manifest)
    generated(folder, about)  # raises if an image is missing, or one is there that is not listed
    kind, file = KINDS[type(about.images[0])], folder / "manifest.json"
    return RunDirectory(folder, kind, label, about, _options(about.config, kind, file), about.lora)


def _training(folder: Path, label: str) -> RunDirectory:
    about, file = lora.about(folder / lora.FILE), folder / "config.yaml"
    if about is None:
        raise UserError(f"{folder / lora.FILE} is none of `python -m sdxl train`: it says nothing of itself; leave it out")
    try:
        content = yaml.safe_load(file.read_text())
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{file} is missing or damaged; run the same `python -m sdxl train` again") from error
    config = records.fit(content, dict[str, Any], where=str(file))
    if "data" not in config:
        raise UserError(f"{file}: data is missing; run the same `python -m sdxl train` again")
    own = TrainOptions.__dataclass_fields__  # the file also holds the digests of the base and of its schedule
    options = _options({key: value for key, value in config.items() if key in own}, TRAINING, file)
    return RunDirectory(folder, TRAINING, label, about, options, about)


def _with_results(folder: Path, label: str) -> RunDirectory:
    kinds: Any = Restoration | Distances | Memorization
    about = records.read(folder / "results.json", kinds)
    kind = KINDS[type(about)]
    return RunDirectory(folder, kind, label, about, _options(about.config, kind, folder / "results.json"))


def _options(config: dict[str, Any], kind: str, file: Path) -> Any:
    """The recorded options of a command. Raises: UserError for an option that the command does not have."""
    return records.fit(config, COMMANDS[kind][1], where=f"{file}: config")


@dataclass(frozen=True)
class Drawn:
    """A figure of the paper: pictures and their captions by name, tables by their titles, and the directories behind them."""

    pictures: dict[str, Any]
    used: list[RunDirectory]
    captions: dict[str, str] = field(default_factory=dict)
    tables: dict[str, list[list[str]]] = field(default_factory=dict)  # the first row holds the headings
    remarks: tuple[str, ...] = ()


class Missing(NamedTuple):
    """A figure that cannot be drawn, and what the directories lack."""

    lacks: str
