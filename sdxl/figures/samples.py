"""Figs. 5, 6, 7, 11: what models generate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.wording import several
from sdxl.attack.strips import image_of
from sdxl.corrupt.noisy_set import NoisySet
from sdxl.figures import drawing
from sdxl.figures.runs import NOISY, POSTERIOR, SAMPLES, Missing, RunFound, Runs, Shown
from sdxl.images.crop import fit
from sdxl.images.pictures import Columns, pictures
from sdxl.images.survey import decode

if TYPE_CHECKING:
    from sdxl.figures.options import FiguresOptions


def behind_noise(runs: Runs, config: FiguresOptions) -> Shown | Missing:
    """Fig. 5."""
    rows, used = [], []
    for noisy in runs.of(NOISY):
        data, before = NoisySet(noisy.folder), len(rows)
        for one in runs.of(POSTERIOR):
            if one.about.identity.posterior != data.digest:
                continue
            shown = one.pictures()[: config.columns]
            levels = sorted({row.t_n for row, _ in shown})
            level = f"t_n = {', '.join(f'{t:g}' for t in levels)}"
            if len(rows) == before:
                rows.append((f"{noisy.label}: noisy latents, {level}", [drawing.noisy(data, row.row) for row, _ in shown]))
            rows.append((f"{one.label}: samples of {runs.model_of(one)}", [drawing.image(file) for _, file in shown]))
            used += [noisy, one]
    if not rows:
        return Missing("a noisy set with posterior samples of it")
    return Shown({"behind_noise": drawing.grid(rows)}, list({one.folder: one for one in used}.values()))


def by_level(runs: Runs, config: FiguresOptions) -> Shown | Missing:
    """Fig. 6: folders of one prompt, or of none."""
    found = sorted((one for one in runs.of(SAMPLES) if len(_prompts(one)) == 1), key=lambda one: _order(runs, one))
    if not found:
        return Missing("generated images without a caption, or all with the same")
    rows = [_row(runs, one, config) for one in found]
    return Shown({"by_level": drawing.grid(rows)}, found)


def prompts(runs: Runs, config: FiguresOptions) -> Shown | Missing:
    """Fig. 7: folders of several prompts."""
    found = sorted((one for one in runs.of(SAMPLES) if len(_prompts(one)) > 1), key=lambda one: _order(runs, one))
    if not found:
        return Missing("images of several prompts")
    rows = []
    for one in found:
        first = {row.prompt or "": file for row, file in reversed(one.pictures())}
        rows.append((_named(runs, one), [drawing.image(first[prompt]) for prompt in _prompts(one)[: config.columns]]))
    lists = {tuple(_prompts(one)[: config.columns]) for one in found}
    said = [", ".join(f'"{prompt}"' for prompt in words) for words in lists]
    which = f"Columns: {said[0]}." if len(lists) == 1 else "Prompts differ from row to row: " + "; ".join(said) + "."
    return Shown({"prompts": drawing.grid(rows)}, found, {"prompts": which})


def other_data(runs: Runs, config: FiguresOptions) -> Shown | Missing:
    """Fig. 11, for each noisy set of which a LoRA has learned."""
    drawn, captions, used = {}, {}, []
    for number, noisy in enumerate(runs.of(NOISY)):
        data, plain = NoisySet(noisy.folder), [one for one in runs.of(SAMPLES) if not one.config.stop]
        trained = {one.folder: runs.trained(one) for one in plain}
        after = [one for one in plain if (about := trained[one.folder]) and about.data == data.digest]
        after.sort(key=lambda one: _order(runs, one))
        if not after:
            continue
        many = len(_prompts(after[0])) > 1  # prompts are shown beside prompts
        base, after = (
            [one for one in some if (len(_prompts(one)) > 1) == many]
            for some in ([one for one in plain if one.model is None], after)
        )
        latents = [drawing.noisy(data, i) for i in range(min(len(data), config.columns))]
        rows = _data(config, noisy, data) + [_row(runs, one, config) for one in base[:1]]
        rows += [(f"noisy data as latents, {_levels(data)}", latents), *(_row(runs, one, config) for one in after)]
        drawn[f"other_data_{number}"] = drawing.grid(rows)
        told = f"`{noisy.label}`, {several(noisy.about.images, 'image')}.{_not_given(runs, config, base, after)}"
        captions[f"other_data_{number}"] = told
        used += [noisy, *base[:1], *after]
    if not drawn:
        return Missing("a noisy set together with images of a LoRA that was trained on it")
    return Shown(drawn, list({one.folder: one for one in used}.values()), captions)


def _not_given(runs: Runs, config: FiguresOptions, base: list[RunFound], after: list[RunFound]) -> str:
    """The rows of the paper's figure that are not here."""
    kinds = {about.weight > 0 for one in after if (about := runs.trained(one))}
    there = {
        "the data itself (--data)": bool(config.data), "samples of the base": bool(base),
        "samples after training without consistency": False in kinds, "samples after training with it": True in kinds,
    }  # fmt: skip
    lacks = [word for word, given in there.items() if not given]
    return f" Not given: {', '.join(lacks)}." if lacks else ""


def _data(config: FiguresOptions, noisy: RunFound, data: NoisySet) -> list[tuple[str, list[Any]]]:
    """The images that the noisy ones were made of where their keys say so, else the first of what was given."""
    if not config.data:
        return []
    given = pictures(config.data, Columns(config.split, caption=""), caption="", t_n=0, count=None)
    by_key = {one.key: one for one in given}
    keys = [data.key(i) for i in range(min(len(data), config.columns))]
    same = all(key in by_key for key in keys)
    chosen = [by_key[key] for key in keys] if same else given[: config.columns]
    shown = [image_of(fit(decode(one.read()), noisy.about.size, "center", 0, one.key)[0]) for one in chosen]
    return [("the data" if same else "some of the data", [drawing.image(one) for one in shown])]


def _levels(data: NoisySet) -> str:
    return f"t_n = {', '.join(f'{t:g}' for t in sorted(set(data.levels().tolist()))[:4])}"


def _row(runs: Runs, found: RunFound, config: FiguresOptions) -> tuple[str, list[Any]]:
    return _named(runs, found), [drawing.image(file) for _, file in found.pictures()[: config.columns]]


def _prompts(found: RunFound) -> list[str]:
    """Distinct, in their order."""
    return list(dict.fromkeys(row.prompt or "" for row in found.about.images))


def _order(runs: Runs, found: RunFound) -> tuple[Any, ...]:
    about = runs.trained(found)
    return (found.model is not None, about.t_n if about else 0, about.weight if about else 0, -(found.config.stop or 0))


def _named(runs: Runs, found: RunFound) -> str:
    stop = found.config.stop
    return runs.model_of(found) + (f", stopped at {stop}" if stop else "")
