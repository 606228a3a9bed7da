"""A data source as a table of images: a folder, whatever the `datasets` library reads, or the built-in photographs."""

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
from sdxl.images.photographs import HELD_OUT, TRAINING
from sdxl.images.rows import Row, rows
from sdxl.images.walk import METADATA, Contents, contents

SAVED = ("dataset_info.json", "dataset_dict.json")  # files of a dataset that `datasets` has saved
SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval", "evaluation"}


@dataclass(frozen=True)
class Table:
    """Rows of images, with their default keys and further columns."""

    keys: list[str]
    columns: list[str]
    values: Callable[[str], list[Any]]  # of a column
    read: Callable[[int], bytes]  # the image of a row
    place: Callable[[int], str]  # of a row, for messages
    description: str
    left_out: str = ""  # what in the source is not read, in words
    rows_without_file: list[str] = field(default_factory=list)  # rows of metadata that name no file


def read_table(data: str, split: str | None, image: str | None) -> Table:
    """The table of the word photographs, a folder, or a dataset on the hub.

    image: the column of a dataset that holds the images; None: the first with images.
    Raises: UserError for a source that does not exist, is empty, or cannot be read.
    """
    if data == "photographs":
        return _photographs(split or "train")
    folder = Path(data)
    if folder.is_dir():
        return _on_disk(folder, split, image)
    if folder.exists() or data.startswith((".", "/", "~")) or data.count("/") > 1:
        raise UserError(f"{data} is no folder; --data takes a folder, the id of a dataset on the hub, or the word photographs")
    return _dataset(data, *_dataset_rows(data, split, saved=False), image)


def unknown_column(name: str, option: str, columns: list[str]) -> str:
    """A message: there is no such column, which one may be meant, and all that there are."""
    meant = nearest(name, columns)
    suggestion = meant if "did you mean" in meant else ""
    return f"there is no column {name!r} for {option}{suggestion} (columns: {', '.join(columns) or 'none'})"


def _photographs(split: str) -> Table:
    splits = {"train": TRAINING, "held_out": HELD_OUT}
    if split not in splits:
        raise UserError(f"photographs have no split {split!r}{nearest(split, splits)}")
    chosen = splits[split]
    captions, keys = [p.caption for p in chosen], [p.key for p in chosen]
    description = f"{len(chosen)} photographs that packages ship"
    return Table(keys, ["text"], lambda _: captions, lambda i: chosen[i].payload(), lambda i: keys[i], description)


def _on_disk(folder: Path, split: str | None, image: str | None) -> Table:
    """A folder of images, or of a dataset. Raises: UserError for a folder that holds both."""
    if (folder / "manifest.json").is_file() and (folder / "config.yaml").is_file() and (folder / "images").is_dir():
        raise UserError(f"{folder} is a folder of results, with sheets beside the images; give {folder / 'images'}")
    root = folder / (split or "")
    files = contents(root if root.is_dir() else folder)
    saved = [name for name in SAVED if (folder / name).is_file()]
    archives = [*saved, *files.archives]
    if archives and files.images and not image:
        raise UserError(
            f"{folder} holds images ({few(files.images, 1)}) and also {few(archives)}: images have other keys, and other noise, "
            "in a folder than in a dataset; move one of the two to another folder"
        )
    if archives:
        return _dataset(str(folder), *_dataset_rows(str(folder), split, saved=bool(saved)), image)
    if image:
        raise UserError(f"{folder} is a folder of images, which has no column {image!r}: leave --image-column out")
    return _folder(folder, split, files)


def _folder(folder: Path, split: str | None, files: Contents) -> Table:
    """The images below a folder, and those that its metadata lists, in the order of their names."""
    root = folder / (split or "")
    if not root.is_dir():
        parts = [path.name for path in folder.iterdir() if path.is_dir()]
        raise UserError(f"{folder} has no folder {split!r}{nearest(str(split), parts) if parts else ''}")
    metadata = _metadata(root, files)
    keys = sorted({*metadata, *files.images})
    if not keys:
        others = files.left_out()
        raise UserError(f"{root} holds no images and no dataset{f', beside {others}' if others else ''}")
    splits = sorted({key.split("/")[0] for key in keys if "/" in key and key.split("/")[0].lower() in SPLITS})
    if len(splits) > 1 and not split:
        raise UserError(f"{folder} holds {' and '.join(splits)}: name one with --split, or take --split . for all of them")
    fields = [metadata[key].fields if key in metadata else {} for key in keys]
    described = f", {len(metadata)} of them in {few(files.metadata)}" if metadata else ""
    return Table(
        keys,
        list(dict.fromkeys(name for row in metadata.values() for name in row.fields if name != "file_name")),
        lambda name: [row.get(name) for row in fields],
        lambda i: (root / keys[i]).read_bytes(),
        lambda i: metadata[keys[i]].place if keys[i] in metadata else keys[i],
        f"a folder of {several(len(keys), 'image')}{described}",
        files.left_out(),
        [f"{row.place} names {_alike(key, files.images)}" for key, row in metadata.items() if not os.path.lexists(root / key)],
    )


