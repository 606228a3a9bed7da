"""What lies below a folder of images: one walk for all commands, so that they all see the same images.

Hidden files and folders are left out, and so are folders in which other programs keep copies of images. Symbolic links are
followed; a link to a folder that it lies in is not. The same image must have the same key, hence the same noise, whatever else
lies beside it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from harness.errors import UserError
from harness.wording import few, several

FORMATS = {"AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP"}  # that are read, as Pillow names them
UNKNOWN_TO_PILLOW = (".heic", ".heif", ".jxl", ".svg", ".avif", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".raf", ".rw2")
BY_PRODUCTS = {"@eaDir", "#recycle", "#snapshot", "$RECYCLE.BIN", "System Volume Information", "__MACOSX", "lost+found"}
METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
ARCHIVES = (".parquet", ".tar", ".arrow")
WORDS = (".txt", ".caption")  # endings of files in which other trainers look for the caption of the image beside


@dataclass(frozen=True)
class Contents:
    """Files below a folder by their use. Each is named by its path from there, with / between folders; in the order of names."""

    images: list[str] = field(default_factory=list)
    metadata: list[str] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)  # parquet, webdataset and arrow files, which may hold images
    hidden: list[str] = field(default_factory=list)  # images that are hidden, or in a folder of by-products
    unread: list[str] = field(default_factory=list)  # images of formats that are not read
    words: list[str] = field(default_factory=list)  # text files that are named as an image is

    def left_out(self) -> str:
        """What is not read, in words; "" for nothing."""
        said = []
        if self.hidden:
            tops = list(dict.fromkeys(map(_first_hidden, self.hidden)))
            said.append(f"{several(len(self.hidden), 'image')}, hidden or kept by other programs ({few(tops, 5)})")
        if self.unread:
            said.append(f"{several(len(self.unread), 'file')} of formats that are not read ({few(self.unread)}); convert them")
        if self.words:
            said.append(
                f"{several(len(self.words), 'text file')} beside images ({few(self.words)}); captions go in metadata.jsonl"
            )
        return "; ".join(said)


def contents(root: Path) -> Contents:
    """Sort the files below `root`. Raises: UserError for names of images that are not UTF-8."""
    found, texts = Contents(), []
    reads, knows = endings()
    for name in _below(str(root), "", (os.path.realpath(root),)):
        ending = os.path.splitext(name)[1].lower()
        if _first_hidden(name):
            found.hidden.extend([name] if ending in reads else [])
        elif os.path.basename(name) in METADATA:
            found.metadata.append(name)
        elif ending in reads:
            found.images.append(name)
        elif ending in ARCHIVES:
            found.archives.append(name)
        elif ending in knows:
            found.unread.append(name)
        elif ending in WORDS:
            texts.append(name)
    for names in (found.images, found.metadata, found.archives, found.hidden, found.unread):
        names.sort()
    stems = {os.path.splitext(name)[0] for name in found.images}
    found.words.extend(sorted(name for name in texts if os.path.splitext(name)[0] in stems))
    _refuse_other_encodings(root, [*found.images, *found.metadata, *found.archives])
    return found


@lru_cache
def endings() -> tuple[frozenset[str], frozenset[str]]:
    """Endings of the formats that are read, and of all that are known to be images."""
    from PIL import Image

    opened = {ending: kind for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    return frozenset(e for e, kind in opened.items() if kind in FORMATS), frozenset({*opened, *UNKNOWN_TO_PILLOW})


def _below(folder: str, prefix: str, above: tuple[str, ...]) -> Iterator[str]:
    """Each file below a folder; `above` are the folders on the way to it, without symbolic links."""
    with os.scandir(folder) as entries:
        paths = [entry.path for entry in entries]
    for path in paths:
        name = prefix + os.path.basename(path)
        if os.path.isdir(path):
            real = os.path.realpath(path)
            yield from _below(path, f"{name}/", (*above, real)) if real not in above else ()
        elif os.path.isfile(path) or os.path.islink(path):  # a link to nothing is an image that is missing, and is told later
            yield name


def _first_hidden(name: str) -> str:
    """The folder or file because of which a file is left out, "" if it is not."""
    return next((part for part in name.split("/") if part.startswith(".") or part in BY_PRODUCTS), "")


def _refuse_other_encodings(root: Path, names: list[str]) -> None:
    """Noise follows from the characters of a name, which a name that is not UTF-8 does not have."""
    strange = [ascii(name)[1:-1].replace(r"\udc", r"\x") for name in names if not _is_utf8(name)]
    if strange:
        raise UserError(f"{root}: names of files must be UTF-8, and {len(strange)} are not ({few(strange)}); rename them")


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
