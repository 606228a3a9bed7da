"""Table 1 and Fig. 4: what models restore, and how far what they paint is from the data."""

from __future__ import annotations

import shlex
from itertools import product
from typing import TYPE_CHECKING, Any

from sdxl.evaluate.curves import consistency, curves
from sdxl.evaluate.table1 import SPACES, rows_of
from sdxl.figures import commands
from sdxl.figures.found import FID, RESTORATION, SAMPLES, TRAINING, Found, Runs
from sdxl.figures.outcome import Missing, Shown

if TYPE_CHECKING:
    from sdxl.figures import Config


def restored(runs: Runs, config: Config) -> Shown | Missing:
    """Table 1."""
    found = runs.of(RESTORATION)
    if not found:
        loras = f"{commands.base(runs)} --loras {folders(runs, TRAINING) or 'RUNS'}"
        command = f"python -m sdxl evaluate restoration{loras} --data HELD_OUT{commands.size(runs)} --out restoration"
        return Missing("errors of restoration", [command])
    rows, told, head = [], [], ["model"]
    for one in found:
        levels, by = one.about.levels, {(row["level"], row["model"]): row for row in rows_of(one.about)}
        spaces = [space for space in SPACES if one.about.errors.get(space)]
        head = ["error of", "trained at", *(f"t = {level:g}" for level in levels)]
        for model, space in product(one.about.models, spaces):
            cells = [_error(by[level, model.name], space) for level in levels]
            rows.append([f"{model.name}, {space}", "" if model.t_n is None else f"t_n = {model.t_n:g}", *cells])
        told.append(_spread(one, levels, by))
    drawn = {f"restoration_{i}": (one.folder / "restoration.png").read_bytes() for i, one in enumerate(found)}
    return Shown(" ".join(told), drawn, found, (head, rows) if len(found) == 1 else None)


def _error(row: dict[str, Any], space: str) -> str:
    std = row[f"{space}_std"]
    return f"{row[f'{space}_mean']:.4f}" + ("" if std is None else f" ({std:.4f})")


def _spread(found: Found, levels: tuple[float, ...], by: dict[Any, dict[str, Any]]) -> str:
    """How far apart the trained models are."""
    names = [m.name for m in found.about.models if m.t_n is not None] or [m.name for m in found.about.models]
    told = []
    for level in levels:
        means = [by[level, name]["latent_mean"] for name in names]
        told.append(f"{100 * (max(means) / min(means) - 1):.1f} % at t = {level:g}")
    count = len(found.about.images)
    if len(names) < 2:
        return f"`{found.label}`: one model, {count} held-out images; mean square error (standard deviation over images)."
    return (
        f"`{found.label}`: on {count} held-out images the latent errors of {len(names)} trained models differ by at most "
        f"{', '.join(told)}. Mean square error (standard deviation over images)."
    )


def distances(runs: Runs, config: Config) -> Shown | Missing:
    """Fig. 4."""
    found = runs.of(FID)
    if not found:
        asked = f"--generated {folders(runs, SAMPLES) or 'FOLDERS'} --reference DATA{commands.size(runs)}{commands.eyes(runs)}"
        return Missing("distances between images and data", [f"python -m sdxl evaluate fid {asked} --out fid"])
    drawn = {f"distances_{i}": curves(one.config.extractor, one.about) for i, one in enumerate(found)}
    return Shown(" ".join(map(_against, found)), drawn, found)


def folders(runs: Runs, kind: str) -> str:
    """In a command."""
    return shlex.join(str(one.folder) for one in runs.of(kind))


def _against(found: Found) -> str:
    """The Frechet distances at each level."""
    rows = found.about.rows
    told = [f"{row.frechet:.4g} at t_n = {row.t_n:g} {consistency(row)} consistency" for row in rows if row.t_n is not None]
    told += [f"{row.frechet:.4g} for {row.name}, no LoRA of ours" for row in rows if row.t_n is None]
    told += [f"{one.frechet:.4g} for {one.images} images of the reference against the others" for one in found.about.floors]
    few = any(row.too_few_for_frechet for row in rows)
    few = " There are too few images for a Frechet distance: these numbers mean little, look at KID." if few else ""
    return f"`{found.label}`, seen by {found.config.extractor}: Frechet distance {'; '.join(told)}.{few}"
