"""What a method leaves for one seed: result.json, a `Row` with the numbers of the experiment, and arrays for the figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, TypeVar

from harness import records
from harness.cache import Arrays
from harness.errors import UserError
from harness.files import read_arrays

Numbers = tuple[float | None, ...]  # by level, None where a method has none
Measured = tuple[float, float] | None  # mean over held-out points, and its standard error


@dataclass(frozen=True, kw_only=True)
class Row:
    """The fields of every experiment."""

    remedy: ClassVar[str] = "delete that file, and the same command evaluates the method again"
    format: int = 1
    method: str
    seed: int
    network_evaluations: int
    cpu_seconds: float


@dataclass(frozen=True, kw_only=True)
class Points(Row):
    """For a known world: errors by level, their mean below the data's noise, the one at it; the distance of the samples."""

    errors: Numbers
    sub_n: float | None
    at_n: float | None
    sw2: float


@dataclass(frozen=True, kw_only=True)
class OwnPoints(Row):
    """For points whose truth is unknown."""

    risk_1: Measured = None
    risk_1_5: Measured = field(default=None, metadata={"key": "risk_1.5"})
    risk_3: Measured = None
    inconsistency: Measured = None
    sw2_noisy: float


@dataclass(frozen=True, kw_only=True)
class Images(Row):
    """For images: the error per pixel by level and, where the images have labels, the Frechet distance of the samples."""

    mse: Numbers
    frechet: float | None = None


@dataclass(frozen=True, kw_only=True)
class KnownImages(Images):
    """For images of a known world."""

    errors: Numbers
    sub_n: float | None
    at_n: float | None


@dataclass(frozen=True, kw_only=True)
class Restored(Row):
    """For Table 1."""

    mse: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Drawn(Row):
    """For Figs. 4 to 6: the Frechet distance by the number of sampling steps."""

    frechet: tuple[float, ...]


Kind = TypeVar("Kind", bound=Row)


def networks_of(directory: Path, seed: int) -> Path:
    """The folder with the run directories of all networks of a seed."""
    return directory / "networks" / f"seed_{seed}"


def folder_of(directory: Path, method: str, seed: int) -> Path:
    """The folder of a method's results for one seed."""
    return directory / "methods" / method / f"seed_{seed}"


def arrays_of(directory: Path, method: str, seed: int) -> Arrays:
    """The arrays of a method for one seed. Raises: UserError if their file is missing or damaged."""
    folder = folder_of(directory, method, seed)
    return read_arrays(folder / "arrays.npz", f"delete {folder}, and the same command evaluates the method again")


def read(file: Path, kind: type[Kind], entries: int, *, method: str, seed: int) -> Kind:
    """Raises: UserError if the file is damaged, of another version, of another method, or not of so many levels."""
    row = records.read(file, kind)
    if (row.method, row.seed) != (method, seed):
        raise UserError(f"{file} is of {row.method}, seed {row.seed}; {row.remedy}")
    for name in ("errors", "mse", "frechet"):
        numbers = getattr(row, name, None)
        if isinstance(numbers, tuple) and len(numbers) != entries:
            raise UserError(f"{file}: {name} must have {entries} entries; found {len(numbers)}; {row.remedy}")
    return row
