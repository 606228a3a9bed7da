"""Files and folders: atomic writes, digests of contents, the folder of the cache."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import UserError
from harness.options import expanded


def write_atomically(path: Path, payload: bytes) -> None:
    """Replace the file by `payload`. If the process or the machine stops, the file is either the old or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        error.filename = str(path)  # not the temporary file's, which means nothing to the user; that of a full disk has none
        raise


def cache_folder() -> Path:
    """The folder of the cache: $EXACT_AMBIENT_CACHE, or ~/.cache/exact-ambient. Raises: UserError if there is no home folder."""
    try:
        return Path(expanded(os.environ.get("EXACT_AMBIENT_CACHE") or "~/.cache/exact-ambient"))
    except ValueError as error:
        raise UserError("there is no home folder to keep computed files in; set EXACT_AMBIENT_CACHE to a folder") from error


def digest(payload: bytes) -> str:
    """The first sixteen hexadecimal digits of the SHA-256 of `payload`."""
    return hashlib.sha256(payload).hexdigest()[:16]


def read_arrays(file: Path, remedy: str) -> dict[str, np.ndarray]:
    """The arrays of an .npz file. Raises: UserError, which ends with the remedy, if the file cannot be read or is damaged."""
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as stored:
            return dict(stored)
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}; {remedy}") from error
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{file} is damaged, or not an .npz file; {remedy}") from error


def to_plain(config: Any) -> Any:
    """A dataclass (or a mapping) as dicts, lists and scalars that YAML and JSON can hold."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        config = dataclasses.asdict(config)
    if isinstance(config, dict):
        return {key: to_plain(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [to_plain(value) for value in config]
    return config
