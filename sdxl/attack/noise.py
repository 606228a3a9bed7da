"""The noise attack of SDXL: which results each image has, and how they are made and written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from sdxl.attack.options import NoiseAttackOptions
from sdxl.attack.plan import STRIPS, Attacker, AttackPlan
from sdxl.attack.restore import Restorations, attack
from sdxl.images.sheets import as_rgb, grid, image_of, save
from sdxl.manifest import Noised
from sdxl.model import sampling, vae
from sdxl.model.unet import denoiser
from sdxl.model.vae import picture
from sdxl.parallel import Group


class NoiseAttackPlan(AttackPlan):
    """The attack on every image at every level. Raises: UserError if options or files do not go together."""

    config: NoiseAttackOptions
    record = Noised

    def __init__(self, config: NoiseAttackOptions, group: Group):
        super().__init__(config, group)
        sampling.require_times("--t", config.t, self.path.t_max)
        self.kinds = ["one_step", *(f"sample_{j}" for j in range(config.samples))]
        self.on_sheet = config.samples  # the last sample at the first level

    def file(self, t: int, kind: str, image: int) -> Path:
        """The picture of a result."""
        return Path(self.config.out) / "images" / f"t{t}_{kind}_{image:06d}.png"

    def results(self, image: int) -> list[tuple[Path, dict[str, Any]]]:
        return [(self.file(t, kind, image), {"t": t, "kind": kind}) for t in self.config.t for kind in self.kinds]

    def evaluations(self) -> int:
        return sum(1 + self.config.samples * (len(sampling.stretch(self.times, start=t)) - 1) for t in self.config.t)


class NoiseAttacker(Attacker):
    """Noises images to each level, and restores them."""

    def __init__(self, plan: NoiseAttackPlan):
        super().__init__(plan)
        self.plan, self.denoiser = plan, denoiser(self.unet, plan.path, plan.base.prediction())

    def __call__(self, image: int) -> None:
        plan, config = self.plan, self.plan.config
        square, condition = self.read(image)
        x_0, rows = vae.latent(self.vae, square[None]).to(self.device), []
        for t in config.t:
            options: dict[str, Any] = {"path": plan.path, "times": plan.times, "kernel": config.kernel, "seed": config.seed}
            keys = [plan.pictures[image].key]
            restored = attack(self.denoiser, x_0, keys, t, samples=config.samples, condition=condition, **options)
            rows.append([image_of(square), *self.write(x_0, restored, t, image)])
        if image < STRIPS:
            heads = ["image", "latent as RGB", "noisy latent", *(kind.replace("_", " ") for kind in plan.kinds)]
            save(grid(rows, above=heads, beside=[f"t = {t}" for t in config.t]), plan.strip_file(image))

    def write(self, x_0: Tensor, restored: Restorations, t: int, image: int) -> list[Any]:
        """Write the results at level t. Returns pictures of the latent, the noisy latent and the results. Paper: Fig. 2."""
        shown = [as_rgb(x_0[0]), as_rgb(restored.x_t[0])]
        for kind, latent in zip(self.plan.kinds, [restored.one_step[0], *restored.samples[:, 0]], strict=True):
            file = self.plan.file(t, kind, image)
            shown.append(picture(self.vae, latent, file.name))
            save(shown[-1], file)
        return shown
