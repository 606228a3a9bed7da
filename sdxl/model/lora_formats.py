"""Convert the weights of a LoRA to peft's names, from the files of any version of diffusers and of kohya's scripts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from torch import Tensor

from harness.wording import one_line

UNET, ALPHA = "unet.", ".alpha"


def to_peft(named: dict[str, Tensor], layers_per_block: Any) -> dict[str, Tensor]:
    """The weights of a UNet's LoRA by peft's names, converted by diffusers.

    kohya's files hold an alpha for each layer, which is multiplied into the layer's weights here: where alphas differ, diffusers
    0.42 would give all layers of attention the commonest alpha.
    Args: named: the weights by their names in the file; layers_per_block: that of the UNet.
    Raises: ValueError for weights that diffusers does not load into a UNet, and for a LoRA that also changes text encoders.
    """
    from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
    from diffusers.utils.state_dict_utils import convert_unet_state_dict_to_peft

    config = SimpleNamespace(layers_per_block=layers_per_block)  # the converter needs it for kohya's numbers of blocks
    try:
        converted: Any = StableDiffusionXLPipeline.lora_state_dict(dict(named), unet_config=config)
    except Exception as error:  # diffusers raises several kinds
        raise ValueError(f"diffusers cannot read its names ({type(error).__name__}: {one_line(error)})") from error
    others = sorted(name for name in converted[0] if not name.startswith(UNET))
    state, alphas = (_of_unet(part or {}) for part in converted)
    if not any(".lora_A." in name for name in state):
        state, alphas = convert_unet_state_dict_to_peft(state), convert_unet_state_dict_to_peft(alphas)
    odd = [name for name in state if ".lora_A." not in name and ".lora_B." not in name]
    if odd or not state:
        raise ValueError(f"it holds no LoRA of a UNet, but {(odd or others or ['nothing'])[0]}")
    if others:
        raise ValueError(f"it also changes the text encoders, which is not supported: {len(others)} weights, as {others[0]}")
    for name, alpha in alphas.items():
        layer = name.removesuffix(ALPHA).partition(".lora_A.")[0]
        down, up = f"{layer}.lora_A.weight", f"{layer}.lora_B.weight"
        if {down, up} <= state.keys():
            state[up] = state[up].float() * (alpha / state[down].shape[0])
    return state


def _of_unet(named: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(UNET): value for name, value in named.items() if name.startswith(UNET)}
