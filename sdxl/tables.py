"""Images as users keep them: a folder, what the `datasets` library reads, the built-in photographs; each as a table."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ambient.config import nearest
from ambient.runs import UserError

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".gif")
METADATA = ("metadata.jsonl", "metadata.csv")
DATASETS = ("*.parquet", "*.tar", "*.arrow")
HUB = "where there is a network run `hf download --repo-type dataset"


@dataclass(frozen=True)
class Table:
    """Rows of images. `column(name)` for any `known` name; `names` are the keys where no column is said to hold them."""

    names: list[str]
    known: list[str]
    column: Callable[[str], list[Any]]
    read: Callable[[int], bytes]


def table(data: str, split: str | None, image: str | None) -> Table:
    """Of the word photographs, a folder, or a dataset on the hub; `image` names the column of a dataset that holds them.

    Raises: UserError for what is not there, is empty, or cannot be read.
    """
    if data == "photographs":
        return _photographs(split)
    folder = Path(data)
    if folder.is_dir():
        if any((folder / name).exists() for name in ("dataset_info.json", "dataset_dict.json")):
            return _dataset(_saved(folder, split), image)
        if any(path.name != "metadata.parquet" for pattern in DATASETS for path in folder.rglob(pattern)):
            return _dataset(_loaded(str(folder), split), image)
        if image:
            raise UserError(f"{data} is a folder of images, which has no column {image!r}: leave --image-column out")
        return _folder(folder, split)
    if folder.exists() or data.startswith((".", "/", "~")) or data.count("/") > 1:
        raise UserError(f"{data} is no folder; --data takes a folder, the id of a dataset on the hub, or the word photographs")
    return _dataset(_loaded(data, split), image)


def _photographs(split: str | None) -> Table:
    from sdxl.photographs import held_out, photographs

    lists = {"train": photographs, "held_out": held_out}
    wanted = split or "train"
    if wanted not in lists:
        raise UserError(f"photographs have no split {wanted!r}{nearest(wanted, lists)}")
    found = lists[wanted]()
    return Table([p.key for p in found], ["text"], lambda _: [p.caption for p in found], lambda i: found[i].payload())


def _folder(folder: Path, split: str | None) -> Table:
    """Images in a folder and its folders, and those that metadata.jsonl or metadata.csv lists, in the order of their names."""
    root = folder / (split or "")
    if not root.is_dir():
        parts = [path.name for path in folder.iterdir() if path.is_dir()]
        raise UserError(f"{folder} has no folder {split!r}{nearest(str(split), parts) if parts else ''}")
    listed: dict[str, dict[str, Any]] = {}
    for file in (file for name in METADATA for file in sorted(root.rglob(name))):
        for key, row in _metadata(file, root):
            if listed.setdefault(key, row) is not row:
                raise UserError(f"{file} tells of {key}, which a row before has told of; leave one of them")
    files = (path for path in root.rglob("*") if path.suffix.lower() in ENDINGS and not path.name.startswith("."))
    keys = sorted({*listed, *(path.relative_to(root).as_posix() for path in files)})
    if not keys:
        raise UserError(f"{root} holds no images ({', '.join(ENDINGS)}), and no dataset")
    known = list(dict.fromkeys(name for row in listed.values() for name in row))
    return Table(
        keys, known, lambda name: [listed.get(key, {}).get(name) for key in keys], lambda i: (root / keys[i]).read_bytes()
    )


def _metadata(file: Path, root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(key, columns) of each row: the key is the file's place under `root`."""
    try:
        with open(file, newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream)) if file.suffix == ".csv" else [row for _, row in json_lines(stream)]
    except (ValueError, csv.Error) as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    for row in rows:
        name = row.pop("file_name", None) if isinstance(row, dict) else None
        if not name:
            raise UserError(f"{file} has a row without file_name, the place of its image beside it")
        key = os.path.normpath((file.parent / str(name)).relative_to(root)).replace(os.sep, "/")
        if key.startswith("../"):
            raise UserError(f"{file} names {name}, which lies outside {root}")
        yield key, row


def json_lines(lines: Iterable[str]) -> list[tuple[int, Any]]:
    """(number from 1, what it holds) of each line that is not empty. Raises: ValueError that names the line."""
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows += [(number, json.loads(line))] if line.strip() else []
        except json.JSONDecodeError as error:
            raise ValueError(f"line {number}, column {error.colno}: {error.msg}") from error
    return rows


def _saved(folder: Path, split: str | None) -> Any:
    from datasets import load_from_disk

    try:
        return _one_split(load_from_disk(str(folder)), split, str(folder))
    except (FileNotFoundError, ValueError) as error:
        raise UserError(f"{folder} cannot be read as a saved dataset: {str(error).partition(chr(10))[0]}") from error


def _loaded(name: str, split: str | None) -> Any:
    """From parquet or webdataset files, or from the hub; kept in the cache of `datasets`."""
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


def _one_split(found: Any, split: str | None, name: str) -> Any:
    from datasets import DatasetDict

    if not isinstance(found, DatasetDict):
        if split:
            raise UserError(f"{name} has no splits; leave --split out")
        return found
    wanted = split or ("train" if "train" in found or len(found) > 1 else str(next(iter(found))))
    if wanted not in found:
        raise UserError(f"{name} has no split {wanted!r}{nearest(wanted, map(str, found))} (--split)")
    return found[wanted]


def _dataset(rows: Any, image: str | None) -> Table:
    from datasets import Image

    known = list(rows.column_names)
    pictured = [name for name, kind in rows.features.items() if isinstance(kind, Image)]
    column = image or next(iter(pictured), "image")
    if column not in known:
        raise UserError(f"there is no column {column!r} with images{nearest(column, known)} (--image-column)")
    if column in pictured:
        rows = rows.cast_column(column, Image(decode=False))
    images = rows.select_columns([column])
    names = list(rows["__key__"]) if "__key__" in known else [f"row_{i:08d}" for i in range(len(rows))]
    return Table(
        names, [name for name in known if name != column], lambda name: list(rows[name]), lambda i: _bytes(images[i][column])
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
