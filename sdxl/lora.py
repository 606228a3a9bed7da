"""Low-rank adapters of the UNet's attention: added, read, saved as diffusers loads them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ambient.runs import UserError, digest, write_atomically
from harness import records
from sdxl.base import Base

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
FILE = "pytorch_lora_weights.safetensors"  # the name that diffusers looks for
OURS, THEIRS = "exact_ambient", "lora_adapter_metadata"  # in the header


@dataclass(frozen=True)
class About:
    """What a LoRA of `python -m sdxl train` says of itself. Base and data are told by their content.

    `weight`: of the consistency loss that it has learned from; `weights`: a digest of its own.
    """

    remedy: ClassVar[str] = "copy the LoRA again, or export it again with the same `python -m sdxl train`"
    base: str
    data: str
    t_n: float
    rank: int
    alpha: float
    weight: float
    seed: int
    steps: int
    weights: str | None = None
    version: int = 1


def add(unet: Any, *, rank: int, alpha: float, seed: int) -> list[nn.Parameter]:
    """Adapters that change nothing yet, their weights in float32; the parameters to train. W + (alpha / rank) B A, B = 0."""
    from peft import LoraConfig

    if rank < 1:
        raise UserError(f"--rank must be at least 1; got {rank}")
    settings = LoraConfig(r=rank, lora_alpha=alpha, init_lora_weights="gaussian", target_modules=list(TARGETS))  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet.add_adapter(settings)
    found = [parameter for parameter in unet.parameters() if parameter.requires_grad]
    for parameter in found:
        parameter.data = parameter.data.float()
    return found


def weights(unet: Any) -> dict[str, Tensor]:
    """The adapters' weights, by peft's names."""
    from peft.utils import get_peft_model_state_dict

    return {name: value.detach().cpu() for name, value in get_peft_model_state_dict(unet).items()}


def restore(unet: Any, state: dict[str, Tensor]) -> None:
    """Put `weights` back, bit by bit. Raises: UserError if they are of another shape."""
    from peft.utils import set_peft_model_state_dict

    found = weights(unet)
    if {name: value.shape for name, value in found.items()} != {name: value.shape for name, value in state.items()}:
        raise UserError("the saved LoRA has other layers or another rank than this one")
    set_peft_model_state_dict(unet, state)


def save(folder: Path, unet: Any, state: dict[str, Tensor], about: About) -> None:
    """FILE in `folder`, for `pipeline.load_lora_weights`: rank and alpha in its header, and `about` for us."""
    from safetensors.torch import save as to_bytes

    settings = unet.peft_config["default"].to_dict()
    settings = {f"unet.{key}": sorted(value) if isinstance(value, set) else value for key, value in settings.items()}
    named = {f"unet.{name}": value.contiguous() for name, value in state.items()}
    ours = records.to_json(replace(about, weights=_digest(named)))
    header = {"format": "pt", THEIRS: json.dumps(settings, indent=2, sort_keys=True, default=str), OURS: ours}
    payload = to_bytes(named, metadata=header)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / FILE, payload)


def _digest(named: dict[str, Tensor]) -> str:
    """Of float32 weights, whatever their order in a file."""
    parts = (f"{name} {tuple(value.shape)} ".encode() + value.numpy().tobytes() for name, value in sorted(named.items()))
    return digest(b"".join(parts))


def find(source: str) -> Path:
    """The file of a run, of a folder, or itself. Raises: UserError if there is none."""
    path = Path(source)
    found = path / FILE if path.is_dir() else path
    if not found.is_file():
        raise UserError(f"{found} does not exist; give a run directory of `python -m sdxl train`, or a .safetensors file")
    return found


def about(file: Path) -> About | None:
    """What it says of itself; None for a LoRA from elsewhere. Raises: UserError for a file that is no safetensors."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as opened:
            found = (opened.metadata() or {}).get(OURS)
    except (SafetensorError, ValueError) as error:
        raise UserError(f"{file} is damaged, or no safetensors file") from error
    return None if found is None else records.from_json(found, About, where=f"the header of {file}")


def read(file: Path) -> dict[str, Tensor]:
    """The `weights` in a file of `save`. Raises: UserError for a file that is none, or whose weights have changed since."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        named = load_file(file)
    except SafetensorError as error:
        raise UserError(f"{file} is damaged, or no safetensors file") from error
    said = about(file)
    if said is not None and said.weights is not None and said.weights != _digest(named):
        raise UserError(f"{file} is damaged: its weights are not those that were saved; copy it again")
    return {name.removeprefix("unet."): value for name, value in named.items()}


def rank(state: dict[str, Tensor]) -> int:
    """Of the adapters in `weights`."""
    return min(next(iter(state.values())).shape)


def check(file: Path, *, base: str) -> None:
    """Raises: UserError for a file that cannot be read or is damaged, or a LoRA that says it was trained on another base."""
    read(file)
    said = about(file)
    if said is not None and said.base != base:
        raise UserError(f"{file} was trained on another base (its UNet is {said.base}, this one {base})")


def adapted(base: Base, file: Path | None, dtype: torch.dtype) -> Any:
    """The UNet of a base, frozen, with the LoRA of a file if there is one. Raises: as `load`."""
    unet = base.unet(dtype)
    if file is not None:
        load(unet, file, base=base.fingerprint("unet"))
    return unet


def load(unet: Any, file: Path, *, base: str) -> None:
    """Give the UNet the LoRA of a file, as diffusers does. Raises: UserError as `check`, and for one that does not fit."""
    from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline

    check(file, base=base)
    try:
        found: Any = StableDiffusionXLPipeline.lora_state_dict(
            str(file.parent), weight_name=file.name, local_files_only=True, return_lora_metadata=True
        )
        state, alphas, settings = found
        if not any(name.startswith("unet.") for name in state):
            raise ValueError("it holds no LoRA of a UNet")
        unet.load_lora_adapter(state, network_alphas=alphas, metadata=settings, prefix="unet", adapter_name="default")
        taken = {f"unet.{name}" for name in weights(unet)}
    except Exception as error:  # of diffusers, peft, torch: dozens of kinds
        raise UserError(f"{file} does not fit this UNet ({type(error).__name__}: {str(error).partition(chr(10))[0]})") from error
    if taken != set(state):  # diffusers passes over what it does not know
        raise UserError(
            f"{file} does not fit this UNet: {len(set(state) - taken)} of its {len(state)} weights are of no layer here"
        )
