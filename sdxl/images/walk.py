"""The files below a folder of images: all commands use this walk, so that they all see the same images.

Hidden files and folders are left out, and so are folders in which other programs keep copies of images. Symbolic links are
followed, except those to a folder that contains them. An image has the same key, hence the same noise, whatever other files are
there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from harness.errors import UserError
from harness.wording import few, several

FORMATS = {"AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP"}  # Pillow's names of those that are read
UNKNOWN_TO_PILLOW = (".heic", ".heif", ".jxl", ".svg", ".avif", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".raf", ".rw2")
BY_PRODUCTS = {"@eaDir", "#recycle", "#snapshot", "$RECYCLE.BIN", "System Volume Information", "__MACOSX", "lost+found"}
METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
ARCHIVES = (".parquet", ".tar", ".arrow")
CAPTIONS = (".txt", ".caption")  # endings of files in which other trainers look for the caption of an image


@dataclass(frozen=True)
class Contents:
    """The files below a folder by their use, sorted. Each is named by its path from the folder, with / as separator."""

    images: list[str] = field(default_factory=list)
    metadata: list[str] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)  # parquet, webdataset and arrow files, which may hold images
    hidden: list[str] = field(default_factory=list)  # images that are hidden, or in a folder of by-products
    unread: list[str] = field(default_factory=list)  # images of formats that are not read
    captions: list[str] = field(default_factory=list)  # text files with the name of an image

    def left_out(self) -> str:
        """A message about what is not read; "" if everything is."""
        parts = []
        if self.hidden:
            tops = list(dict.fromkeys(map(_first_hidden, self.hidden)))
            parts.append(f"{several(len(self.hidden), 'image')}, hidden or kept by other programs ({few(tops, 5)})")
        if self.unread:
            parts.append(f"{several(len(self.unread), 'file')} of formats that are not read ({few(self.unread)}); convert them")
        if self.captions:
            named = f"{several(len(self.captions), 'text file')} beside images ({few(self.captions)})"
            parts.append(f"{named}; captions go in metadata.jsonl")
        return "; ".join(parts)


def contents(root: Path) -> Contents:
    """Sort the files below `root`. Raises: UserError for names of images that are not UTF-8."""
    files, texts = Contents(), []
    readable, known = endings()
    for name in sorted(_below(str(root), "", (os.path.realpath(root),))):
        ending = os.path.splitext(name)[1].lower()
        if _first_hidden(name):
            files.hidden.extend([name] if ending in readable else [])
        elif os.path.basename(name) in METADATA:
            files.metadata.append(name)
        elif ending in readable:
            files.images.append(name)
        elif ending in ARCHIVES:
            files.archives.append(name)
        elif ending in known:
            files.unread.append(name)
        elif ending in CAPTIONS:
            texts.append(name)
    stems = {os.path.splitext(name)[0] for name in files.images}
    files.captions.extend(name for name in texts if os.path.splitext(name)[0] in stems)
    # noise follows from the characters of a name, which bytes that are no UTF-8 do not have
    named = [*files.images, *files.metadata, *files.archives]
    others = [ascii(name)[1:-1].replace(r"\udc", r"\x") for name in named if re.search("[\ud800-\udfff]", name)]
    if others:
        raise UserError(f"{root}: names of files must be UTF-8, and {len(others)} are not ({few(others)}); rename them")
    return files


@lru_cache
def endings() -> tuple[frozenset[str], frozenset[str]]:
    """The endings of the formats that are read, and of all that are known to be images."""
    from PIL import Image

    opened = {ending: kind for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    return frozenset(e for e, kind in opened.items() if kind in FORMATS), frozenset({*opened, *UNKNOWN_TO_PILLOW})


def _below(folder: str, prefix: str, above: tuple[str, ...]) -> Iterator[str]:
    """Each file below a folder. above: the real paths of the folders from the root to this one."""
    with os.scandir(folder) as entries:
        paths = [entry.path for entry in entries]
    for path in paths:
        name = prefix + os.path.basename(path)
        if os.path.isdir(path):
            real = os.path.realpath(path)
            yield from _below(path, f"{name}/", (*above, real)) if real not in above else ()
        elif os.path.isfile(path) or os.path.islink(path):  # a link to nothing is a missing image, which the survey reports
            yield name


def _first_hidden(name: str) -> str:
    """The part of a path for which the file is left out: a hidden one, or one of BY_PRODUCTS; "" if there is none."""
    return next((part for part in name.split("/") if part.startswith(".") or part in BY_PRODUCTS), "")
