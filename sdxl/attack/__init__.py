"""Attacks: does a model give back what it was trained on?"""

from __future__ import annotations

from ambient.config import dispatch

COMMANDS = {
    "noise": "add noise to training images and restore them, in one step and by posterior samples (Figs. 2, 3, 8, 10)",
    "mask": "hide regions of training images and fill them, by the model or by an inpainting pipeline (Figs. 1, 9)",
}
EXAMPLES = ("noise --data photos --lora run --out attacked", "mask --data photos --lora run --captions --out masked")


def main(argv: list[str]) -> None:
    """Hand the options to the attack named first."""
    dispatch("python -m sdxl attack", "sdxl.attack", COMMANDS, argv, EXAMPLES)
