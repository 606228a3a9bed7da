"""`python -m toy EXPERIMENT [options]`."""

from __future__ import annotations

import importlib

from ambient.config import command, nearest
from ambient.runs import UserError

EXPERIMENTS = {
    "gmm": "Gaussian mixtures: learn a clean distribution from noisy points, beside every alternative",
    "mnist": "digits: the same on images, and the paper's tables and figures in miniature",
}


def main(argv: list[str]) -> None:
    """Hand the options to the experiment named first."""
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: python -m toy EXPERIMENT [options]\n")
        print("\n".join(f"  {name:8}{title}" for name, title in EXPERIMENTS.items()))
        print("\npython -m toy EXPERIMENT --help lists the options.")
        return
    if argv[0] not in EXPERIMENTS:
        raise UserError(f"unknown experiment {argv[0]!r}{nearest(argv[0], EXPERIMENTS)}")
    importlib.import_module(f"toy.{argv[0]}").main(argv[1:])


if __name__ == "__main__":
    command(main)
