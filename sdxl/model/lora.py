"""Low-rank adapters of the UNet's attention: added, read, saved as diffusers loads them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from harness import records
from harness.errors import UserError
from harness.files import digest, write_atomically
from sdxl.model.base import Base
from sdxl.model.lora_formats import to_peft

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
FILE = "pytorch_lora_weights.safetensors"  # the name that diffusers looks for
OURS, THEIRS = "exact_ambient", "lora_adapter_metadata"  # in the header


@dataclass(frozen=True)
class About:
    """What a LoRA of `python -m sdxl train` says of itself. Base and data are told by their content.

    `prediction` and `schedule`: of the base; `weight`: of the consistency loss that it has learned from; `weights`: a digest of
    its own.
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
    prediction: str | None = None
    schedule: str | None = None
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
    return {name: value.detach().cpu() for name, value in _adapters(unet).items()}


def _adapters(unet: Any) -> dict[str, Tensor]:
    from peft.utils import get_peft_model_state_dict

    return get_peft_model_state_dict(unet)


def restore(unet: Any, state: dict[str, Tensor]) -> None:
    """Put `weights` back, bit by bit. Raises: UserError if they are of another shape."""
    from peft.utils import set_peft_model_state_dict

    found = _adapters(unet)
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


@dataclass(frozen=True)
class Lora:
    """A LoRA that was found whole, and that fits a base. `digest`: of its file; `state`: its weights, by peft's names.

    `rank` and `alpha` are None where they are not the same in all layers; `adapter`: peft's settings, where the file has them.
    """

    file: Path
    about: About | None
    digest: str
    state: dict[str, Tensor]
    adapter: dict[str, Any] | None
    rank: int | None = None
    alpha: float | None = None


def opened(source: str, base: Base) -> Lora:
    """The LoRA of a run directory or a file, in any format that diffusers loads: the one way by which commands come to it.

    Raises: UserError for one that is damaged, was trained on another base, or does not fit this one, and for what is none.
    """
    file = find(source)
    named, said = read(file), about(file)
    _refuse_another_base(file, said, base)
    try:
        state, adapter = to_peft(named, base.settings("unet").layers_per_block), json.loads(header(file).get(THEIRS, "null"))
    except ValueError as error:
        raise UserError(f"{file} is no LoRA that can be used: {error}") from error
    found = Lora(file, said, digest(file.read_bytes()), state, adapter)
    unet = base.imagined_unet()
    attach(unet, replace(found, state={name: value.to("meta") for name, value in state.items()}))
    layers = [module for module in unet.modules() if "default" in getattr(module, "scaling", {})]
    scales = {(layer.r["default"], layer.scaling["default"]) for layer in layers}
    if len(scales) > 1:
        return found
    [(rank, scale)] = scales
    return replace(found, rank=rank, alpha=scale * rank)


def _refuse_another_base(file: Path, said: About | None, base: Base) -> None:
    """Raises: UserError where the LoRA tells of another base. What is older or from elsewhere does not tell, and is taken."""
    here, told = base.identity("unet", "scheduler"), {"unet": "base", "prediction": "prediction", "schedule": "schedule"}
    for name, field in told.items():
        there = getattr(said, field, None)
        if there not in (None, here[name]):
            raise UserError(f"{file} was trained on another base than {base.folder}: its {name} is {there}, here {here[name]}")


def attach(unet: Any, found: Lora) -> None:
    """Give the UNet a LoRA, as diffusers does. Raises: UserError for one that does not fit."""
    state = {f"unet.{name}": value for name, value in found.state.items()}
    try:
        unet.load_lora_adapter(dict(state), metadata=found.adapter, prefix="unet", adapter_name="default")
        taken = {f"unet.{name}" for name in _adapters(unet)}
    except Exception as error:  # of diffusers, peft, torch: dozens of kinds
        raise UserError(f"{found.file} does not fit this UNet ({type(error).__name__}: {_line(error)})") from error
    left, lost = set(state) - taken, taken - set(state)  # diffusers passes over both
    if left:
        raise UserError(f"{found.file} does not fit this UNet: {len(left)} of its {len(state)} weights are of no layer here")
    if lost:
        raise UserError(f"{found.file} is not whole: weights missing: {len(lost)}, as {min(lost)}")


def adapted(base: Base, found: Lora | None, dtype: torch.dtype) -> Any:
    """The UNet of a base, frozen, with a LoRA if there is one."""
    unet = base.unet(dtype)
    if found is not None:
        attach(unet, found)
    return unet


def refuse_start(found: Lora, base: Base, *, rank: int, alpha: float) -> None:
    """Raises: UserError unless training with this rank and alpha can start from the LoRA."""
    if found.rank is None or found.alpha is None:
        raise UserError(f"{found.file} has layers of several ranks or alphas; training starts from one of one rank and alpha")
    if (found.rank, found.alpha) != (rank, alpha):
        it = f"--rank {found.rank} --alpha {found.alpha:g}"
        raise UserError(f"{found.file} is of rank {found.rank} and alpha {found.alpha:g}; take {it}")
    unet = base.imagined_unet()
    add(unet, rank=rank, alpha=alpha, seed=0)
    if set(_adapters(unet)) != set(found.state):
        raise UserError(f"{found.file} has other layers than are trained here: {', '.join(TARGETS)} of every attention")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def header(file: Path) -> dict[str, str]:
    """What a safetensors file says beside its weights. Raises: UserError for a file that is none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as opened:
            return opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is damaged, or no safetensors file") from error


def about(file: Path) -> About | None:
    """What it says of itself; None for a LoRA from elsewhere. Raises: UserError for a file that is no safetensors."""
    found = header(file).get(OURS)
    return None if found is None else records.from_json(found, About, where=f"the header of {file}")


def read(file: Path) -> dict[str, Tensor]:
    """All weights in a file, by its own names. Raises: UserError for a file that is none, or whose weights have changed."""
    from safetensors.torch import load_file

    said = about(file)
    named = load_file(file)
    if said is not None and said.weights is not None and said.weights != _digest(named):
        raise UserError(f"{file} is damaged: its weights are not those that were saved; copy it again")
    return named
