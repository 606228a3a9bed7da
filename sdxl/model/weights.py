"""Models in folders or on the hub: opened whole or not at all, and told from one another by what they hold."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from harness.errors import UserError
from sdxl.model import settings

BLOCKS, BLOCK = 64, 1 << 16  # of a file of weights that go into its fingerprint, and their bytes
LOADED = re.compile(r"(diffusion_pytorch_model|model)(-\d+-of-\d+)?\.safetensors")  # the files of weights that are read
COUNTER = "num_batches_tracked"  # of a batch norm: only training reads it
POINTER = b"version https://git-lfs"  # how a file begins that git-lfs has not fetched


def fetch(source: str, files: list[str], *, example: str, revision: str | None = None) -> Path:
    """A folder, or the named files of a hub repository. Raises: UserError if neither can be had."""
    if Path(source).is_dir():
        return Path(source)
    if source.startswith((".", "/", "~")) or source.count("/") != 1:
        raise UserError(f"{source} is no folder, and no hub id such as {example}")
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(source, revision=revision, allow_patterns=files, ignore_patterns=["*.fp16.*", "*openvino*"])
        )
    except Exception as error:  # of the hub, of the network, of the disk: dozens of kinds
        raise UserError(
            f"cannot fetch {source} from the hub ({type(error).__name__}); where there is a network run "
            f"`hf download {source}`, and give the folder here"
        ) from error


def load_model(kind: Any, folder: Path, *, spare: tuple[str, ...] = (), **options: Any) -> Any:
    """`kind.from_pretrained` from disk, frozen. `spare`: how the names of weights begin that the model may do without.

    Raises: UserError unless the files hold each weight of the model and nothing else: libraries draw what is missing at random.
    """
    weights(folder)
    options |= {"local_files_only": True, "use_safetensors": True, "ignore_mismatched_sizes": True, "output_loading_info": True}
    with _told(folder):
        model, report = kind.from_pretrained(folder, **options)
    wrong = {
        "missing": report["missing_keys"],
        "unexpected": [name for name in report["unexpected_keys"] if not name.startswith(spare)],
        "of another shape": [name for name, *_ in report["mismatched_keys"]],
    }
    found = {word: sorted(name for name in names if not name.endswith(COUNTER)) for word, names in wrong.items()}
    said = [f"{len(names)} {word} ({', '.join(names[:3])}{', ...' * (len(names) > 3)})" for word, names in found.items() if names]
    if said:
        raise UserError(f"the weights in {folder} are not those of its config.json: {'; '.join(said)}; fetch the model again")
    return frozen(model)


def load(kind: Any, folder: Path) -> Any:
    """`kind.from_pretrained` from disk, of what has no weights. Raises: UserError if it cannot be loaded."""
    with _told(folder):
        return kind.from_pretrained(folder, local_files_only=True)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Raises: UserError for whatever a library says of a folder that it cannot load."""
    try:
        yield
    except (ImportError, torch.OutOfMemoryError):  # no fault of the folder
        raise
    except Exception as error:  # of diffusers, transformers, safetensors, json: dozens of kinds
        why = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"cannot load {folder}: {why[:300]}") from error


def weights(folder: Path) -> list[Path]:
    """The files of weights in a model's folder. Raises: UserError if there is none, or if one is not whole."""
    files = sorted(folder.glob("*.safetensors"))
    found = [file for file in files if LOADED.fullmatch(file.name)]
    if not found:
        half = [file.name for file in files if ".fp16." in file.name]
        if half:
            plain = half[0].replace(".fp16", "")
            raise UserError(f"{folder} holds its weights in float16 alone; rename {half[0]} to {plain} to take those")
        others = [file.name for file in sorted(folder.glob("*.bin"))] or [file.name for file in files] or ["nothing"]
        raise UserError(f"{folder} has no weights: expected model.safetensors or diffusion_pytorch_model.safetensors, "
                        f"found {others[0]}; save the model again with safe_serialization=True")  # fmt: skip
    for file in found:
        try:
            with safe_open(file, "pt"):
                pass
        except (SafetensorError, OSError) as error:
            with open(file, "rb") as stream:
                pointer = stream.read(len(POINTER)) == POINTER
            why = "is only a pointer of git-lfs: run `git lfs pull`, or" if pointer else f"is damaged ({error}):"
            raise UserError(f"{file} {why} fetch the model again") from error
    return found


def fingerprint(folder: Path) -> str:
    """Sixteen digits that tell a model from another: its settings, and of each file of weights the size and 64 blocks.

    Only of files that are loaded: a hub repository also holds weights in other types and for other programs.
    Raises: UserError for a model without weights, and for files that are not whole.
    """
    model = weights(folder) if (folder / "config.json").exists() else []
    found = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix == ".json" and not file.name.endswith(".index.json"):
            plain = {key: value for key, value in settings.read(file).items() if not key.startswith("_")}
            found.update(json.dumps(plain, sort_keys=True).encode())
        elif file.name in ("merges.txt", "vocab.txt"):  # of a tokenizer
            found.update(file.read_bytes())
        elif file in model:
            size = file.stat().st_size
            found.update(str(size).encode())
            with open(file, "rb") as stream:
                for i in range(BLOCKS):
                    stream.seek(i * max(0, size - BLOCK) // (BLOCKS - 1))
                    found.update(stream.read(BLOCK))
    return found.hexdigest()[:16]


def frozen(model: nn.Module) -> nn.Module:
    """In evaluation mode, its weights at addresses of our own.

    Weights mapped from a file lie at any address, and those sent to a device, even the same one, at a multiple of 64. Products
    differ in their last bits between the two, and accelerate's device is one thing in one process and another in several.
    """
    for weight in (*model.parameters(), *model.buffers()):
        if weight.data_ptr() % 64:
            weight.data = weight.data.clone()
    return model.requires_grad_(False).eval()
