"""The noise attack: images are noised, the model restores them, and `evaluate memorization` compares the results with them.

    python -m sdxl attack noise --data photos --lora run --out attacked                    at t = 500 and 900, no caption
    python -m sdxl attack noise --data photos --lora run --t 900 --samples 4 --out attacked
    python -m sdxl attack noise --data photos --lora run --captions --out attacked         with the captions of the data
    torchrun --nproc-per-node 8 -m sdxl attack noise ...                                   the same images, sooner

Writes images/t500_one_step_000000.png, images/t500_sample_0_000000.png and so on; strips/ of the first images: the image, its
latent as RGB, the noisy latent, one step, samples; sheet.png, manifest.json, DONE. Noise follows from the seed and the image's
key: models attacked with one seed can be compared image by image. The same command resumes where it was stopped. For a control
attack as many images that the model has not seen. Paper: Sec. 4.1, 4.4, Figs. 2, 3, 8.
"""

from __future__ import annotations

from sdxl.attack.options import NoiseAttackOptions
from sdxl.run_command import started

OPTIONS = NoiseAttackOptions


def main(argv: list[str]) -> None:
    """Run the attack that `argv` describes."""
    with started(OPTIONS, argv, "attack noise", __doc__) as (config, group):
        from sdxl.attack.noise import NoiseAttacker, NoiseAttackPlan  # the models take seconds to import
        from sdxl.attack.plan import run_attack

        run_attack(group.together(lambda: NoiseAttackPlan(config, group)), NoiseAttacker)
