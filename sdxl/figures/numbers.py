"""Table 1 and Fig. 4: what models restore, and how far what they generate is from the data."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

from harness.wording import several
from sdxl.evaluate.distances.figure import consistency, curves
from sdxl.evaluate.restoration.table import SPACES, rows_of
from sdxl.figures.runs import FID, RESTORATION, Missing, RunFound, Runs, Shown

if TYPE_CHECKING:
    from sdxl.figures.options import FiguresOptions


def restored(runs: Runs, config: FiguresOptions) -> Shown | Missing:
    """Table 1."""
    found = runs.of(RESTORATION)
    if not found:
        return Missing("errors of restoration")
    drawn = {f"restoration_{i}": (one.folder / "restoration.png").read_bytes() for i, one in enumerate(found)}
    tables = {f"`{one.label}`, {several(len(one.about.images), 'held-out image')}": _errors(one) for one in found}
    return Shown(drawn, found, tables=tables)


def _errors(found: RunFound) -> list[list[str]]:
    """The error of each model at each level; then by how much the latent errors of trained models differ."""
    levels, by = found.about.levels, {(row["level"], row["model"]): row for row in rows_of(found.about)}
    spaces = [space for space in SPACES if found.about.errors.get(space)]
    table = [["error of", "trained at", *(f"t = {level:g}" for level in levels)]]
    for model, space in product(found.about.models, spaces):
        cells = [_error(by[level, model.name], space) for level in levels]
        table.append([f"{model.name}, {space}", "" if model.t_n is None else f"t_n = {model.t_n:g}", *cells])
    names = [m.name for m in found.about.models if m.t_n is not None] or [m.name for m in found.about.models]
    if len(names) > 1:
        means = [[by[level, name]["latent_mean"] for name in names] for level in levels]
        spread = [f"{100 * (max(mean) / min(mean) - 1):.1f} %" for mean in means]
        table.append(["largest over smallest latent error, less 1", "", *spread])
    return table


def _error(row: dict[str, Any], space: str) -> str:
    std = row[f"{space}_std"]
    return f"{row[f'{space}_mean']:.4f}" + ("" if std is None else f" ({std:.4f})")


def distances(runs: Runs, config: FiguresOptions) -> Shown | Missing:
    """Fig. 4."""
    found = runs.of(FID)
    if not found:
        return Missing("distances between images and data")
    drawn = {f"distances_{i}": curves(one.config.extractor, one.about) for i, one in enumerate(found)}
    tables = {f"`{one.label}`, in the features of {one.config.extractor}": _distances(one) for one in found}
    few = any(row.too_few_for_frechet for one in found for row in one.about.rows)
    remarks = ("There are too few images for a Frechet distance: these numbers mean little, look at KID.",) if few else ()
    return Shown(drawn, found, tables=tables, remarks=remarks)


def _distances(found: RunFound) -> list[list[str]]:
    """Both distances of each set, and those of the reference from itself."""
    table = [["images", "trained at", "consistency", "Frechet distance", "KID"]]
    for row in found.about.rows:
        trained = "" if row.t_n is None else f"t_n = {row.t_n:g}"
        table.append([row.name, trained, consistency(row), f"{row.frechet:.4g}", f"{row.kid:.4g}"])
    return table + [[f"floor of {row.images:,}", "", "", f"{row.frechet:.4g}", f"{row.kid:.4g}"] for row in found.about.floors]
