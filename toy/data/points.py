"""The user's own noisy points, from .npy, .csv or .parquet, possibly with a column of noise levels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet
import torch
from torch import Tensor

from harness.errors import UserError
from harness.files import digest

LARGEST_NOISE = 20  # times the spread of the data: more noise leaves nothing of them, and VP paths end at 152


@dataclass(frozen=True)
class Table:
    """Noisy points, centred and scaled to a mean variance of 1; the original points are x * scale + centre."""

    points: Tensor  # (N, D)
    levels: Tensor  # (N,), in the scaled units
    columns: list[str]
    centre: Tensor  # (D,)
    scale: float


def load_points(file: str, *, sigma_n: float | None, noise_column: str | None) -> Table:
    """Read noisy points, one a row.

    `noise_column` names a column (in .npy: its number) with the noise standard deviation of each row, 0 for clean rows;
    otherwise `sigma_n` is that of all. All other columns are coordinates.
    Raises: UserError for files that cannot be read and for values that are not finite, negative levels, or no data.
    """
    table = _read(Path(file))
    if table.size == 0:
        raise UserError(f"{file} holds no points")
    levels = _levels(table, file, sigma_n, noise_column)
    points = table.drop(columns=[noise_column] if noise_column else [])
    if "method" in points.columns:
        raise UserError(f"{file}: a column is called method, as that of samples.csv which tells the methods apart; rename it")
    others = [str(name) for name, column in points.items() if not _holds_numbers(column)]
    if others:
        raise UserError(f"{file}: columns must be numbers, but {', '.join(others)} holds something else; leave it out")
    if any(pd.api.types.is_complex_dtype(points[column]) for column in points.columns):
        raise UserError(f"{file}: complex numbers are not points; give real and imaginary parts as columns of their own")
    x_n = points.to_numpy(np.float64, copy=True)
    if x_n.size == 0:
        raise UserError(f"{file} holds no coordinates beside {noise_column!r}")
    if not np.isfinite(x_n).all():
        row = int(np.argwhere(~np.isfinite(x_n))[0, 0]) + 1
        raise UserError(f"{file}: row {row} holds a missing or infinite value; drop or mend it")
    if len(x_n) < 10:
        raise UserError(f"{file} holds {len(x_n)} points; at least 10 are needed to hold some out, and far more to learn from")
    if np.abs(x_n).max() > 1e30:
        raise UserError(f"{file}: values beyond 1e30; choose other units")
    centre, scale = x_n.mean(0), float(np.sqrt(x_n.var(0).mean()))
    if scale < 1e-30:
        raise UserError(f"{file}: all points are the same, or differ by less than 1e-30; choose other units")
    if levels.max() > LARGEST_NOISE * scale:
        raise UserError(
            f"{file}: noise {levels.max():.3g} is over {LARGEST_NOISE} times the spread of the points, {scale:.3g}; check it"
        )
    _refuse_more_noise_than_there_is(points, levels, file)
    scaled, scaled_levels = torch.from_numpy((x_n - centre) / scale).float(), torch.from_numpy(levels / scale).float()
    return Table(scaled, scaled_levels, list(map(str, points.columns)), torch.from_numpy(centre), scale)


def _refuse_more_noise_than_there_is(points: pd.DataFrame, levels: np.ndarray, file: str) -> None:
    """The variance of noisy points is at least that of the noise, up to five standard errors of chance.

    Raises: UserError for a coordinate with a smaller variance, and for a coordinate that counts the rows.
    """
    noise = float(np.square(levels).mean())
    chance = 5 * float(np.sqrt((3 * (levels**4).mean() - noise**2) / len(levels)))
    for name, column in points.items():
        values = column.to_numpy(np.float64)
        if (np.diff(values) == 1).all():
            raise UserError(f"{file}: column {name} counts the rows, as no noisy coordinate does; leave it out")
        if values.var() < noise - chance:
            raise UserError(
                f"{file}: noise of standard deviation {noise**0.5:.3g} is more than the {values.std():.3g} by which column "
                f"{name} varies, noise included; probably a variance was given, or another unit: give the standard deviation of "
                "the noise in the units of the points"
            )


def _holds_numbers(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)  # pandas calls bool numeric


def _read(path: Path) -> pd.DataFrame:
    kind = path.suffix.lower()
    try:
        if kind == ".npy":
            array = np.load(path, allow_pickle=False)
            if array.ndim != 2:
                raise UserError(f"{path} must hold one point a row, (N, D); got shape {array.shape}")
            return pd.DataFrame(array, columns=[str(i) for i in range(array.shape[1])])
        if kind in (".csv", ".parquet"):
            return _read_csv(path) if kind == ".csv" else _read_parquet(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError, pd.errors.ParserError) as error:
        raise UserError(f"cannot read {path}: it is not a {kind} file of numbers ({type(error).__name__})") from error
    raise UserError(f"{path}: points are read from .npy, .csv or .parquet files")


def _read_csv(path: Path) -> pd.DataFrame:
    """Raises: UserError for a file that pandas would misread."""
    header = next(iter(pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False).to_numpy().tolist()), [])
    names = [str(name).strip() for name in header]
    if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
        raise UserError(f"{path}: columns must be parted by commas, with points in numbers; the first row is {names[0]!r}")
    if names and all(map(_is_number, names)):
        raise UserError(f"{path}: the first row must name the columns; it holds numbers")
    if "" in names:
        raise UserError(f"{path}: column {names.index('') + 1} has no name; name it, or leave it out (of pandas: index=False)")
    _refuse_names_used_twice(names, path)
    table = pd.read_csv(path)
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes columns beyond the names as an index
        raise UserError(f"{path}: rows have more entries than the first row has names ({len(names)})")
    return table


def _read_parquet(path: Path) -> pd.DataFrame:
    _refuse_names_used_twice(pyarrow.parquet.read_schema(path).names, path)
    return pd.read_parquet(path)


def _refuse_names_used_twice(names: list[str], path: Path) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"{path}: two columns are called {twice[0]}; rename one")


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def digest_of_file(file: str) -> str:
    """The digest of the content, by which a run knows its points, whatever the name of the file."""
    try:
        return digest(Path(file).read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}") from error


def _levels(table: pd.DataFrame, file: str, sigma_n: float | None, noise_column: str | None) -> np.ndarray:
    if (sigma_n is None) == (noise_column is None):
        raise UserError(f"say how noisy {file} is: either --sigma-n for all points or --noise-column for a column of levels")
    if noise_column is None:
        return np.full(len(table), sigma_n)
    if noise_column not in table.columns:
        raise UserError(f"{file} has no column {noise_column!r}; it has {', '.join(map(str, table.columns))}")
    column = table[noise_column]
    if any(isinstance(value, (bool, np.bool_)) for value in column):
        raise UserError(f"{file}: {noise_column!r} holds true and false; noise levels are standard deviations")
    levels = np.asarray(pd.to_numeric(column, errors="coerce"), np.float64)
    if not (np.isfinite(levels) & (levels >= 0)).all():
        raise UserError(f"{file}: noise levels in {noise_column!r} must be finite and not negative")
    if not (levels > 0).any():
        raise UserError(f"{file}: all noise levels are 0; this is clean data, and any diffusion code will do")
    return levels
