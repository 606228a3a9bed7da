"""Images as users keep them: a folder, what the `datasets` library reads, the built-in photographs; each as a table."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.options import nearest
from harness.wording import few, several
from sdxl.images.rows import Row, rows
from sdxl.images.walk import METADATA, Contents, contents

SAVED = ("dataset_info.json", "dataset_dict.json")  # what `datasets` writes beside a dataset that it saves
SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval", "evaluation"}
HUB = "where there is a network run `hf download --repo-type dataset"


@dataclass(frozen=True)
class Table:
    """Rows of images. `column(name)` for any `known` name; `names` are the keys where no column is said to hold them."""

    names: list[str]
    known: list[str]
    column: Callable[[str], list[Any]]
    read: Callable[[int], bytes]
    place: Callable[[int], str]  # of a row, for messages
    kind: str  # what the source was taken for, in words
    left_out: str = ""  # what in the source is not read, in words
    lost: list[str] = field(default_factory=list)  # rows of metadata that name no file


def table(data: str, split: str | None, image: str | None) -> Table:
    """Of the word photographs, a folder, or a dataset on the hub; `image` names the column of a dataset that holds them.

    Raises: UserError for what is not there, is empty, or cannot be read.
    """
    if data == "photographs":
        return _photographs(split)
    folder = Path(data)
    if folder.is_dir():
        return _on_disk(data, folder, split, image)
    if folder.exists() or data.startswith((".", "/", "~")) or data.count("/") > 1:
        raise UserError(f"{data} is no folder; --data takes a folder, the id of a dataset on the hub, or the word photographs")
    return _dataset(data, *_loaded(data, split), image)


def unknown_column(name: str, option: str, known: list[str]) -> str:
    """In words: a column is not there, which one may be meant, and all that are."""
    meant, columns = nearest(name, known), ", ".join(known) or "none"
    return f"there is no column {name!r} for {option}{meant if 'did you mean' in meant else ''} (columns: {columns})"


def _photographs(split: str | None) -> Table:
    from sdxl.images.photographs import held_out, photographs

    lists = {"train": photographs, "held_out": held_out}
    wanted = split or "train"
    if wanted not in lists:
        raise UserError(f"photographs have no split {wanted!r}{nearest(wanted, lists)}")
    found = lists[wanted]()
    captions, keys = [p.caption for p in found], [p.key for p in found]
    said = f"{len(found)} photographs that packages ship"
    return Table(keys, ["text"], lambda _: captions, lambda i: found[i].payload(), lambda i: keys[i], said)


def _on_disk(data: str, folder: Path, split: str | None, image: str | None) -> Table:
    """A folder, read as what it holds: images, or a dataset. Raises: UserError for one that holds both."""
    if (folder / "manifest.json").is_file() and (folder / "config.yaml").is_file() and (folder / "images").is_dir():
        raise UserError(f"{data} is a folder of results, with sheets beside the images; give {folder / 'images'}")
    root = folder / (split or "")
    holds = contents(root if root.is_dir() else folder)
    archives = [*(name for name in SAVED if (folder / name).is_file()), *holds.archives]
    if archives and holds.images and not image:
        raise UserError(
            f"{data} holds images ({few(holds.images, 1)}) and also {few(archives)}: images have other keys, and other noise, in "
            "a folder than in a dataset; move one of the two to another folder"
        )
    if archives[:1] and archives[0] in SAVED:
        return _dataset(data, *_saved(folder, split), image)
    if archives:
        return _dataset(data, *_loaded(str(folder), split), image)
    if image:
        raise UserError(f"{data} is a folder of images, which has no column {image!r}: leave --image-column out")
    return _folder(folder, split, holds)


def _folder(folder: Path, split: str | None, holds: Contents) -> Table:
    """Images in a folder and its folders, and those that metadata lists, in the order of their names."""
    root = folder / (split or "")
    if not root.is_dir():
        parts = [path.name for path in folder.iterdir() if path.is_dir()]
        raise UserError(f"{folder} has no folder {split!r}{nearest(str(split), parts) if parts else ''}")
    listed = _listed(root, holds)
    keys = sorted({*listed, *holds.images})
    if not keys:
        others = holds.left_out()
        raise UserError(f"{root} holds no images and no dataset{f', beside {others}' if others else ''}")
    splits = sorted({key.split("/")[0] for key in keys if "/" in key and key.split("/")[0].lower() in SPLITS})
    if len(splits) > 1 and not split:
        raise UserError(f"{folder} holds {' and '.join(splits)}: name one with --split, or take --split . for all of them")
    fields = [listed[key].fields if key in listed else {} for key in keys]
    known = list(dict.fromkeys(name for row in listed.values() for name in row.fields if name != "file_name"))
    return Table(
        keys,
        known,
        lambda name: [row.get(name) for row in fields],
        lambda i: (root / keys[i]).read_bytes(),
        lambda i: listed[keys[i]].place if keys[i] in listed else keys[i],
        f"a folder of {several(len(keys), 'image')}" + (f", {len(listed)} of them in {few(holds.metadata)}" if listed else ""),
        holds.left_out(),
        [f"{row.place} names {_alike(key, holds.images)}" for key, row in listed.items() if not os.path.lexists(root / key)],
    )


def _listed(root: Path, holds: Contents) -> dict[str, Row]:
    """The row of metadata of each image that has one, by the image's place under `root`. Raises: UserError."""
    found: dict[str, Row] = {}
    for file in sorted(holds.metadata, key=lambda name: (METADATA.index(os.path.basename(name)), name)):
        for row in rows(root / file):
            key = _key(root, os.path.dirname(file), row)
            if key in found:
                raise UserError(f"{row.place} is about {key}, and so is {found[key].place}; leave one of them")
            found[key] = row
    return found


