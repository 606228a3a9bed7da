"""Images that a command writes one by one: what is missing is written, by any number of processes, and then all is checked."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from sdxl.model.base import within_memory
from sdxl.parallel import Group

T = TypeVar("T")
END = b"\x00\x00\x00\x00IEND\xaeB`\x82"  # the last bytes of a PNG


def is_whole(file: Path) -> bool:
    """Whether a PNG is there to its end."""
    if not file.is_file() or file.stat().st_size < len(END):
        return False
    with open(file, "rb") as stream:
        stream.seek(-len(END), io.SEEK_END)
        return stream.read() == END


def write_missing(
    group: Group,
    jobs: Sequence[T],
    files: Callable[[T], list[Path]],
    writer: Callable[[], Callable[[T], object]],
    *,
    stopping: Callable[[], bool],
    doing: str,
    advice: str,
    weigh: Callable[[T], int] = lambda _: 1,
) -> int:
    """Write the files of each job, in order, if one of them is missing or cut off; how many images were written.

    Args: files: those of a job; writer: loads the models, and returns the function that writes the files of a job; it is not
    called where nothing is missing; advice: what to do if memory runs out; weigh: the number of images of a job.
    Raises: UserError where memory runs out, or where an image is still missing at the end; as `Group.in_rounds`.
    """
    todo = group.by_main(lambda: _unfinished(jobs, files))
    if todo:
        write = group.together(within_memory(advice)(writer))
        group.in_rounds(group.split(todo), within_memory(advice)(write), stopping=stopping, doing=doing, weigh=weigh)
    lost = group.by_main(lambda: next((file for job in jobs for file in files(job) if not is_whole(file)), None))
    group.end_if([f"{lost} is not here: do all processes see the folder {lost.parent}?"] if lost else [])
    return sum(map(weigh, todo))


def _unfinished(jobs: Sequence[T], files: Callable[[T], list[Path]]) -> list[T]:
    """The jobs of which a file is missing or cut off. Makes the folders, and removes what a killed process left half written."""
    for folder in {file.parent for job in jobs for file in files(job)}:
        folder.mkdir(parents=True, exist_ok=True)
        for half_written in folder.glob(".*"):
            half_written.unlink()
    return [job for job in jobs if not all(map(is_whole, files(job)))]
