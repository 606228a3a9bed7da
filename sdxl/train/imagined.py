"""A UNet on torch's meta device, where it has shapes and no numbers: so SDXL's real UNet fits on a laptop.

The real training code runs on it: latents, levels and draws are real, and the UNet returns zeros. So `cost` counts the operations
of the training code itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ambient.denoisers import Denoiser
from sdxl.model import lora
from sdxl.model.unet import UNetNetwork
from sdxl.run_command import quiet
from sdxl.train.objective import Objective


class Imagined(nn.Module):
    """A UNet with a LoRA as the network of a `NetworkDenoiser`, on torch's meta device; it counts its evaluations.

    Latents may be on another device. Zeros come back from the meta device, for values and gradients, so that losses, paths and
    draws are the real ones. On a real device the UNet has random weights, so that its time and memory can be measured.

    Args: tokens: of a caption; layers: as of `lora.add`.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        *,
        rank: int = 4,
        dtype: torch.dtype = torch.bfloat16,
        checkpointing: bool = False,
        device: torch.device | str = "meta",
        tokens: int = 77,
        layers: str = "attention",
    ):
        super().__init__()
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

        quiet()
        self.settings, self.dtype, self.device, self.tokens = settings, dtype, torch.device(device), tokens
        with self.device:
            unet: Any = UNet2DConditionModel.from_config(settings)
            nn.Module.to(unet.requires_grad_(False), dtype)
            self.trained = lora.add(unet, rank=rank, alpha=rank, seed=0, layers=layers)
        if checkpointing:
            unet.enable_gradient_checkpointing()
        self.network = UNetNetwork(unet.train())
        self.with_gradient = self.without_gradient = 0  # evaluations, in samples

    def forward(self, x_t: Tensor, t: Tensor, condition: dict[str, Tensor]) -> Tensor:
        if torch.is_grad_enabled():
            self.with_gradient += len(x_t)
        else:
            self.without_gradient += len(x_t)
        condition = {name: value.to(self.device) for name, value in condition.items()}
        return _Across.apply(self.network(_Across.apply(x_t, self.device), t.to(self.device), condition), x_t.device)  # type: ignore[return-value]

    def condition(self, batch: int) -> dict[str, Tensor]:
        """A condition of zeros for `batch` samples."""
        pooled = self.settings["projection_class_embeddings_input_dim"] - 6 * self.settings["addition_time_embed_dim"]
        shapes = {"prompt_embeds": (self.tokens, self.settings["cross_attention_dim"]), "pooled": (pooled,), "time_ids": (6,)}
        return {name: torch.zeros(batch, *shape, device=self.device) for name, shape in shapes.items()}

    def sizes(self) -> tuple[int, int]:
        """The number of frozen parameters, and of those of the LoRA."""
        trained = sum(p.numel() for p in self.trained)
        return sum(p.numel() for p in self.parameters()) - trained, trained


class _Across(torch.autograd.Function):
    """Moves a tensor to another device, and its gradient back. Between meta and a real device both become zeros."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, device: torch.device) -> Tensor:
        ctx.device = x.device
        return _moved(x, device)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return _moved(gradient, ctx.device), None


def _moved(x: Tensor, device: torch.device) -> Tensor:
    through_meta = x.device.type != device.type and "meta" in (x.device.type, device.type)
    return torch.zeros_like(x, device=device) if through_meta else x.to(device, copy=True)


Work = Callable[[Denoiser], Tensor]


def micro_batch(model: Imagined, objective: Objective, *, batch: int, pairs: int, size: int, t_n: float = 500) -> Work:
    """The loss of `sdxl train` on one micro-batch of latents of size x size, of which `pairs` have a consistency pair."""
    x_n, levels = torch.zeros(batch, 4, size, size), torch.full((batch,), t_n, dtype=torch.float64)
    draws = objective.draw(levels, [i < pairs for i in range(batch)], x_n.shape[1:], seed=0, numbers=list(range(batch)))
    condition = model.condition(batch)

    def work(denoiser: Denoiser) -> Tensor:
        parts = objective(denoiser, x_n, levels, condition, draws)
        return parts.ambient.sum() + parts.consistency.sum()

    return work
