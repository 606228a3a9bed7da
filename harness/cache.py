"""A cache of arrays on disk. The name of a file is a digest of everything that its arrays depend on."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from harness.errors import UserError
from harness.files import cache_folder, digest, read_arrays, write_atomically

Arrays = dict[str, np.ndarray]


def cached(name: str, key: Mapping[str, Any], make: Callable[[], Arrays]) -> Arrays:
    """The arrays of `make()`, read from disk if they were computed before with the same key.

    Raises: UserError for a file that is damaged or has another key, and for a folder that cannot be written.
    """
    wanted = json.dumps(key, sort_keys=True)
    file = cache_folder() / f"{name}-{digest(wanted.encode())}.npz"
    if file.exists():
        arrays = read_arrays(file, "delete it, and the same command makes it again")
        if str(arrays.pop("key", None)) != wanted:
            raise UserError(f"{file} was made for another configuration; delete it, and the same command makes it again")
        return arrays
    arrays = {name: np.asarray(value, order="C") for name, value in make().items()}  # as it is read: sums depend on the order
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, key=np.array(wanted), **arrays)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, buffer.getvalue())
    except OSError as error:
        raise UserError(f"cannot write to {file.parent}: {error.strerror}; set EXACT_AMBIENT_CACHE to another folder") from error
    return arrays