def _key(root: Path, folder: str, row: Row) -> str:
    """The place under `root` of the image that a row of a file in `folder`, which lies there, is about."""
    name = row.text("file_name")
    key = os.path.normpath(os.path.join(folder, name))
    if os.path.isabs(name):
        key = os.path.relpath(name, os.path.abspath(root))
        if key.startswith(".."):  # perhaps the folder itself is named by way of a symbolic link
            real = os.path.realpath(os.path.dirname(name))
            key = os.path.relpath(os.path.join(real, os.path.basename(name)), os.path.realpath(root))
    if key.split(os.sep)[0] == "..":
        raise UserError(f"{row.place}: the field file_name is {name!r}, which lies outside {root}; name files below it")
    return key.replace(os.sep, "/")


def _alike(key: str, images: list[str]) -> str:
    """In words: the name of a file that is not there, and the one that is meant where they differ in spelling alone."""

    def plain(name: str) -> str:
        return unicodedata.normalize("NFC", name.replace("\\", "/")).casefold()

    meant = next((name for name in images if plain(name) == plain(key)), None)
    return f"{key!a}" + (f", and the file is {meant!a}" if meant else "")


def _saved(folder: Path, split: str | None) -> tuple[Any, str]:
    """The rows of a dataset that `datasets` has saved, and which split they are."""
    from datasets import load_from_disk

    try:
        return _one_split(load_from_disk(str(folder)), split, str(folder))
    except (FileNotFoundError, ValueError) as error:
        raise UserError(f"{folder} cannot be read as a saved dataset: {str(error).partition(chr(10))[0]}") from error


def _loaded(name: str, split: str | None) -> tuple[Any, str]:
    """As `_saved`: from parquet or webdataset files, or from the hub; kept in the cache of `datasets`."""
    import datasets

    datasets.disable_progress_bars()
    try:
        return _one_split(datasets.load_dataset(name), split, name)
    except UserError:
        raise
    except Exception as error:  # of the hub, of the network, of a dozen formats
        why = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        advice = "" if Path(name).is_dir() else f"; {HUB} {name} --local-dir DIR`, and give that folder"
        raise UserError(f"cannot load {name} ({why}){advice}") from error


def _one_split(found: Any, split: str | None, name: str) -> tuple[Any, str]:
    from datasets import DatasetDict

    if not isinstance(found, DatasetDict):
        if split:
            raise UserError(f"{name} has no splits; leave --split out")
        return found, ""
    wanted = split or ("train" if "train" in found or len(found) > 1 else str(next(iter(found))))
    if wanted not in found:
        raise UserError(f"{name} has no split {wanted!r}{nearest(wanted, map(str, found))} (--split)")
    others = [str(other) for other in found if other != wanted]
    return found[wanted], f", its split {wanted}" + (f" (others: {few(others)})" if others else "")


def _dataset(data: str, rows: Any, split: str, image: str | None) -> Table:
    from datasets import Image

    known = list(rows.column_names)
    pictured = [name for name, kind in rows.features.items() if isinstance(kind, Image)]
    column = image or next(iter(pictured), "image")
    if column not in known:
        raise UserError(f"{data}: {unknown_column(column, '--image-column', known)}")
    if column in pictured:
        rows = rows.cast_column(column, Image(decode=False))
    images = rows.select_columns([column])
    names = list(rows["__key__"]) if "__key__" in known else [f"row_{i:08d}" for i in range(len(rows))]
    return Table(
        names,
        [name for name in known if name != column],
        lambda name: list(rows[name]),
        lambda i: _bytes(images[i][column]),
        lambda i: f"{data}, row {i + 1}",
        f"a dataset of {several(len(rows), 'row')}{split}",
    )


def _bytes(value: Any) -> bytes:
    """Of a cell with an image: bytes, a path, or both as `datasets` keeps them. Raises: ValueError for anything else."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str):
        return Path(value).read_bytes()
    if not isinstance(value, bytes):
        raise ValueError("is missing" if value is None else f"is no image but of type {type(value).__name__}")
    return value
