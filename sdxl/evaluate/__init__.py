"""What a model restores, what it generates, what it remembers."""

from __future__ import annotations

import importlib

from ambient.config import nearest
from ambient.runs import UserError

COMMANDS = {
    "restoration": "held-out images, noised and restored in one step by several models (Table 1)",
    "fid": "Frechet distance and KID of generated images to a reference (Fig. 4)",
    "memorization": "similarity of images to the nearest training image, beside baselines (Figs. 3, 8, 9, 10)",
}


def main(argv: list[str]) -> None:
    """Hand the options to the evaluation named first."""
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: python -m sdxl evaluate WHAT [options]\n")
        print("\n".join(f"  {name:14}{title}" for name, title in COMMANDS.items()))
        print("\npython -m sdxl evaluate WHAT --help lists the options.")
        return
    if argv[0] not in COMMANDS:
        raise UserError(f"there is no evaluation {argv[0]!r}{nearest(argv[0], COMMANDS)}")
    importlib.import_module(f"sdxl.evaluate.{argv[0]}").main(argv[1:])
