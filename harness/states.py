"""What a checkpoint holds, as bytes: tensors, numbers, words and containers of them, in safetensors. Nothing is unpickled."""

from __future__ import annotations

import json
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

SKELETON = "skeleton"  # the metadata that says where each tensor belongs


def pack(state: Any) -> bytes:
    """The tensors of `state` as safetensors; the rest, as JSON, in its header. Tuples come back as lists.

    Raises: TypeError for anything but tensors, numbers, strings, None, lists, tuples and dicts.
    """
    tensors: dict[str, Tensor] = {}

    def bare(value: Any) -> Any:
        if isinstance(value, Tensor):
            name, columns = str(len(tensors)), value.ndim >= 2 and not value.is_contiguous() and value.mT.is_contiguous()
            rows = value.detach().mT if columns else value.detach()
            tensors[name] = rows.cpu().contiguous().clone()  # clones: tensors that share memory are refused
            return {"tensor": name, "columns": columns}  # by columns or by rows: products differ in their last bits
        if isinstance(value, dict):
            return {"dict": [[key, bare(entry)] for key, entry in value.items()]}  # pairs: keys may be numbers
        if isinstance(value, (list, tuple)):
            return [bare(entry) for entry in value]
        return value

    skeleton = json.dumps(bare(state))
    return save(tensors, metadata={SKELETON: skeleton})


def unpack(payload: bytes) -> Any:
    """The inverse of `pack`; tensors on the CPU."""
    length = int.from_bytes(payload[:8], "little")  # of the header, by the format
    skeleton = json.loads(json.loads(payload[8 : 8 + length])["__metadata__"][SKELETON])
    tensors = {name: value.clone() for name, value in load(payload).items()}  # on aligned addresses, which decide last bits

    def whole(value: Any) -> Any:
        if isinstance(value, list):
            return [whole(entry) for entry in value]
        if isinstance(value, dict) and "tensor" in value:
            found = tensors[value["tensor"]]
            return found.mT if value["columns"] else found
        if isinstance(value, dict):
            return {key: whole(entry) for key, entry in value["dict"]}
        return value

    return whole(skeleton)
