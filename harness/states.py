"""Checkpoints as bytes: tensors, numbers, strings and containers of them in the safetensors format, without pickle."""

from __future__ import annotations

import json
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

SKELETON = "skeleton"  # the metadata key of the state as JSON, with the name of a tensor in its place


def pack(state: Any) -> bytes:
    """`state` as bytes: its tensors as safetensors, everything else as JSON in the header. `unpack` returns tuples as lists.

    Raises: TypeError for anything but tensors, numbers, strings, None, lists, tuples and dicts.
    """
    tensors: dict[str, Tensor] = {}

    def without_tensors(value: Any) -> Any:
        if isinstance(value, Tensor):
            name, columns = str(len(tensors)), value.ndim >= 2 and not value.is_contiguous() and value.mT.is_contiguous()
            rows = value.detach().mT if columns else value.detach()
            tensors[name] = rows.cpu().contiguous().clone()  # a clone, because safetensors refuses shared memory
            return {"tensor": name, "columns": columns}  # products differ in their last bits with the memory layout
        if isinstance(value, dict):
            return {"dict": [[key, without_tensors(entry)] for key, entry in value.items()]}  # pairs, as keys may be numbers
        if isinstance(value, (list, tuple)):
            return [without_tensors(entry) for entry in value]
        return value

    return save(tensors, metadata={SKELETON: json.dumps(without_tensors(state))})


def unpack(payload: bytes) -> Any:
    """The state that `pack` turned into these bytes, with its tensors on the CPU."""
    length = int.from_bytes(payload[:8], "little")  # of the header, as the safetensors format says
    skeleton = json.loads(json.loads(payload[8 : 8 + length])["__metadata__"][SKELETON])
    tensors = {
        name: value.clone() for name, value in load(payload).items()
    }  # a clone is aligned in memory, which matters for last bits

    def with_tensors(value: Any) -> Any:
        if isinstance(value, list):
            return [with_tensors(entry) for entry in value]
        if isinstance(value, dict) and "tensor" in value:
            tensor = tensors[value["tensor"]]
            return tensor.mT if value["columns"] else tensor
        if isinstance(value, dict):
            return {key: with_tensors(entry) for key, entry in value["dict"]}
        return value

    return with_tensors(skeleton)
