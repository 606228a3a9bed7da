"""Pictures on disk: whole or not there."""

from __future__ import annotations

import io
from pathlib import Path

from harness.errors import UserError

END = b"\x00\x00\x00\x00IEND\xaeB`\x82"  # of a whole PNG


def whole(file: Path) -> bool:
    """Whether a PNG is there to its end."""
    if not file.is_file() or file.stat().st_size < len(END):
        return False
    with open(file, "rb") as stream:
        stream.seek(-len(END), io.SEEK_END)
        return stream.read() == END


def refuse_missing(files: list[Path], out: str) -> None:
    """Raises: UserError where a picture of another process is not here, or not whole."""
    lost = next((file for file in files if not whole(file)), None)
    if lost is not None:
        raise UserError(f"{lost} is not here: do all processes see the folder {out}?")
