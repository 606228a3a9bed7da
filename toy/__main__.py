"""`python -m toy EXPERIMENT [options]`."""

from __future__ import annotations

from harness.commands import Command, command, dispatch

COMMANDS = {
    "gmm": Command(
        "toy.experiments.gmm",
        "learn a Gaussian mixture, or a distribution of your own points, from noisy points; compare all methods",
    ),
    "mnist": Command("toy.experiments.mnist", "learn digits from noisy digits; compare all methods"),
    "mnist table1": Command(
        "toy.experiments.table1", "restoration of held-out digits by models trained at several noise levels (Table 1)"
    ),
    "mnist figures": Command(
        "toy.experiments.figures",
        "Frechet distance against the level of the data; posterior and unconditional samples (Figs. 4, 5, 6)",
    ),
    "mnist memorization": Command(
        "toy.experiments.memorization", "noise attack on networks trained on clean and on noisy digits (Fig. 8)"
    ),
}
EXAMPLES = ("gmm --preset smoke", "mnist --data mnist.npz --preset full")


def main(argv: list[str]) -> None:
    """Hand the options to the experiment named first."""
    dispatch("python -m toy", COMMANDS, argv, EXAMPLES)


if __name__ == "__main__":
    command(main)
