"""Real digits, on a laptop: the paper's experimental section in miniature."""

from __future__ import annotations

import importlib

from ambient.config import dispatch

COMMANDS = {
    "table1": "restoration of held-out digits by models trained at several noise levels (Table 1)",
    "figures": "Frechet distance against the level of the data; posterior and unconditional samples (Figs. 4, 5, 6)",
    "memorization": "noise attack on networks trained on clean and on noisy digits (Fig. 8)",
}


def main(argv: list[str]) -> None:
    """The comparison of all methods, or one of COMMANDS."""
    if argv and not argv[0].startswith("-"):
        return dispatch("python -m toy mnist", "toy.mnist", COMMANDS, argv)
    importlib.import_module("toy.mnist.compare").main(argv)
