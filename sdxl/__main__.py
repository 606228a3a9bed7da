"""`python -m sdxl COMMAND [options]`: the table of all commands, in the order in which one runs them."""

from __future__ import annotations

from harness.commands import Command, command, dispatch
from harness.errors import UserError

COMMANDS = {
    "mini": Command("sdxl.mini.command", "write the mini SDXL that this package ships, which knows pictures of letters"),
    "tiny": Command("sdxl.model.tiny", "write a tiny SDXL with random weights, for quick tests"),
    "pretrain": Command("sdxl.mini.pretrain", "train the mini SDXL again, in about two hours of one core"),
    "corrupt": Command("sdxl.corrupt.command", "turn images and captions into a noisy set on disk, once"),
    "train": Command("sdxl.train.command", "fine-tune SDXL by LoRA on a noisy set alone"),
    "generate": Command(
        "sdxl.generate.command",
        "generate images from a base and a LoRA: samples, the paper's early stop, or posterior samples",
    ),
    "evaluate restoration": Command(
        "sdxl.evaluate.restoration.command",
        "errors of several models that restore noised held-out images in one step (Table 1)",
    ),
    "evaluate fid": Command(
        "sdxl.evaluate.distances.command", "Frechet distance and KID of generated images to a reference (Fig. 4)"
    ),
    "evaluate memorization": Command(
        "sdxl.evaluate.memorization.command",
        "similarity of images to the nearest training image, next to baselines (Figs. 3, 8, 9, 10)",
    ),
    "attack noise": Command(
        "sdxl.attack.noise_command",
        "add noise to training images and restore them, in one step and by posterior samples (Figs. 2, 3, 8, 10)",
    ),
    "attack mask": Command(
        "sdxl.attack.mask_command",
        "hide regions of training images and fill them, by the model or by an inpainting pipeline (Figs. 1, 9)",
    ),
    "figures": Command(
        "sdxl.figures.command", "draw the paper's figures and its table from the results of the other commands, on one page"
    ),
    "reproduce": Command(
        "sdxl.reproduce.command", "run the paper's experiments on the mini SDXL and handwritten digits, on a laptop"
    ),
    "rehearse": Command("sdxl.rehearse", "run the commands from corrupt to figures on the mini SDXL, in minutes on a laptop"),
}
EXAMPLES = ("rehearse", "corrupt --data photos --t-n 500 --out noisy", "attack noise --data photos --lora run --out attacked")


def main(argv: list[str]) -> None:
    """Run the command that the first arguments name."""
    try:
        dispatch("python -m sdxl", COMMANDS, argv, EXAMPLES)
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is not installed; pip install -c constraints.txt -e '.[sdxl]'") from error


if __name__ == "__main__":
    command(main)
