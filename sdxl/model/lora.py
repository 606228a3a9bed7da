"""Low-rank adapters (LoRA) of layers of the UNet: adding, reading, and saving them in the format of diffusers."""

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
from harness.wording import one_line
from sdxl.model.base import Base
from sdxl.model.lora_formats import to_peft

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
FEED_FORWARD, CONVOLUTIONS = ("ff.net.0.proj", "ff.net.2"), ("conv1", "conv2", "conv_shortcut")
LAYERS = {  # the layers that get adapters, by the end of their names
    "attention": ATTENTION,
    "feed-forward": (*ATTENTION, *FEED_FORWARD),
    "convolutions": (*ATTENTION, *FEED_FORWARD, *CONVOLUTIONS),
}
FILE = "pytorch_lora_weights.safetensors"  # the name that diffusers looks for
OURS, THEIRS = "exact_ambient", "lora_adapter_metadata"  # keys of the header: our record, and peft's settings


@dataclass(frozen=True)
class About:
    """The record in the header of a LoRA that `python -m sdxl train` wrote.

    `base` and `data`: digests of the UNet and of the noisy set; `prediction` and `schedule`: those of the base; `weight`: that of
    the consistency loss, 0 before the loss begins; `weights`: a digest of the LoRA's own.
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


def add(unet: Any, *, rank: int, alpha: float, seed: int, layers: str = "attention") -> list[nn.Parameter]:
    """Add adapters W + (alpha / rank) B A with B = 0 to the UNet; returns A and B, the parameters to train, in float32.

    layers: one of LAYERS.
    """
    from peft import LoraConfig

    targets = list(LAYERS[layers])
    settings = LoraConfig(r=rank, lora_alpha=alpha, init_lora_weights="gaussian", target_modules=targets)  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet.add_adapter(settings)
    trained = [parameter for parameter in unet.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.data = parameter.data.float()
    return trained


def weights(unet: Any) -> dict[str, Tensor]:
    """The weights of the adapters by peft's names, on the CPU."""
    return {name: value.detach().cpu() for name, value in _adapters(unet).items()}


def _adapters(unet: Any) -> dict[str, Tensor]:
    from peft.utils import get_peft_model_state_dict

    return get_peft_model_state_dict(unet)


def restore(unet: Any, state: dict[str, Tensor]) -> None:
    """Set the weights of the adapters to what `weights` returned. Raises: UserError for other layers or another rank."""
    from peft.utils import set_peft_model_state_dict

    if {name: value.shape for name, value in _adapters(unet).items()} != {name: value.shape for name, value in state.items()}:
        raise UserError("the saved LoRA has other layers or another rank than this one")
    set_peft_model_state_dict(unet, state)


def save(folder: Path, unet: Any, state: dict[str, Tensor], about: About) -> None:
    """Write FILE to a folder, for `pipeline.load_lora_weights`; its header has rank and alpha, and `about`."""
    from safetensors.torch import save as to_bytes

    settings = unet.peft_config["default"].to_dict()
    settings = {f"unet.{key}": sorted(value) if isinstance(value, set) else value for key, value in settings.items()}
    named = {f"unet.{name}": value.contiguous() for name, value in state.items()}
    ours = records.to_json(replace(about, weights=_digest(named)))
    header = {"format": "pt", THEIRS: json.dumps(settings, indent=2, sort_keys=True, default=str), OURS: ours}
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / FILE, to_bytes(named, metadata=header))


def _digest(named: dict[str, Tensor]) -> str:
    """A digest of float32 weights, which does not depend on their order in a file."""
    parts = (f"{name} {tuple(value.shape)} ".encode() + value.numpy().tobytes() for name, value in sorted(named.items()))
    return digest(b"".join(parts))


def find(source: str) -> Path:
    """The file of a LoRA: `source` itself, or FILE in a folder. Raises: UserError if it does not exist."""
    file = Path(source) / FILE if Path(source).is_dir() else Path(source)
    if not file.is_file():
        raise UserError(f"{file} does not exist; give a run directory of `python -m sdxl train`, or a .safetensors file")
    return file


@dataclass(frozen=True)
class Lora:
    """A LoRA that is whole and fits a base.

    `digest`: that of its file; `state`: its weights by peft's names; `adapter`: peft's settings, if the file has them; `rank` and
    `alpha`: None if they are not the same in all layers.
    """

    file: Path
    about: About | None
    digest: str
    state: dict[str, Tensor]
    adapter: dict[str, Any] | None
    rank: int | None = None
    alpha: float | None = None


