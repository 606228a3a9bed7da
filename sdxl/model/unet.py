"""SDXL's UNet as a denoiser h(x_t, t, condition)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ambient.denoisers import NetworkDenoiser
from ambient.paths import Discrete


class UNetNetwork(nn.Module):
    """SDXL's UNet as the network of a `NetworkDenoiser`: (x_t, t, condition) -> its prediction, in float32.

    condition: `prompt_embeds` (B, 77, C), `pooled` (B, P) and `time_ids` (B, 6): original size, corner of the crop, final size.
    """

    def __init__(self, unet: nn.Module):
        super().__init__()
        self.unet = unet

    def forward(self, x_t: Tensor, t: Tensor, condition: dict[str, Tensor]) -> Tensor:
        dtype = next(self.unet.parameters()).dtype
        added = {"text_embeds": condition["pooled"].to(dtype), "time_ids": condition["time_ids"].to(dtype)}
        states = condition["prompt_embeds"].to(dtype)
        out = self.unet(x_t.to(dtype), t, encoder_hidden_states=states, added_cond_kwargs=added, return_dict=False)[0]
        return out.float()


def denoiser(unet: nn.Module, path: Discrete, prediction: str) -> NetworkDenoiser:
    """h(x_t, t, condition) of a UNet."""
    return NetworkDenoiser(UNetNetwork(unet), path, prediction)


def guided(h: Any, null: dict[str, Tensor], scale: float) -> Any:
    """Classifier-free guidance: h(null) + scale (h(condition) - h(null)), the same for h, eps and v.

    null: the condition without a caption, of one sample. A scale of 1 is h itself. The two evaluations run one after the other,
    so that guidance takes no more memory. Source: Ho and Salimans 2022, Eq. (6).
    """
    if scale == 1:
        return h

    def both(x_t: Tensor, t: Any, condition: dict[str, Tensor]) -> Tensor:
        without = condition | {key: null[key].expand_as(condition[key]) for key in ("prompt_embeds", "pooled")}
        base = h(x_t, t, without)
        return base + scale * (h(x_t, t, condition) - base)

    return both
