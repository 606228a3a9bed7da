"""What a run found, in sentences made from its numbers: they stay true when the result is bad."""

from __future__ import annotations

import math
from typing import Any

from toy.drawing import Drawing
from toy.methods import METHODS
from toy.table import show

Number = dict[str, Any]
HEROES = ("ours", "paper", "ambient-only")  # the method a report is about: the first that was run
SAME = 0.05  # relative difference up to which two numbers of a single seed are not told apart
SLIGHT = 0.01  # and those of several seeds, however small their standard errors


def hero_of(drawing: Drawing) -> str | None:
    """The method the sentences compare with the others."""
    run = [row["method"] for row in drawing.summary]
    return next((name for name in HEROES if name in run), None)


def with_truth(drawing: Drawing) -> list[str]:
    """What the run found where the truth is known; the verdict first."""
    hero = hero_of(drawing)
    if hero is None:
        return ["None of the methods that this report is about was run; the table has the numbers of those that were."]
    sentences = [verdict(drawing, hero), at_the_noise(drawing, hero), *compared(drawing, hero, "sub_n", BELOW)]
    sentences += [effect_of_consistency(drawing), *compared(drawing, hero, "sw2", SAMPLES)]
    return [sentence for sentence in sentences if sentence]


BELOW = "Below the data's noise, {where}, the mean error of {hero} (sub-n mean) is {value}."
SAMPLES = "The samples of {hero} are at a distance SW2 of {value} from clean ones."


def verdict(drawing: Drawing, hero: str) -> str:
    """Whether the network has learned what a linear filter does not know."""
    mine, linear = drawing.number(hero, "sub_n"), drawing.number("wiener", "sub_n")
    if mine is None or linear is None:
        return ""
    share = mine["mean"] / linear["mean"]
    if share >= 0.9:
        return (
            f"Nothing was learned below the data's noise: the error of {hero} there is {share:.2f} times that of a linear "
            "filter which needs no training. The budget was too small or the noise too strong for more."
        )
    learned = (
        "From noisy data alone, a network learned how clean data is distributed" if share < 0.3 else "Part of it was learned"
    )
    return f"{learned}: below the data's noise the error of {hero} is {share:.2f} times that of the best linear filter."


def at_the_noise(drawing: Drawing, hero: str) -> str:
    """The error at n, where the theory promises it can be 0."""
    mine, linear = drawing.number(hero, "at_n"), drawing.number("wiener", "at_n")
    if mine is None:
        return ""
    text = f"At the data's own noise the error of {hero} exceeds the least possible by {100 * mine['mean']:.2g} %"
    if linear is None:
        return f"{text}."
    return f"{text}; that of the linear filter by {100 * linear['mean']:.2g} %."


def effect_of_consistency(drawing: Drawing) -> str:
    """The ambient loss with consistency against the same loss without."""
    both, alone = drawing.number("ours", "sub_n"), drawing.number("ambient-only", "sub_n")
    if both is None or alone is None:
        return ""
    effect = {"better": "lower", "worse": "higher", "same": "no different as far as this run can see"}[relation(both, alone)]
    return f"With the ambient loss alone that mean is {show(alone)}; with consistency added it is {show(both)}, {effect}."


def compared(drawing: Drawing, hero: str, key: str, opening: str) -> list[str]:
    """The hero's number, and which of the other methods do better, the same, or worse; small is good."""
    mine = drawing.number(hero, key)
    if mine is None:
        return []
    groups: dict[str, list[str]] = {"better": [], "same": [], "worse": []}
    for row in drawing.summary:
        number = row.get(key)
        if row["method"] not in (hero, "exact") and number is not None:
            truth = ", which uses the truth" if METHODS[row["method"]].reference else ""
            groups[relation(number, mine)].append(f"{row['method']} ({show(number)}{truth})")
    words = {"better": "Smaller", "same": "Not told apart from it", "worse": "Larger"}
    where = "where clean data alone were seen" if drawing.problem.clean else "where nothing was ever seen"
    said = [opening.format(hero=hero, value=show(mine), where=where)]
    return [" ".join([*said, *(f"{words[k]}: {', '.join(g)}." for k, g in groups.items() if g)])]


def relation(a: Number, b: Number) -> str:
    """Whether a is better (smaller) than b, beyond two standard errors and beyond what is worth a word."""
    low, high = sorted((a["mean"], b["mean"]))
    spread = [number["error"] for number in (a, b) if number["error"] is not None]
    least = max(SLIGHT * high, 2 * math.hypot(*spread)) if len(spread) == 2 else SAME * high
    return "same" if high - low <= least else "better" if a["mean"] < b["mean"] else "worse"


def without_truth(drawing: Drawing) -> list[str]:
    """What held-out noisy data says."""
    sentences = []
    risks = {row["method"]: row["risk_1"]["mean"] for row in drawing.summary if row.get("risk_1")}
    if risks:
        best = min(risks, key=lambda name: risks[name])
        error = drawing.held_out_error(best, "risk_1")
        near = [name for name, risk in risks.items() if name != best and error and risk <= risks[best] + 2 * error]
        value = f"{risks[best]:.3g}" + (f" ± {error:.2g}" if error else "")
        others = f" Within two standard errors of it: {', '.join(near)}." if near else ""
        sentences.append(
            f"At the data's own noise {best} has the smallest held-out risk, {value} of the data's variance.{others}"
        )
        if "wiener" in (best, *near):
            sentences.append(
                "No network is shown to do better than the linear filter, which knows the mean and covariance alone."
            )
    hero = hero_of(drawing)
    drift = None if hero is None else drawing.number(hero, "inconsistency")
    if drift is not None:
        sentences.append(
            f"Below the noise {hero} contradicts itself by {drift['mean']:.2g} of the data's variance. Small is necessary, not "
            "sufficient: the linear filter, and any other denoiser that is exact for the wrong distribution, is consistent too."
        )
    return sentences


def limits(drawing: Drawing) -> list[str]:
    """What this run cannot show."""
    problem, known = drawing.problem, drawing.problem.world is not None
    found = limits_of_seeds(drawing.results["config"]["seeds"])
    if known and problem.count is None:
        found.append("The noisy points are a stream that never ends: nothing here can over-fit. `--points N` makes them finite.")
    if known:
        found.append("The recipe of ours was chosen on the world ring5 with the true error in sight; yours would not be.")
    else:
        found.append(
            "Whether the samples are right: below the data's noise nothing that can be computed from these points decides it. "
            "Try a built-in world with as much noise and as many points to see what to expect."
        )
        found.append(f"Points held out: {len(problem.held_out[0])}. With few of them, distances between samples say little.")
    small = "A small network in few dimensions says nothing about images; it shows what the mathematics does and where it ends."
    return [*found, *not_run(drawing), small]


def limits_of_seeds(count: int, *, over: str = "") -> list[str]:
    """What so many seeds can tell apart; `over` says what error bars are over beside seeds."""
    if count == 1 and over:
        return [f"One seed: error bars are over {over} alone. How much another training would differ, `--seeds 3` tells."]
    if count == 1:
        return ["One seed: no error bars. A small difference between two methods may be luck; `--seeds 3` tells."]
    return [f"{count} seeds: the standard errors are themselves rough."]


def not_run(drawing: Drawing) -> list[str]:
    """The methods that could have been run on these data, and were not."""
    run = {row["method"] for row in drawing.summary}
    left_out = [name for name, method in METHODS.items() if name not in run and method.unfit(drawing.problem) is None]
    return [f"Not run here: {', '.join(left_out)}."] if left_out else []
