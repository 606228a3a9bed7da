"""What an attack found, in sentences made from its numbers: they stay true when the result is bad."""

from __future__ import annotations

from typing import Any

from toy.mnist.attack import GROUPS, KNOWN
from toy.mnist.copies import COPY
from toy.table import show

WORDS = {"samples": "Posterior samples", "one step": "In one step"}
LEARNED = 0.01  # share of copies from which the clean-trained network counts as having learned digits by heart
KNOWS = 0.9  # share of the digits that the memoriser restores in one step where the noise leaves it no choice
Number = dict[str, Any]


def findings(results: dict[str, Any]) -> list[str]:
    """Whether there was memory to speak of; if so, for each noisy-trained model the verdict and whether it means memory; and
    whether the rulers are straight.
    """
    told = (verdict, memory, quality) if by_heart(results) else (quality,)
    sentences = [say(results, name) for name in noisy_trained(results) for say in told]
    return [clean_trained(results), *sentences, memory(results, "oracle"), memoriser(results), smooth(results)]


def headline(results: dict[str, Any]) -> list[str]:
    """The verdict in a few lines."""
    rows = {name: _rows(results["summary"], kind="samples", model=name) for name in ("oracle", *noisy_trained(results))}
    levels = ", ".join(f"{row['t']:g}" for row in rows["oracle"])
    numbers = "; ".join(f"{name} {', '.join(span(row['memory']) for row in mine)}" for name, mine in rows.items())
    more = [f"Memory (similarity of training digits less that of held-out ones), samples at t = {levels}: {numbers}."]
    return [clean_trained(results), *(more if by_heart(results) else [])]


def noisy_trained(results: dict[str, Any]) -> list[str]:
    """The models that are compared with the clean-trained network."""
    return list(dict.fromkeys(row["model"] for row in results["differences"]))


def by_heart(results: dict[str, Any]) -> bool:
    """Whether the clean-trained network gives back training digits where it does not give back held-out ones."""
    row = most_copied(results)
    ours, others = (row[group]["copies"]["mean"] for group in GROUPS)
    return ours >= LEARNED and ours > others and row["memory"]["interval"][0] > 0


def most_copied(results: dict[str, Any]) -> dict[str, Any]:
    """Where the clean-trained network copies most."""
    return max(_rows(results["summary"], model="oracle"), key=lambda row: row["training"]["copies"]["mean"])


def clean_trained(results: dict[str, Any]) -> str:
    """Without a network that has learned digits by heart there is nothing to compare with."""
    row = most_copied(results)
    ours, others = (f"{row[group]['copies']['mean']:.1%}" for group in GROUPS)
    where = f"{WORDS[row['kind']].lower()}, t = {row['t']:g}"
    shares = f"similarity above {COPY:g} for {ours} of training digits, {others} of held-out ones; {where}"
    if by_heart(results):
        return f"The clean-trained network (oracle) has learned digits by heart ({shares})."
    return (
        f"**The clean-trained network (oracle) has not learned its digits by heart** ({shares}): about memory nothing can be "
        "concluded from this run. A larger budget, `--evaluations`, or fewer digits, `--images`, would change that."
    )


def verdict(results: dict[str, Any], name: str) -> str:
    """Fig. 8 in words."""
    return (
        f"Training digits attacked: how much nearer to training digits the clean-trained network comes than {name}. "
        f"{_by_kind(results['differences'], name, 'training')}"
    )


def memory(results: dict[str, Any], name: str) -> str:
    """How much nearer training digits come than held-out ones do to their own."""
    parts = {kind: _rows(results["summary"], kind=kind, model=name) for kind in WORDS}
    numbers = " ".join(f"{WORDS[kind]}: {_list(part, 'memory')}." for kind, part in parts.items())
    text = f", how much more similar training digits come out than held-out ones, each to its own kind. {numbers}"
    if name != "oracle":
        less = _by_kind(results["differences"], name, "memory")
        return f"Memory of {name}{text} What the clean-trained network has more of it. {less}"
    shares = [(row["t"], *(row[group]["itself"]["mean"] for group in GROUPS)) for row in parts["one step"]]
    itself = ", ".join(f"{own:.0%} and {other:.0%} at t = {t:g}" for t, own, other in shares)
    return (
        f"Memory of the clean-trained network{text} In one step the nearest is the digit attacked itself for {itself} of "
        "training and of held-out digits."
    )