def opened(source: str, base: Base) -> Lora:
    """The LoRA of a run directory or a file, in any format that diffusers loads. All commands use this function.

    Raises: UserError for a file that is damaged or no LoRA, and for a LoRA of another base or that does not fit this one.
    """
    file = find(source)
    named, record = read(file), about(file)
    _refuse_another_base(file, record, base)
    try:
        state, adapter = to_peft(named, base.settings("unet").layers_per_block), json.loads(header(file).get(THEIRS, "null"))
    except ValueError as error:
        raise UserError(f"{file} is no LoRA that can be used: {error}") from error
    lora = Lora(file, record, digest(file.read_bytes()), state, adapter)
    unet = base.meta_unet()
    attach(unet, replace(lora, state={name: value.to("meta") for name, value in state.items()}))
    layers = [module for module in unet.modules() if "default" in getattr(module, "scaling", {})]
    scales = {(layer.r["default"], layer.scaling["default"]) for layer in layers}
    if len(scales) > 1:
        return lora
    [(rank, scale)] = scales
    return replace(lora, rank=rank, alpha=scale * rank)


def _refuse_another_base(file: Path, record: About | None, base: Base) -> None:
    """Raises: UserError where the record of the LoRA names another base. Older LoRAs, and those of others, name none."""
    of_base = base.identity("unet", "scheduler")
    for part, name in {"unet": "base", "prediction": "prediction", "schedule": "schedule"}.items():
        of_lora = getattr(record, name, None)
        if of_lora not in (None, of_base[part]):
            raise UserError(f"{file} was trained on another base than {base.folder}: {part} is {of_lora}, here {of_base[part]}")


def attach(unet: Any, lora: Lora) -> None:
    """Add a LoRA to the UNet, as diffusers does. Raises: UserError for a LoRA that does not fit."""
    state = {f"unet.{name}": value for name, value in lora.state.items()}
    try:
        unet.load_lora_adapter(dict(state), metadata=lora.adapter, prefix="unet", adapter_name="default")
        taken = {f"unet.{name}" for name in _adapters(unet)}
    except Exception as error:  # diffusers, peft and torch raise dozens of kinds
        raise UserError(f"{lora.file} does not fit this UNet ({type(error).__name__}: {one_line(error)})") from error
    unused, missing = set(state) - taken, taken - set(state)  # diffusers ignores both
    if unused:
        raise UserError(f"{lora.file} does not fit this UNet: {len(unused)} of its {len(state)} weights are of no layer here")
    if missing:
        raise UserError(f"{lora.file} is not whole: weights missing: {len(missing)}, as {min(missing)}")


def adapted(base: Base, lora: Lora | None, dtype: torch.dtype) -> Any:
    """The UNet of a base, frozen, with a LoRA if there is one."""
    unet = base.unet(dtype)
    if lora is not None:
        attach(unet, lora)
    return unet


def refuse_start(lora: Lora, base: Base, *, rank: int, alpha: float, layers: str) -> None:
    """Raises: UserError unless training of these layers with this rank and alpha can start from the LoRA."""
    if lora.rank is None or lora.alpha is None:
        raise UserError(f"{lora.file} has layers of several ranks or alphas; training starts from one of one rank and alpha")
    if (lora.rank, lora.alpha) != (rank, alpha):
        options = f"--rank {lora.rank} --alpha {lora.alpha:g}"
        raise UserError(f"{lora.file} is of rank {lora.rank} and alpha {lora.alpha:g}; take {options}")

    def has(name: str) -> bool:
        unet = base.meta_unet()
        add(unet, rank=rank, alpha=alpha, seed=0, layers=name)
        return set(_adapters(unet)) == set(lora.state)

    if not has(layers):
        fitting = next((f"take --layers {name}" for name in LAYERS if has(name)), "no --layers trains the same")
        raise UserError(f"{lora.file} has other layers than --layers {layers} trains ({', '.join(LAYERS[layers])}); {fitting}")


def header(file: Path) -> dict[str, str]:
    """The header of a safetensors file. Raises: UserError for any other file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as opened:
            return opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is damaged, or no safetensors file") from error


def about(file: Path) -> About | None:
    """The record in the header of a LoRA; None for one of other programs. Raises: UserError for a file that is no safetensors."""
    text = header(file).get(OURS)
    return None if text is None else records.from_json(text, About, where=f"the header of {file}")


def read(file: Path) -> dict[str, Tensor]:
    """The weights in a file by its own names. Raises: UserError for a file that is no safetensors, or whose weights changed."""
    from safetensors.torch import load_file

    record, named = about(file), load_file(file)
    if record is not None and record.weights not in (None, _digest(named)):
        raise UserError(f"{file} is damaged: its weights are not those that were saved; copy it again")
    return named
