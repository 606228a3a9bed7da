"""The mini model that the package ships: its files, their digests, and its card."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import save

from harness import page, records
from harness.config import to_argv
from harness.errors import UserError
from harness.files import digest, write_atomically
from harness.runs import Run, read_metrics
from harness.tables import markdown
from sdxl.mini import glyphs
from sdxl.mini.colours import COLOURS, GROUNDS
from sdxl.mini.measure import Measured
from sdxl.mini.options import NOT_IDENTITY, PretrainOptions

SHIPPED = Path(__file__).parent / "weights"
CARD, TEXT = "card.json", "README.md"  # the card for programs, and for people
CLASSIFIER = "classifier.safetensors"
EXAMPLES = range(3)  # numbers of the pictures whose captions the card shows


@dataclass(frozen=True)
class Card:
    """How a mini model was made, what was measured on it, and the digest of each of its files."""

    remedy: ClassVar[str] = "install exact-ambient again"
    config: dict[str, Any]
    measured: dict[str, Any]
    losses: dict[str, float]  # the mean over the last steps of each stage
    environment: dict[str, Any]
    files: dict[str, str]
    version: int = 1


def write(folder: Path, pipeline: Any, classifier: torch.nn.Module) -> None:
    """Write a model as diffusers saves it and the classifier beside it, all with 16-bit weights."""
    shutil.rmtree(folder, ignore_errors=True)
    pipeline.to(torch.float16).save_pretrained(folder)
    weights = {name: value.half().contiguous() for name, value in classifier.state_dict().items()}
    write_atomically(folder / CLASSIFIER, save(weights))
    classifier.load_state_dict({name: value.float() for name, value in weights.items()})  # measure what is written


def write_card(folder: Path, config: PretrainOptions, measured: Measured, run: Run, pipeline: Any) -> None:
    """Write the card of the model in the folder."""
    losses: dict[str, float] = {}
    for row in read_metrics(run.directory / "metrics.jsonl"):
        losses |= {name: value for name, value in row.items() if name != "step"}
    environment = json.loads((run.directory / "environment.json").read_text())
    files = {name: digest((folder / name).read_bytes()) for name in _names(folder)}
    environment["threads"] = torch.get_num_threads()
    card = Card(config.without(*NOT_IDENTITY), asdict(measured), losses, environment, files)
    records.write(folder / CARD, card)
    encoders = (pipeline.text_encoder, pipeline.text_encoder_2)
    counts = {"letters": len(glyphs.LETTERS), "colours": len(COLOURS), "grounds": len(GROUNDS), "size": glyphs.SIZE}
    counts |= {"tokens": pipeline.tokenizer.model_max_length}
    millions = {"unet": _millions(pipeline.unet), "vae": _millions(pipeline.vae), "text": sum(map(_millions, encoders))}
    accuracies, captions = markdown(measured.table()), [glyphs.described(number).caption for number in EXAMPLES]
    command = shlex.join(["python", "-m", "sdxl", "pretrain", *to_argv(PretrainOptions, config.without(*NOT_IDENTITY))])
    found = {
        "command": command,
        "decibels": measured.decibels(),
        "accuracies": accuracies,
        "losses": losses,
        "environment": environment,
    }
    text = page.render("sdxl", "mini_card.md.j2", config=card.config, millions=millions, captions=captions, **counts, **found)
    write_atomically(folder / TEXT, text.encode())


def copy(folder: Path) -> None:
    """Copy the model that the package ships to a folder, whole or not at all.

    Raises: UserError if one of its files is missing or damaged, and if the folder cannot be written.
    """
    for name in records.read(SHIPPED / CARD, Card).files:
        checked(name)
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        shutil.copytree(SHIPPED, unfinished)
        unfinished.replace(folder)
    except OSError as error:  # shutil.Error, of several files, has no strerror
        shutil.rmtree(unfinished, ignore_errors=True)
        raise UserError(f"cannot write {folder}: {error.strerror or 'copying its files failed'}; take another folder") from error


def ensure(folder: Path) -> Path:
    """The folder, to which the model is copied unless it exists."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        copy(folder)
    return folder


def checked(name: str) -> Path:
    """A file that the package ships. Raises: UserError unless it has the digest of the card."""
    file, expected = SHIPPED / name, records.read(SHIPPED / CARD, Card).files[name]
    if not file.is_file() or digest(file.read_bytes()) != expected:
        raise UserError(f"{file} is missing or damaged; {Card.remedy}")
    return file


def _names(folder: Path) -> list[str]:
    """The files of a model by their paths below its folder, but for its cards."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.name not in (CARD, TEXT))
    return sorted(file.relative_to(folder).as_posix() for file in files)


def _millions(module: torch.nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6
