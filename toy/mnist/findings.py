"""What a comparison on images found, in sentences made from its numbers: they stay true when the result is bad."""

from __future__ import annotations

import torch

from toy import findings
from toy.drawing import Drawing
from toy.evaluation import sub_n_mean
from toy.findings import at_the_noise, compared, effect_of_consistency, hero_of, relation
from toy.mnist.scoring import BELOW, LEVELS
from toy.problem import Problem
from toy.table import show, summarise

AT_N = len(BELOW)
UNDER = "Below the data's noise, {where}, the error of {hero} is {value} times that of the oracle on average."
SAMPLES = "Drawn images: those of {hero} are at a Frechet distance of {value} from real ones."


def with_ratios(drawing: Drawing) -> Drawing:
    """The same run with `at_n` and `sub_n` as errors over the oracle's, where the truth is unknown and the oracle was run."""
    if drawing.problem.world is not None or not any("excess" in row for row in drawing.results["rows"]):
        return drawing
    rows = []
    for row in drawing.results["rows"]:
        ratios = [None if excess is None else 1 + excess for excess in row["excess"]]
        rows.append(row | {"at_n": ratios[AT_N], "sub_n": sub_n_mean(ratios, BELOW)})
    return Drawing(drawing.out, {**drawing.results, "summary": summarise(rows)}, drawing.problem)


def of_comparison(drawing: Drawing) -> list[str]:
    """What the run found; the verdict first."""
    hero = hero_of(drawing)
    if hero is None:
        return findings.with_truth(drawing)
    sentences = [beyond_start(drawing, hero)]
    if drawing.problem.world is not None:
        sentences += [at_the_noise(drawing, hero), *compared(drawing, hero, "sub_n", findings.BELOW)]
    else:
        drawing = with_ratios(drawing)
        sentences += [over_oracle(drawing, hero), *compared(drawing, hero, "sub_n", UNDER)]
    sentences += [effect_of_consistency(drawing), *compared(drawing, hero, "frechet", SAMPLES)]
    return [sentence for sentence in sentences if sentence]


def beyond_start(drawing: Drawing, hero: str) -> str:
    """At the data's noise, what the network has learned beyond the filter that it starts from; or beyond the linear one."""
    skip = drawing.results["config"]["skip"]
    start = "mixture" if skip == "mixture" else "wiener"
    mine, least = at_n(drawing, hero), at_n(drawing, start)
    if mine is None or least is None:
        return ""
    data = "these images" if drawing.problem.clean else "the noisy images"
    what = {"mixture": f"mixture of Wiener filters, fitted to {data}", "wiener": "best linear filter"}[start]
    opening = f"The network of {hero} starts from the {what}, which has" if skip == start else f"The {what} has"
    kind = "over the least possible" if drawing.problem.world is not None else "per pixel, on held-out images"
    verdict = {
        "better": f"from {data} alone it has learned to do better",
        "same": "it has not learned to do better, its budget was too small",
        "worse": "it does worse, nothing was learned",
    }[relation(mine, least)]
    return f"{opening} an error of {show(least)} at the data's own noise ({kind}). Trained, {hero} has {show(mine)}: {verdict}."


def at_n(drawing: Drawing, method: str) -> dict | None:
    """The error at the data's noise: over the least possible one, or held out."""
    if drawing.problem.world is not None:
        return drawing.number(method, "at_n")
    return next((row["mse"][AT_N] for row in drawing.summary if row["method"] == method), None)


def over_oracle(drawing: Drawing, hero: str) -> str:
    """What was lost at and above the data's noise by never seeing a clean image."""
    row = next(row for row in drawing.summary if row["method"] == hero)
    known = [(level, number) for level, number in zip(LEVELS, row.get("excess", []), strict=False) if level >= 1 and number]
    if not known:
        return ""
    words = [f"{percent(number)} at {level:g} n" if level != 1 else f"{percent(number)} at n" for level, number in known]
    return (
        f"Where the data reaches, the error of {hero} differs from that of the same network trained on clean images by "
        f"{', '.join(words)}."
    )


def percent(number: dict) -> str:
    """+2.3 % or +2.3 ± 0.4 %, of a number that is a share."""
    text = f"{100 * number['mean']:+.1f}".replace("+0.0", "0.0").replace("-0.0", "0.0")
    return f"{text} %" if number["error"] is None else f"{text} ± {100 * number['error']:.1f} %"


def visible_directions(problem: Problem) -> tuple[int, float]:
    """How many directions of the clean images stand out of the noise of the data, and their share of the variance.

    Those with variance above (sigma_n / alpha_n)^2 sqrt(D / N). Source: Baik, Ben Arous and Peche 2005.
    """
    assert problem.clean_test is not None
    assert problem.count is not None
    variances = torch.linalg.eigvalsh(torch.cov(problem.clean_test.double().T))
    least = float(problem.path.noise_to_signal(problem.t_n)) ** 2 * (problem.dim / problem.count) ** 0.5
    seen = variances[variances > least]
    return len(seen), float(seen.sum() / variances.sum())


def limits(drawing: Drawing) -> list[str]:
    """What this run cannot show."""
    config, problem = drawing.results["config"], drawing.problem
    found = findings.limits_of_seeds(config["seeds"])
    if problem.world is None:
        found.append(
            "Whether the best guesses are right: the truth of real images is unknown. The oracle is a small network with a small "
            "budget, not the truth, and what it does not learn either is not seen here; `--world smooth` shows all of it."
        )
    if problem.clean_test is not None and any("frechet" in row for row in drawing.summary):
        found.append(
            "The Frechet distance is a weak ruler: it hardly sees fine grain, and the number of sampling steps "
            f"({config['steps']} here) can change an order. Trust the errors first, and your eyes."
        )
    found.append(
        f"{config['evaluations']:g} million images were passed through each network: enough to compare methods, not to be done. "
        "A larger budget, or `--preset full`, changes the numbers."
    )
    found.append(f"{drawing.problem.dim} pixels and a network of a laptop's size: the same ideas at full size are another track.")
    return [*found, *findings.not_run(drawing)]