def quality(results: dict[str, Any], name: str) -> str:
    """The error on held-out digits, and whether anything was learned."""
    variance, parts, lost = results["baselines"]["variance"], [], []
    for row in _rows(results["summary"], kind="one step", model=name):
        errors = {one["model"]: one["held out"]["error"] for one in _rows(results["summary"], kind="one step", t=row["t"])}
        others = ", ".join(f"{model} {show(errors[model])}" for model in ("oracle", *KNOWN))
        parts.append(f"{show(errors[name])} at t = {row['t']:g} ({others})")
        lost += [f"{row['t']:g}"] if errors[name]["mean"] >= variance else []
    text = f"Error of {name} on held-out digits, in one step: {'; '.join(parts)}. The average digit has {variance:.3f}."
    if lost:
        text += (
            f" At t = {', '.join(lost)} {name} does no better than that: it has learned too little for its low similarity to say "
            "anything about memory."
        )
    return text


def memoriser(results: dict[str, Any]) -> str:
    """What a perfect copyist scores."""
    steps, samples = (_rows(results["summary"], kind=kind, model="memoriser") for kind in ("one step", "samples"))
    knows = [row for row in steps if row["training"]["itself"]["mean"] >= KNOWS]
    where = ", ".join(f"t = {row['t']:g} ({row['training']['copies']['mean']:.1%} above {COPY:g})" for row in knows)
    text = f"The perfect memoriser restores its digits in one step at {where}." if knows else ""
    shares = ", ".join(f"{row['training']['copies']['mean']:.1%} at t = {row['t']:g}" for row in samples)
    more = " Elsewhere the noise hides which digit it was." if len(knows) < len(steps) else ""
    across = ", ".join(f"{row['across']['mean']:.3f}" for row in samples)
    return (
        f"{text}{more} Its samples are training digits whatever it is asked for: above {COPY:g} are {shares}; when held-out "
        f"digits are attacked, the similarity to the nearest training digit is {across}."
    ).strip()


def smooth(results: dict[str, Any]) -> str:
    """What a model without memory of these digits scores."""
    parts = {kind: _rows(results["summary"], kind=kind, model="smooth") for kind in WORDS}
    numbers = " ".join(f"{WORDS[kind]}: {_list(part, 'memory')}." for kind, part in parts.items())
    rows = [row for part in parts.values() for row in part]
    seen = [row for row in rows if not row["memory"]["interval"][0] <= 0 <= row["memory"]["interval"][1]]
    end = f"{len(seen)} of {len(rows)} intervals exclude 0, where one in twenty would by chance" if seen else "All include 0"
    return f"Memory of the smooth model, which has seen neither kind. {numbers} {end}."


def span(number: Number) -> str:
    """A mean with its interval over digits and, of several seeds, the standard error: 0.093 ± 0.004 [0.080, 0.106]."""
    low, high = number["interval"]
    error = "" if number["error"] is None else f" ± {number['error']:.3f}"
    return f"{number['mean']:.3f}{error} [{low:.3f}, {high:.3f}]"


def _by_kind(rows: list[dict[str, Any]], name: str, key: str) -> str:
    """The numbers of both kinds of result, each with what their intervals say."""
    parts = [(words, _rows(rows, kind=kind, model=name)) for kind, words in WORDS.items()]
    return " ".join(f"{words}: {_list(mine, key)}. {_told_apart(mine, key)}" for words, mine in parts)


def _list(rows: list[dict[str, Any]], key: str) -> str:
    return "; ".join(f"{span(row[key])} at t = {row['t']:g}" for row in rows)


def _told_apart(rows: list[dict[str, Any]], key: str) -> str:
    """At which levels the interval excludes 0."""
    groups: dict[str, list[str]] = {"Separated": [], "The other way round": [], "Not separated": []}
    for row in rows:
        low, high = row[key]["interval"]
        groups["Separated" if low > 0 else "The other way round" if high < 0 else "Not separated"].append(f"{row['t']:g}")
    end = {"Not separated": "the interval includes 0"}
    found = {word: ", ".join(levels) for word, levels in groups.items() if levels}
    return " ".join(f"{word} at t = {levels}: {end.get(word, 'the interval excludes 0')}." for word, levels in found.items())


def _rows(rows: list[dict[str, Any]], **wanted: Any) -> list[dict[str, Any]]:
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]
