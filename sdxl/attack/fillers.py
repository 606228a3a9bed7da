"""Who fills the holes: the model itself, or the stock inpainting pipeline. Neither is shown what was there."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from ambient.randomness import generator
from harness.errors import UserError
from sdxl.attack.fill import fill
from sdxl.attack.mask import Hole, Holes
from sdxl.attack.plan import STRIPS, Attacker
from sdxl.attack.strips import image_of, strip
from sdxl.images.sheets import save
from sdxl.model import sampling, vae
from sdxl.model.unet import denoiser, guided
from sdxl.model.vae import picture
from sdxl.model.weights import load

MARGIN = 1  # latents around the hole that are filled too: the VAE sees the gray in them


class Filler(Attacker):
    """Hides, fills, and writes what was and what is there now."""

    def __init__(self, plan: Holes):
        super().__init__(plan)
        self.plan = plan

    def __call__(self, image: int) -> None:
        plan, hole = self.plan, self.plan.holes[image]
        square, condition = self.read(plan, image)
        left, top, right, bottom = hole
        seen = square.clone()
        seen[:, top:bottom, left:right] = 0  # gray, before the VAE: its latents carry what is near them
        x_0, shown = vae.latent(self.vae, seen[None]).to(self.device), [image_of(square), image_of(seen)]
        save(self.region(shown[0], hole), plan.original(image))
        for j in range(plan.config.samples):
            file = plan.file(j, image)
            made = picture(self.vae, self.fill(x_0, hole, condition, f"{j}/{plan.pictures[image].key}")[0], file.name)
            save(self.region(made, hole), file)
            shown.append(shown[0].copy())
            shown[-1].paste(made.crop(hole), hole)
        if image < STRIPS:
            heads = ["image", "what was shown", *(f"fill {j}" for j in range(plan.config.samples))]
            save(strip([shown], heads=heads), plan.strip(image))

    def region(self, shown: Any, hole: Hole) -> Any:
        """It alone, a square whatever its shape."""
        from PIL import Image

        return shown.crop(hole).resize((self.plan.side, self.plan.side), Image.Resampling.LANCZOS)

    @abstractmethod
    def fill(self, x_0: Tensor, hole: Hole, condition: dict[str, Tensor], stream: str) -> Tensor:
        """The latent (1, 4, h, w) of the whole picture; what it draws follows from (seed, stream)."""


class Posterior(Filler):
    """The model itself, by `attack.fill`."""

    def __init__(self, plan: Holes):
        super().__init__(plan)
        null = {name: value.to(self.device) for name, value in self.text.null().items()}
        self.denoiser = guided(denoiser(self.unet, plan.path, plan.base.prediction()), null, plan.scale())

    def fill(self, x_0: Tensor, hole: Hole, condition: dict[str, Tensor], stream: str) -> Tensor:
        config, cell = self.plan.config, self.plan.vae.pixels()
        left, top, right, bottom = (side // cell for side in hole)
        hidden = torch.zeros(x_0.shape[-2:], dtype=torch.bool, device=self.device)
        hidden[max(0, top - MARGIN) : bottom + MARGIN, max(0, left - MARGIN) : right + MARGIN] = True
        noise = sampling.noise_from([f"fill {stream}"], x_0.shape[1:], seed=config.seed)
        options: dict[str, Any] = {"path": self.plan.path, "times": self.plan.times, "kernel": config.kernel, "noise": noise}
        return fill(self.denoiser, x_0, hidden, resample=config.resample, condition=condition, **options)


class Inpainting(Filler):
    """diffusers' pipeline, with a UNet made for it (9 channels) or with any other (4)."""

    def __init__(self, plan: Holes):
        super().__init__(plan)
        import diffusers
        from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl_inpaint import StableDiffusionXLInpaintPipeline

        name = plan.base.schedule().get("_class_name", "EulerDiscreteScheduler")
        kind = getattr(diffusers, name, None)
        if kind is None:
            raise UserError(f"this diffusers has no scheduler {name}, which {plan.base.folder} names")
        nothing: Any = None  # captions are encoded here, as for all attacks
        parts = (self.vae, nothing, nothing, nothing, nothing, self.unet, load(kind, plan.base.part("scheduler")))
        self.pipeline = StableDiffusionXLInpaintPipeline(*parts, add_watermarker=False)
        self.pipeline.set_progress_bar_config(disable=True)
        self.null = self.text.null()

    def fill(self, x_0: Tensor, hole: Hole, condition: dict[str, Tensor], stream: str) -> Tensor:
        """x_0, of the image with the hole, stands for the image: a UNet of 4 channels would else be shown what was there."""
        side, (left, top, right, bottom) = self.plan.resolution, hole
        mask = torch.zeros(1, 1, side, side)
        mask[..., top:bottom, left:right] = 1
        height, width, *corner = (int(value) for value in condition["time_ids"][0, :4])
        sizes = {"original_size": (height, width), "crops_coords_top_left": tuple(corner), "target_size": (side, side)}
        captions = {"prompt_embeds": condition["prompt_embeds"], "pooled_prompt_embeds": condition["pooled"]}
        captions |= {"negative_prompt_embeds": self.null["prompt_embeds"], "negative_pooled_prompt_embeds": self.null["pooled"]}
        found: Any = self.pipeline(
            image=x_0,
            masked_image_latents=x_0,
            mask_image=mask,
            height=side,
            width=side,
            num_inference_steps=self.plan.config.steps,
            guidance_scale=self.plan.scale(),
            generator=generator(self.plan.config.seed, f"inpainting {stream}"),
            output_type="latent",
            **{name: value.to(self.device, self.plan.dtype) for name, value in captions.items()},
            **sizes,
            **{f"negative_{name}": value for name, value in sizes.items()},
        )
        return found.images.float()


class MaskAttack(Holes):
    """The masking attack: holes, and the filler that `--fill` names."""

    def attacker(self) -> Attacker:
        return Posterior(self) if self.config.fill == "posterior" else Inpainting(self)