def _metadata(root: Path, files: Contents) -> dict[str, Row]:
    """The row of metadata of each image that has one, by the image's path below `root`. Raises: UserError for two of an image."""
    listed: dict[str, Row] = {}
    for file in sorted(files.metadata, key=lambda name: (METADATA.index(os.path.basename(name)), name)):
        for row in rows(root / file):
            key = _key(root, os.path.dirname(file), row)
            if key in listed:
                raise UserError(f"{row.place} is about {key}, and so is {listed[key].place}; leave one of them")
            listed[key] = row
    return listed


def _key(root: Path, folder: str, row: Row) -> str:
    """The path below `root` of the image that a row names. The file of the row lies in `folder`, itself relative to `root`."""
    name = row.text("file_name")
    key = os.path.normpath(os.path.join(folder, name))
    if os.path.isabs(name):
        key = os.path.relpath(name, os.path.abspath(root))
        if key.startswith(".."):  # perhaps the path to `root` has a symbolic link in it
            real = os.path.realpath(os.path.dirname(name))
            key = os.path.relpath(os.path.join(real, os.path.basename(name)), os.path.realpath(root))
    if key.split(os.sep)[0] == "..":
        raise UserError(f"{row.place}: the field file_name is {name!r}, which lies outside {root}; name files below it")
    return key.replace(os.sep, "/")


def _alike(key: str, images: list[str]) -> str:
    """For a message: the name of a missing file, and the file that is meant where the two differ in spelling alone."""

    def plain(name: str) -> str:
        return unicodedata.normalize("NFC", name.replace("\\", "/")).casefold()

    meant = next((name for name in images if plain(name) == plain(key)), None)
    return f"{key!a}" + (f", and the file is {meant!a}" if meant else "")


def _dataset_rows(name: str, split: str | None, *, saved: bool) -> tuple[Any, str]:
    """The rows of one split of a dataset, and a message about the other splits.

    saved: `datasets` has saved it to the folder `name`; otherwise it consists of parquet or webdataset files, in a folder or on
    the hub, whose rows `datasets` keeps in its cache.
    """
    import datasets

    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_from_disk(name) if saved else datasets.load_dataset(name)
    except Exception as error:  # the hub, the network and a dozen formats raise dozens of kinds
        why = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        if Path(name).is_dir():
            raise UserError(f"cannot load {name} ({why})") from error
        raise UserError(
            f"cannot load {name}: there is no such folder, and the hub did not give it ({why}); where there is a network run "
            f"`hf download --repo-type dataset {name} --local-dir DIR`, and give that folder"
        ) from error
    if not isinstance(loaded, datasets.DatasetDict):
        if split:
            raise UserError(f"{name} has no splits; leave --split out")
        return loaded, ""
    wanted = split or ("train" if "train" in loaded or len(loaded) > 1 else str(next(iter(loaded))))
    if wanted not in loaded:
        raise UserError(f"{name} has no split {wanted!r}{nearest(wanted, map(str, loaded))} (--split)")
    others = [str(other) for other in loaded if other != wanted]
    return loaded[wanted], f", its split {wanted}" + (f" (others: {few(others)})" if others else "")


def _dataset(data: str, rows: Any, split: str, image: str | None) -> Table:
    from datasets import Image

    columns = list(rows.column_names)
    of_images = [name for name, kind in rows.features.items() if isinstance(kind, Image)]
    column = image or next(iter(of_images), "image")
    if column not in columns:
        raise UserError(f"{data}: {unknown_column(column, '--image-column', columns)}")
    if column in of_images:
        rows = rows.cast_column(column, Image(decode=False))
    images = rows.select_columns([column])
    return Table(
        list(rows["__key__"]) if "__key__" in columns else [f"row_{i:08d}" for i in range(len(rows))],
        [name for name in columns if name != column],
        lambda name: list(rows[name]),
        lambda i: _bytes(images[i][column]),
        lambda i: f"{data}, row {i + 1}",
        f"a dataset of {several(len(rows), 'row')}{split}",
    )


def _bytes(value: Any) -> bytes:
    """The image file in a cell: bytes, a path, or both as `datasets` keeps them. Raises: ValueError for anything else."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str):
        return Path(value).read_bytes()
    if not isinstance(value, bytes):
        raise ValueError("is missing" if value is None else f"is no image but of type {type(value).__name__}")
    return value
