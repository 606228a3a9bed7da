"""Models in folders or on the hub: each is loaded whole or refused, and is known by a fingerprint of its content."""

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
from harness.wording import few, one_line
from sdxl.model import settings

BLOCKS, BLOCK = 64, 1 << 16  # a fingerprint covers this number of blocks of each file of weights, of so many bytes
LOADED = re.compile(r"(diffusion_pytorch_model|model)(-\d+-of-\d+)?\.safetensors")  # names of files of weights that are read
COUNTER = "num_batches_tracked"  # in a batch norm: only training uses it
POINTER = b"version https://git-lfs"  # the first bytes of a file that git-lfs has not fetched


def fetch(source: str, files: list[str], *, example: str, revision: str | None = None) -> Path:
    """The folder of a model: `source` itself, or where the named files of a hub repository are stored. Raises: UserError."""
    if Path(source).is_dir():
        return Path(source)
    if source.startswith((".", "/", "~")) or source.count("/") != 1:
        raise UserError(f"{source} is no folder, and no hub id such as {example}")
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(source, revision=revision, allow_patterns=files, ignore_patterns=["*.fp16.*", "*openvino*"])
        )
    except Exception as error:  # the hub, the network and the disk raise dozens of kinds
        raise UserError(
            f"cannot fetch {source} from the hub ({type(error).__name__}), and there is no such folder; where there is a network "
            f"run `hf download {source}`, and give the folder here"
        ) from error


def load_model(kind: Any, folder: Path, *, spare: tuple[str, ...] = (), **options: Any) -> Any:
    """A frozen model of this class, loaded from a folder.

    Args: spare: the first letters of the names of weights in the files that the model does not need.
    Raises: UserError unless the files hold exactly the weights of the model; the libraries draw missing weights at random.
    """
    weights(folder)
    options |= {"local_files_only": True, "use_safetensors": True, "ignore_mismatched_sizes": True, "output_loading_info": True}
    with _one_error(folder):
        model, report = kind.from_pretrained(folder, **options)
    wrong = {
        "missing": report["missing_keys"],
        "unexpected": [name for name in report["unexpected_keys"] if not name.startswith(spare)],
        "of another shape": [name for name, *_ in report["mismatched_keys"]],
    }
    wrong = {word: sorted(name for name in names if not name.endswith(COUNTER)) for word, names in wrong.items()}
    faults = "; ".join(f"{len(names)} {word} ({few(names)})" for word, names in wrong.items() if names)
    if faults:
        raise UserError(f"the weights in {folder} are not those of its config.json: {faults}; fetch the model again")
    return frozen(model)


def load(kind: Any, folder: Path) -> Any:
    """A part of a model without weights, loaded from a folder. Raises: UserError if it cannot be loaded."""
    with _one_error(folder):
        return kind.from_pretrained(folder, local_files_only=True)


@contextmanager
def _one_error(folder: Path) -> Iterator[None]:
    """Raises: UserError for any error of a library that loads from this folder."""
    try:
        yield
    except (ImportError, torch.OutOfMemoryError):  # not a fault of the folder
        raise
    except Exception as error:  # diffusers, transformers, safetensors and json raise dozens of kinds
        raise UserError(f"cannot load {folder}: {one_line(error, 300) or type(error).__name__}") from error


def weights(folder: Path) -> list[Path]:
    """The files of weights in a folder. Raises: UserError if there is none, or if one is damaged."""
    files = sorted(folder.glob("*.safetensors"))
    loaded = [file for file in files if LOADED.fullmatch(file.name)]
    if not loaded:
        half = [file.name for file in files if ".fp16." in file.name]
        if half:
            plain = half[0].replace(".fp16", "")
            raise UserError(f"{folder} holds its weights in float16 alone; rename {half[0]} to {plain} to take those")
        others = [file.name for file in sorted(folder.glob("*.bin"))] or [file.name for file in files] or ["nothing"]
        raise UserError(f"{folder} has no weights: expected model.safetensors or diffusion_pytorch_model.safetensors, "
                        f"found {others[0]}; save the model again with safe_serialization=True")  # fmt: skip
    for file in loaded:
        try:
            with safe_open(file, "pt"):
                pass
        except (SafetensorError, OSError) as error:
            with open(file, "rb") as stream:
                pointer = stream.read(len(POINTER)) == POINTER
            why = "is only a pointer of git-lfs: run `git lfs pull`, or" if pointer else f"is damaged ({error}):"
            raise UserError(f"{file} {why} fetch the model again") from error
    return loaded


def fingerprint(folder: Path) -> str:
    """A digest (16 hex digits) of a model: of its settings, and of the size and 64 blocks of each file of weights.

    Only files that are loaded count: a hub repository also holds weights in other types and for other programs.
    Raises: UserError for a model without weights, and for damaged files.
    """
    model = weights(folder) if (folder / "config.json").exists() else []
    content = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix == ".json" and not file.name.endswith(".index.json"):
            plain = {key: value for key, value in settings.read(file).items() if not key.startswith("_")}
            content.update(json.dumps(plain, sort_keys=True).encode())
        elif file.name in ("merges.txt", "vocab.txt"):  # the words of a tokenizer
            content.update(file.read_bytes())
        elif file in model:
            size = file.stat().st_size
            content.update(str(size).encode())
            with open(file, "rb") as stream:
                for i in range(BLOCKS):
                    stream.seek(i * max(0, size - BLOCK) // (BLOCKS - 1))
                    content.update(stream.read(BLOCK))
    return content.hexdigest()[:16]


def frozen(model: nn.Module) -> nn.Module:
    """The model in evaluation mode, without gradients, with all weights at addresses that are multiples of 64.

    Weights that are mapped from a file lie at any address. Once they are sent to a device, even to the same one, they lie at a
    multiple of 64. Matrix products differ in their last bits between the two cases.
    """
    for weight in (*model.parameters(), *model.buffers()):
        if weight.data_ptr() % 64:
            weight.data = weight.data.clone()
    return model.requires_grad_(False).eval()
