"""`python -m toy EXPERIMENT [options]`."""

from __future__ import annotations

from ambient.config import command, dispatch

EXPERIMENTS = {
    "gmm": "learn a Gaussian mixture, or a distribution of your own points, from noisy points; compare all methods",
    "mnist": "learn digits from noisy digits; compare all methods, or make the paper's tables and figures in miniature",
}
EXAMPLES = ("gmm --preset smoke", "mnist --data mnist.npz --preset full")


def main(argv: list[str]) -> None:
    """Hand the options to the experiment named first."""
    dispatch("python -m toy", "toy", EXPERIMENTS, argv, EXAMPLES)


if __name__ == "__main__":
    command(main)
