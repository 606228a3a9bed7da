"""The figures of the paper: what each shows there, and what draws it here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sdxl.figures import attacks, numbers, samples
from sdxl.figures.found import Runs
from sdxl.figures.outcome import Missing, Shown

if TYPE_CHECKING:
    from sdxl.figures import Config


@dataclass(frozen=True)
class PaperFigure:
    """`paper`: what it shows there, in a sentence."""

    name: str
    title: str
    paper: str
    draw: Callable[[Runs, Config], Shown | Missing]


IN_THE_PAPER = {
    "Fig. 1": "SDXL inpainting gives masked parts of LAION images back so well that the paper takes it to have seen them.",
    "Fig. 2": "Samples of SDXL given extremely noisy latents are near the images, where the one-step estimate is a blur; the "
    "paper takes it to have seen them.",
    "Fig. 3": "At either of two levels far more results of the noise attack are above .95 than plain samples are (the method of "
    "Somepalli et al.).",
    "Fig. 4": "FID of 50,000 faces: with consistency near that of clean training up to t_n = 500, without it much worse as t_n "
    "grows.",
    "Table 1": "Models trained at t_n = 100, 500, 800 restore 32 held-out faces alike, to about 1 %, at 900, 800, 500 and 100.",
    "Fig. 5": "Noisy latents as RGB at t_n = 0, 100, 500, 800, and samples of what may be behind them.",
    "Fig. 6": "Without consistency faces blur as t_n grows; with it detail comes back.",
    "Fig. 7": "Four prompts after fine-tuning on 10,000 LAION images: plausible images at high noise, too.",
    "Fig. 8": "At t = 900 similarities of the model trained at t_n = 500 lie further left than those of the one trained on clean "
    "images.",
    "Fig. 9": "The distribution of similarities of inpainted images to their nearest neighbours.",
    "Fig. 10": "On the model fine-tuned on clean faces the attack's similarities lie further right than those of plain samples.",
    "Fig. 11": "Brain scans and chest X-rays: data, samples of the base, noisy data, samples after training without and with "
    "consistency.",
}
DRAWN = {
    "Fig. 1": ("Hidden parts, filled in", attacks.masked),
    "Fig. 2": ("Behind extreme noise", attacks.noised),
    "Fig. 3": ("An attack against plain samples", partial(attacks.attack_and_samples, fine_tuned=False)),
    "Fig. 4": ("Distance to the data against its noise", numbers.distances),
    "Table 1": ("Restoration", numbers.restored),
    "Fig. 5": ("What the levels of noise look like", samples.behind_noise),
    "Fig. 6": ("Samples by the level of the training data", samples.by_level),
    "Fig. 7": ("Prompts", samples.prompts),
    "Fig. 8": ("Does training on noisy images weaken the attack?", attacks.two_models),
    "Fig. 9": ("Similarity of what was filled in", attacks.filled),
    "Fig. 10": ("The attack against plain samples, after fine-tuning", partial(attacks.attack_and_samples, fine_tuned=True)),
    "Fig. 11": ("Other data", samples.other_data),
}
FIGURES = tuple(PaperFigure(name, title, IN_THE_PAPER[name], draw) for name, (title, draw) in DRAWN.items())
