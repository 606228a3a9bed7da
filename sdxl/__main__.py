"""`python -m sdxl COMMAND [options]`."""

from __future__ import annotations

import importlib

from ambient.config import command, nearest
from ambient.runs import UserError

COMMANDS = {
    "tiny": "write a tiny SDXL with random weights, to rehearse with",
    "corrupt": "images and captions -> noisy latents on disk, once",
    "train": "LoRA fine-tuning on noisy latents alone",
    "generate": "images from a base and a LoRA: full sampling, early stop, posterior sampling",
    "evaluate": "restoration of held-out images, Frechet distance and KID, memorization",
    "attack": "does the model give back what it was trained on: noise, mask",
    "figures": "the paper's figures and its table, from what the others have left: one page",
    "rehearse": "all of it in minutes on a laptop, from a tiny SDXL to the page of figures",
}


def main(argv: list[str]) -> None:
    """Hand the options to the command named first."""
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: python -m sdxl COMMAND [options]\n")
        print("\n".join(f"  {name:10}{title}" for name, title in COMMANDS.items()))
        print("\npython -m sdxl COMMAND --help lists the options.")
        return
    if argv[0] not in COMMANDS:
        raise UserError(f"unknown command {argv[0]!r}{nearest(argv[0], COMMANDS)}")
    try:
        module = importlib.import_module(f"sdxl.{argv[0]}")
        module.main(argv[1:])
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is not installed; pip install -c constraints.txt -e '.[sdxl]'") from error


if __name__ == "__main__":
    command(main)
