"""The mini model that the package ships: its files, their digests, and its card."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from harness import records
from harness.errors import UserError
from harness.files import digest, write_atomically
from sdxl.mini.measure import Measured
from sdxl.mini.options import PretrainOptions

SHIPPED = Path(__file__).parent / "weights"
CARD, TEXT = "card.json", "README.md"


@dataclass(frozen=True)
class Card:
    """How a mini model was made, what was measured on it, and the digest of each of its files."""

    remedy: ClassVar[str] = "install exact-ambient again, or run `python -m sdxl pretrain` again"
    config: dict[str, Any]
    measured: dict[str, Any]
    files: dict[str, str]
    version: int = 1


def write(folder: Path, pipeline: Any) -> None:
    """Write a model as diffusers saves it, with 16-bit weights."""
    shutil.rmtree(folder, ignore_errors=True)
    pipeline.to(torch.float16).save_pretrained(folder)


def write_card(folder: Path, config: PretrainOptions, measured: Measured) -> None:
    """Write the card of the model in the folder, for programs and for people."""
    files = {file.relative_to(folder).as_posix(): digest(file.read_bytes()) for file in _files(folder)}
    card = Card(config.without("out", "save_every", "log_every"), asdict(measured), files)
    records.write(folder / CARD, card)
    write_atomically(folder / TEXT, "\n".join(measured.lines()).encode())


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file() and file.name not in (CARD, TEXT))


def copy(source: Path, folder: Path) -> None:
    """Copy a model, once all its files have the digests of its card. Raises: UserError if one is missing or damaged."""
    card = records.read(source / CARD, Card)
    for name, expected in card.files.items():
        file = source / name
        if not file.is_file() or digest(file.read_bytes()) != expected:
            raise UserError(f"{file} is missing or damaged; {Card.remedy}")
    shutil.copytree(source, folder, dirs_exist_ok=True)
