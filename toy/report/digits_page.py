"""The page of the comparison on images."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from ambient.randomness import generator
from toy.data.digits import Digits
from toy.evaluation import sub_n_mean
from toy.images.classifier import features_of, frechet
from toy.images.scoring import AT_N, BELOW, LEVELS
from toy.problem import Problem
from toy.report import digits_panels as panels
from toy.report import figures, pages, table
from toy.report.drawing import Drawing
from toy.report.pictures import SHEET
from toy.report.table import over_seeds
from toy.report.verdict import NONE, compare, effect_of_consistency, subject_of

SHOWN = (0.3, 0.5, 0.7, 1.0, 1.5, 3.0)  # levels of the table
SKIPS = {
    "mixture": "the mixture of Wiener filters that its network corrects",
    "wiener": "the linear filter that its network corrects",
    "scalar": "the best linear filter",
}


def write_comparison(out: Path, results: dict[str, Any], digits: Digits, problem: Problem, command: str) -> None:
    """Draw the figures of `python -m toy mnist` and write its page; `command` is the one that was run."""
    drawing = Drawing(out, results, problem)
    drawn = {name: getattr(panels, name) for name in ("data", "restored", "samples", "errors")} | {"training": figures.training}
    figures.save_all(out, {name: partial(draw, drawing) for name, draw in drawn.items()})
    summary, (visible, share) = with_ratios(results), visible_directions(problem)
    pages.write(
        out, "digits.html.j2", results, command, problem=problem, size=round(problem.dim**0.5), below=BELOW, sheet=SHEET**2,
        ratio=problem.noise, visible=visible, share=share,
        verdict=verdict(summary, results["config"]["skip"]), kind=kind_of(summary), floor=floor(drawing, digits),
        methods=[row["method"] for row in summary], start=start_of(summary, digits),
        **pages.comparison(drawing, table.cells(summary, columns(summary)), summary, "sub_n", "sub-n mean"),
    )  # fmt: skip


def verdict(summary: list[dict[str, Any]], skip: str) -> str:
    """Whether training improved on the filter that networks correct, at the data's noise; and what helped below."""
    skipped, known = "mixture" if skip == "mixture" else "wiener", kind_of(summary) == "errors"
    at_n = {row["method"]: row.get("at_n") if known else row["mse"][AT_N] for row in summary}
    below = {row["method"]: row.get("sub_n") for row in summary}
    subject = subject_of(summary) or ""
    mine, least = at_n.get(subject), at_n.get(skipped)
    if mine is None or least is None:
        return NONE
    of = "error over the least possible" if known else "squared error per pixel on held-out images"
    verdict = f"At the data's noise {compare(subject, mine, SKIPS[skip], least)} in its {of}."
    before, after = below.get("start"), below.get(subject)
    if before is not None and after is not None:
        verdict += f" In the sub-n mean {compare(subject, after, 'the network that it starts from', before)}."
    return verdict + effect_of_consistency(below)


def start_of(summary: list[dict[str, Any]], digits: Digits) -> dict[str, Any] | None:
    """What the page says of the network that all others start from; None if they start untrained."""
    spent = [row["network_evaluations"]["mean"] for row in summary if row["method"] == "start"]
    if digits.related is None:
        return None
    return {"count": len(digits.related), "labels": digits.related_labels, "evaluations": spent[0]}


def with_ratios(results: dict[str, Any]) -> list[dict[str, Any]]:
    """The summary. If errors are known as excess over the oracle's, `sub_n` is the mean ratio to the oracle's error below n."""
    summary, ratios = results["summary"], dict[str, list[float | None]]()
    if kind_of(summary) != "excess":
        return summary
    for row in results["rows"]:
        ratio = sub_n_mean([None if excess is None else 1 + excess for excess in row["excess"]], BELOW)
        ratios.setdefault(row["method"], []).append(ratio)
    return [row | {"sub_n": over_seeds(ratios[row["method"]])} for row in summary]


def visible_directions(problem: Problem) -> tuple[int, float]:
    """The number of directions of the clean images that stand out of the noise of the data, and their share of the variance.

    Their variance is above (sigma_n / alpha_n)^2 sqrt(D / N). Source: Baik, Ben Arous and Peche 2005.
    """
    assert problem.clean_test is not None
    assert problem.count is not None
    variances = torch.linalg.eigvalsh(torch.cov(problem.clean_test.double().T))
    least = float(problem.path.noise_to_signal(problem.t_n)) ** 2 * (problem.dim / problem.count) ** 0.5
    seen = variances[variances > least]
    return len(seen), float(seen.sum() / variances.sum())


def floor(drawing: Drawing, digits: Digits) -> tuple[float, int] | None:
    """The Frechet distance of other real images from the held-out ones, and their number; None without labels."""
    if not any("frechet" in row for row in drawing.summary):
        return None
    features, problem, count = features_of(digits), drawing.problem, drawing.results["config"]["samples"]
    assert problem.clean_test is not None
    others = digits.train[:count] if problem.world is None else problem.world.sample(count, generator(0, "floor"))
    return frechet(features(others), features(problem.clean_test[:count])), len(others)


def kind_of(summary: list[dict[str, Any]]) -> str:
    """The kind of errors in the table: `errors` against the truth, `excess` over the oracle's, or `mse`."""
    return next(key for key in ("errors", "excess", "mse") if any(key in row for row in summary))


def columns(summary: list[dict[str, Any]]) -> table.Columns:
    """The columns of the table: errors at each level of SHOWN, and the Frechet distance."""
    kind = kind_of(summary)
    word = {"errors": "nE", "excess": "excess", "mse": "MSE"}[kind]
    levels = [(f"{word} {'' if m == 1 else f'{m:g} '}n", table.entry(kind, LEVELS.index(m))) for m in SHOWN]
    ends = [("sub-n mean", table.entry("sub_n"))] if any("sub_n" in row for row in summary) else []
    return [*levels, *ends, *([("FD", table.entry("frechet"))] if any("frechet" in row for row in summary) else [])]
