"""The effect of each choice in our recipe: one change at a time, several seeds, equal network evaluations.

    python benchmarks/ablations.py                     all of them, three seeds (about an hour and a half of CPU)
    python benchmarks/ablations.py --only kernel steps --seeds 1 --evaluations 2

Runs `python -m toy gmm --method ours` with changed recipes, each in its own directory below --out, so that it can resume. Prints
a Markdown table and writes it beside the runs.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from toy.experiments import gmm
from toy.report import table

VARIANTS: dict[str, list[str]] = {
    "ours": [],
    "kernel: Euler-Maruyama": ["kernel=euler-maruyama"],
    "kernel: ancestral": ["kernel=ancestral"],
    "kernel: matched trace": ["kernel=matched-trace"],
    "steps: small, .02 to .2": ["steps=0.02,0.2"],
    "steps: large, .3 to 2": ["steps=0.3,2"],
    "levels: log-uniform below t_n": ["level_power=1", "share_at_t_n=0"],
    "levels: not anchored at t_n": ["share_at_t_n=0"],
    "levels: all start at t_n": ["share_at_t_n=1"],
    "weight: .1": ["weight=0.1"],
    "weight: 10": ["weight=10"],
    "optimiser: Adam": ["optimiser=adam", "learning_rate=0.002"],
    "losses: the paper's (x_n space, pair)": ["antithetic=false"],
    "batch: 256, as large as the ambient loss's": ["batch=256"],
    "no consistency": ["weight=0"],
    "the paper's recipe": [
        "antithetic=false",
        "kernel=ancestral",
        "descent_kernel=ancestral",
        "weight=0.1",
        "steps=0.02,0.2",
        "level_power=1",
        "share_at_t_n=0",
        "optimiser=adam",
        "learning_rate=0.002",
    ],
}


def main() -> None:
    """Run the variants and print their table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/ablations", help="where the runs go")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--evaluations", type=float, default=6.0, help="millions a network")
    parser.add_argument("--only", nargs="+", help="variants whose names hold one of these words")
    options = parser.parse_args()
    chosen = {name: words for name, words in VARIANTS.items() if not options.only or any(w in name for w in options.only)}
    lines = ["| variant | sub-n mean | nE(n) | SW2 |", "|---|---:|---:|---:|"]
    for number, (name, words) in enumerate(VARIANTS.items()):
        if name not in chosen:
            continue
        out = Path(options.out) / f"{number:02d}"
        recipe = ["--recipe", *words] if words else []
        gmm.main(
            [
                "--method",
                "ours",
                "--out",
                str(out),
                "--seeds",
                str(options.seeds),
                "--evaluations",
                str(options.evaluations),
                *recipe,
            ]
        )
        (row,) = json.loads((out / "results.json").read_text())["summary"]
        lines.append(f"| {name} | {' | '.join(table.show(row[key]) for key in ('sub_n', 'at_n', 'sw2'))} |")
        (Path(options.out) / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
