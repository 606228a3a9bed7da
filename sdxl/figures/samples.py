"""Figs. 5, 6, 7, 11: what models generate."""

from __future__ import annotations

from typing import Any

from harness.wording import several
from sdxl.corrupt.noisy_set import NoisySet
from sdxl.figures.options import FiguresOptions
from sdxl.figures.runs import NOISY, POSTERIOR, SAMPLES, Drawn, Missing, RunDirectory, Runs
from sdxl.images.crop import fit
from sdxl.images.pictures import Columns, pictures
from sdxl.images.sheets import as_rgb, grid, image_of, thumbnail
from sdxl.images.survey import decode

Row = tuple[str, list[Any]]  # a label, and the pictures beside it


def behind_noise(runs: Runs, config: FiguresOptions) -> Drawn | Missing:
    """Fig. 5: noisy latents, and below them posterior samples given them."""
    rows: list[Row] = []
    used = []
    for noisy in runs.of(NOISY):
        data = NoisySet(noisy.folder)
        samples = [run for run in runs.of(POSTERIOR) if run.about.identity.posterior == data.digest]
        for i, run in enumerate(samples):
            entries = [entry for entry, _ in run.pictures()[: config.columns]]
            if i == 0:
                label = f"{noisy.label}: noisy latents, {_levels({entry.t_n for entry in entries})}"
                rows.append((label, [_noisy(data, entry.row) for entry in entries]))
            rows.append(_row(run, f"{run.label}: samples of {runs.model_of(run)}", config))
            used += [noisy, run]
    return Drawn({"behind_noise": _grid(rows)}, used) if rows else Missing("a noisy set with posterior samples of it")


def by_level(runs: Runs, config: FiguresOptions) -> Drawn | Missing:
    """Fig. 6: a row for each folder of images with one prompt, or without prompts."""
    used = _ordered(runs, [run for run in runs.of(SAMPLES) if len(_prompts(run)) == 1])
    if not used:
        return Missing("generated images without a caption, or all with the same")
    return Drawn({"by_level": _grid([_row(run, _model(runs, run), config) for run in used])}, used)


def prompts(runs: Runs, config: FiguresOptions) -> Drawn | Missing:
    """Fig. 7: a row for each folder of images with several prompts, a column for each prompt."""
    used = _ordered(runs, [run for run in runs.of(SAMPLES) if len(_prompts(run)) > 1])
    rows: list[Row] = []
    captions: dict[str, None] = {}
    for run in used:
        columns = _prompts(run)[: config.columns]
        first = {entry.prompt or "": file for entry, file in reversed(run.pictures())}
        rows.append((_model(runs, run), [thumbnail(first[prompt]) for prompt in columns]))
        captions[", ".join(f'"{prompt}"' for prompt in columns)] = None
    if not rows:
        return Missing("images of several prompts")
    caption = "Columns: " if len(captions) == 1 else "Prompts differ from row to row: "
    return Drawn({"prompts": _grid(rows)}, used, {"prompts": f"{caption}{'; '.join(captions)}."})


def other_data(runs: Runs, config: FiguresOptions) -> Drawn | Missing:
    """Fig. 11: each noisy set on which a LoRA was trained, with its data, and with samples of the base and of its LoRAs."""
    drawn, captions, used = {}, {}, []
    for number, noisy in enumerate(runs.of(NOISY)):
        data, samples = NoisySet(noisy.folder), [run for run in runs.of(SAMPLES) if not run.config.stop]
        tuned = [run for run in samples if (about := runs.trained(run)) and about.data == data.digest]
        if not tuned:
            continue
        tuned = _ordered(runs, tuned)
        several_prompts = len(_prompts(tuned[0])) > 1  # rows with several prompts are not shown beside rows with one
        alike = [run for run in samples if (len(_prompts(run)) > 1) == several_prompts]
        base, tuned = [run for run in alike if run.model is None], [run for run in tuned if run in alike]
        latents = [_noisy(data, i) for i in range(min(len(data), config.columns))]
        rows = _data(config, noisy, data) + [_row(run, _model(runs, run), config) for run in base[:1]]
        rows.append((f"noisy data as latents, {_levels(set(data.levels().tolist()))}", latents))
        rows += [_row(run, _model(runs, run), config) for run in tuned]
        drawn[f"other_data_{number}"] = _grid(rows)
        captions[f"other_data_{number}"] = f"`{noisy.label}`, {several(noisy.about.images, 'image')}."
        used += [noisy, *base[:1], *tuned]
    lacks = "a noisy set together with images of a LoRA that was trained on it"
    return Drawn(drawn, used, captions) if drawn else Missing(lacks)


def _data(config: FiguresOptions, noisy: RunDirectory, data: NoisySet) -> list[Row]:
    """A row with the clean images of the noisy ones, or with the first of --data if those are not there; none without --data."""
    if not config.data:
        return []
    given = pictures(config.data, Columns(config.split, caption=""), caption="", t_n=0, count=None)
    by_key = {picture.key: picture for picture in given}
    keys = [key for key, _ in data.labels[: config.columns]]
    same = all(key in by_key for key in keys)
    chosen = [by_key[key] for key in keys] if same else given[: config.columns]
    squares = [fit(decode(picture.read()), noisy.about.size, "center", 0, picture.key)[0] for picture in chosen]
    return [("the data" if same else "some of the data", [thumbnail(image_of(square)) for square in squares])]


def _levels(levels: set[Any]) -> str:
    """The lowest levels of a set, in words."""
    return f"t_n = {', '.join(f'{t:g}' for t in sorted(levels)[:4])}"


def _grid(rows: list[Row]) -> Any:
    return grid([pictures for _, pictures in rows], beside=[label for label, _ in rows])


def _noisy(data: NoisySet, row: int) -> Any:
    """A noisy latent as a picture."""
    return as_rgb(data.rows([row])["x_n"][0])


def _row(run: RunDirectory, label: str, config: FiguresOptions) -> Row:
    """The first images of a folder."""
    return label, [thumbnail(file) for _, file in run.pictures()[: config.columns]]


def _prompts(run: RunDirectory) -> list[str]:
    """The distinct prompts of a folder, in their order."""
    return list(dict.fromkeys(entry.prompt or "" for entry in run.about.images))


def _ordered(runs: Runs, samples: list[RunDirectory]) -> list[RunDirectory]:
    """Folders in the order of the paper: the base first, then by data level, by weight of the consistency loss, by early stop."""

    def order(run: RunDirectory) -> tuple[Any, ...]:
        about = runs.trained(run)
        return (run.model is not None, about.t_n if about else 0, about.weight if about else 0, -(run.config.stop or 0))

    return sorted(samples, key=order)


def _model(runs: Runs, run: RunDirectory) -> str:
    """The model of a folder, and the level at which sampling stopped."""
    return runs.model_of(run) + (f", stopped at {run.config.stop}" if run.config.stop else "")
