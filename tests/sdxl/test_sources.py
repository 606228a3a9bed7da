"""Images and captions from folders, datasets and packages; what cannot be read is told."""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from collections import Counter
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.errors import UserError
from sdxl.corrupt.command import without_faults
from sdxl.corrupt.options import CorruptOptions
from sdxl.images.photographs import HELD_OUT, TRAINING, _pixels
from sdxl.images.pictures import Columns, Picture, pictures
from sdxl.images.survey import Reading, SurveyedPicture, ahead, decode, look, survey
from sdxl.parallel import Group


def image(seed: int = 0, width: int = 80, height: int = 70) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def folder_of(root: Path, rows: list[dict], *, listed: str = "metadata.jsonl") -> Path:
    """A folder with an image for each row, and the rows in a file."""
    root.mkdir(parents=True)
    for i, row in enumerate(rows):
        (root / row["file_name"]).parent.mkdir(parents=True, exist_ok=True)
        image(i).save(root / row["file_name"])
    if listed.endswith("jsonl"):
        (root / listed).write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        (root / listed).write_text("\n".join(",".join(map(str, row)) for row in [list(rows[0]), *(r.values() for r in rows)]))
    return root


ROWS = [
    {"file_name": name, "text": f"a {name}", "level": level} for name, level in (("b.png", 0), ("a.png", 100), ("c/d.png", 7))
]


def read(data, *, caption=None, t_n=500, count=None, **columns) -> list[Picture]:
    return pictures(str(data), Columns(**columns), caption=caption, t_n=t_n, count=count)


def refusal(data, **options) -> str:
    with pytest.raises(UserError) as caught:
        read(data, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("listed", ["metadata.jsonl", "metadata.csv"])
def test_a_folder_is_read_in_the_order_of_names(tmp_path, listed):
    found = read(folder_of(tmp_path / "d", ROWS, listed=listed), level="level")
    assert [(p.key, p.caption, p.t_n) for p in found] == [
        ("a.png", "a a.png", 100),
        ("b.png", "a b.png", 0),
        ("c/d.png", "a c/d.png", 7),
    ]
    assert [
        np.array_equal(np.asarray(decode(p.read())), np.asarray(image(i))) for p, i in zip(found, (1, 0, 2), strict=True)
    ] == [True] * 3


def test_metadata_may_lie_in_each_folder_and_a_split_is_a_folder(tmp_path):
    for part in ("train", "test"):
        folder_of(tmp_path / "d" / part, [{"file_name": f"{part}.png", "text": part}])
    assert "--split" in refusal(tmp_path / "d")
    assert "--split" in refusal(tmp_path / "d", split="")  # as `attack` has it where none is given
    assert [p.key for p in read(tmp_path / "d", split=".")] == ["test/test.png", "train/train.png"]
    assert [(p.key, p.caption) for p in read(tmp_path / "d", split="test")] == [("test.png", "test")]
    assert "did you mean test" in refusal(tmp_path / "d", split="tset")


def test_columns_are_chosen_by_name(tmp_path):
    data = folder_of(tmp_path / "d", [row | {"id": i, "blip": f"words {i}"} for i, row in enumerate(ROWS)])
    columns = Columns(key="id", caption="blip")
    found = pictures(str(data), columns, caption=None, t_n=3, count=2)
    assert [(p.key, p.caption, p.t_n) for p in found] == [("1", "words 1", 3), ("0", "words 0", 3)]


def test_one_caption_serves_where_there_is_none(tmp_path):
    data = folder_of(tmp_path / "d", [ROWS[0], ROWS[1] | {"text": " "}, {"file_name": "z.png"}])
    assert [p.caption for p in read(data, caption="any")] == ["any", "a b.png", "any"]
    assert [p.caption for p in pictures(str(data), Columns(caption=""), caption="", t_n=1, count=None)] == [""] * 3
    assert "2 of 3 images have no caption (first: a.png)" in refusal(data)
    assert len(read(data, count=2, caption="any")) == 2
    assert "1 of 2 images have no caption" in refusal(data, count=2)


def test_images_that_the_metadata_does_not_list_have_no_caption(tmp_path):
    data = folder_of(tmp_path / "d", ROWS)
    image(9).save(data / "more.jpg")
    (data / "._more.jpg").write_bytes(b"of another system")
    assert "1 of 4 images have no caption (first: more.jpg)" in refusal(data)


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        (ROWS, {"caption_column": "txt"}, "no column 'txt' for --caption-column; did you mean text? (columns: text, level)"),
        (ROWS, {"caption_column": "level"}, "metadata.jsonl, line 2: the field level must be text; got 100"),
        (ROWS, {"key": "lvel"}, "no column 'lvel' for --key-column; did you mean level? (columns: text, level)"),
        (ROWS, {"level": "levle"}, "no column 'levle' for --level-column; did you mean level?"),
        ([row | {"id": "x"} for row in ROWS], {"key": "id"}, "1 keys are not unique (first: x)"),
        ([ROWS[0], ROWS[1] | {"id": None}], {"key": "id"}, "metadata.jsonl, line 2: the field id must be a key"),
        ([row | {"level": 1.5} for row in ROWS], {"level": "level"}, "metadata.jsonl, line 2: the field level"),
        ([row | {"level": None} for row in ROWS], {"level": "level"}, "metadata.jsonl, line 2: the field level"),
        ([row | {"level": True} for row in ROWS], {"level": "level"}, "metadata.jsonl, line 2: the field level"),
        ([row | {"level": 10**400} for row in ROWS], {"level": "level"}, "metadata.jsonl, line 2: the field level"),
        ([row | {"level": float("nan")} for row in ROWS], {"level": "level"}, "metadata.jsonl, line 2: the field level"),
    ],
)
def test_mistakes_with_columns_are_told_in_one_line(tmp_path, rows, options, words):
    data, options = folder_of(tmp_path / "d", rows), dict(options)
    columns = Columns(caption=options.pop("caption_column", "text"), **options)
    with pytest.raises(UserError) as caught:
        pictures(str(data), columns, caption=None, t_n=1, count=None)
    assert words in str(caught.value)


def test_folders_that_hold_nothing_of_use_are_told(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no images" in refusal(tmp_path / "empty")
    assert "is no folder" in refusal(tmp_path / "nowhere")
    (tmp_path / "file.png").write_bytes(encoded(image()))
    assert "is no folder" in refusal(tmp_path / "file.png")
    image().save(tmp_path / "empty" / "a.png")
    assert "has no captions: write metadata.jsonl" in refusal(tmp_path / "empty")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"file_name": "a.png"}\n\n{not json}\n', "metadata.jsonl, line 3, column 2 cannot be read"),
        ('{"text": "a"}\n', "metadata.jsonl, line 1: the field file_name is missing; there is text"),
        ('{"file_name": 7}\n', "metadata.jsonl, line 1: the field file_name must be text; got 7"),
        ('{"file_name": "../../etc/x.png"}\n', "lies outside"),
        ('{"file_name": "/etc/x.png"}\n', "lies outside"),
        ("[1]\n", "metadata.jsonl, line 1 holds no fields"),
        ("[" * 100_000, "metadata.jsonl, line 1 cannot be read"),
        ('{"file_name": "a.png", "text": "a", "text": "b"}\n', "metadata.jsonl, line 1 cannot be read: 'text' is given twice"),
        ('{"file_name": "a.png", "text": "\\ud83d"}\n', "metadata.jsonl, line 1 cannot be read"),
        (
            '{"file_name": "a.png", "text": "a cat"}\n{"file_name": "./a.png", "text": "a dog"}\n',
            "metadata.jsonl, line 2 is about a.png, and so is ",
        ),
    ],
)
def test_metadata_that_makes_no_sense_is_told(tmp_path, text, words):
    data = folder_of(tmp_path / "d", ROWS)
    (data / "metadata.jsonl").write_text(text)
    assert words in refusal(data)


def test_a_column_of_images_in_a_folder_of_images_is_told(tmp_path):
    assert "leave --image-column out" in refusal(folder_of(tmp_path / "d", ROWS), image="picture")


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """Five rows as the `datasets` library keeps them; its cache in a folder of the test."""
    import datasets

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string"), "level": datasets.Value("int64")})
    columns = {"image": [image(i) for i in range(5)], "text": [f"words {i}" for i in range(5)], "level": [0, 100, 500, 0, 3]}
    return datasets.Dataset.from_dict(columns, features=features)


def as_parquet(rows, folder: Path) -> Path:
    folder.mkdir()
    rows.to_parquet(folder / "train-00000-of-00001.parquet")
    return folder


def as_saved(rows, folder: Path) -> Path:
    import datasets

    datasets.DatasetDict(train=rows, test=rows.select([1])).save_to_disk(folder)
    return folder


@pytest.mark.parametrize("written", [as_parquet, as_saved])
def test_datasets_on_disk_are_read_in_their_order(tmp_path, rows, written):
    found = read(written(rows, tmp_path / "d"), level="level")
    assert [(p.key, p.caption, p.t_n) for p in found] == [
        (f"row_{i:08d}", f"words {i}", level) for i, level in enumerate([0, 100, 500, 0, 3])
    ]
    for i, seen in enumerate(ahead(lambda p: np.asarray(decode(p.read())), found, 4)):
        assert np.array_equal(seen, np.asarray(image(i)))


def test_a_dataset_with_splits_takes_train_or_the_one_named(tmp_path, rows):
    data = as_saved(rows, tmp_path / "d")
    assert [p.caption for p in read(data, split="test")] == ["words 1"]
    assert "did you mean test" in refusal(data, split="tset")
    assert "no column 'pixels' for --image-column (columns: image, text, level)" in refusal(data, image="pixels")
    assert "no column 'text' for --caption-column (columns: words, level)" in refusal(
        as_parquet(rows.rename_column("text", "words"), tmp_path / "p")
    )


def test_webdataset_gives_its_own_keys(tmp_path, rows):
    (tmp_path / "d").mkdir()
    with tarfile.open(tmp_path / "d" / "a.tar", "w") as tar:
        for i in (2, 0, 1):
            for ending, payload in (("png", encoded(image(i))), ("txt", f"words {i}".encode())):
                info = tarfile.TarInfo(f"photo{i}.{ending}")
                info.size = len(payload)
                tar.addfile(info, io.BytesIO(payload))
    found = pictures(str(tmp_path / "d"), Columns(caption="txt"), caption=None, t_n=1, count=None)
    assert [(p.key, p.caption) for p in found] == [(f"photo{i}", f"words {i}") for i in (2, 0, 1)]


def test_cells_without_an_image_are_faults_of_theirs_alone(tmp_path, rows):
    import datasets

    (tmp_path / "x.png").write_bytes(encoded(image(3)))
    cells = [str(tmp_path / "x.png"), str(tmp_path / "gone.png"), None]
    datasets.Dataset.from_dict({"place": cells, "text": ["a", "b", "c"]}).save_to_disk(tmp_path / "d")
    faults = [look(p).fault for p in read(tmp_path / "d", image="place")]
    assert faults == ["", "does not exist", "is missing"]
    datasets.Dataset.from_dict({"n": [1, 2], "text": ["a", "b"]}).save_to_disk(tmp_path / "e")
    assert look(read(tmp_path / "e", image="n")[0]).fault == "is no image but of type int"


def test_a_hub_id_without_a_network_is_told_in_one_line(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    message = refusal("nobody/no-such-dataset")
    assert "cannot load nobody/no-such-dataset" in message
    assert "hf download" in message


@pytest.mark.parametrize(
    ("payload", "fault"),
    [
        (b"words", "is no image"),
        (b"", "is no image"),
        (encoded(image())[:-2000], "is damaged"),
        (encoded(image(), "JPEG")[:-2000], "is damaged"),
        (encoded(Image.fromarray(np.full((70, 80), 40_000, dtype=np.uint16))), "has more than 8 bits a channel"),
    ],
)
def test_what_cannot_be_decoded_is_told(payload, fault):
    assert look(Picture("k", "", 1, lambda: payload)).fault.startswith(fault)


def test_images_come_upright_and_in_rgb():
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by 90 degrees
    payload = encoded(image(width=80, height=70), "PNG", exif=turned)
    assert look(Picture("k", "", 1, lambda: payload)).size == (80, 70)
    for mode in ("L", "RGBA", "P", "CMYK", "1", "LA"):
        kind = "TIFF" if mode == "CMYK" else "PNG"
        assert decode(encoded(image().convert(mode), kind)).mode == "RGB"


def test_faults_are_counted_and_named_and_left_out_only_if_asked():
    readings = [Reading("x", (70, 80)), *[Reading(fault="is no image")] * 4]
    pictures = [SurveyedPicture(name, "", 1, bytes, reading) for name, reading in zip("abcde", readings, strict=True)]
    refusing = CorruptOptions(data="photos", resolution=64)
    skipping = replace(refusing, skip_unreadable=True)
    with pytest.raises(UserError, match=r"4 of 5 images .*be read \(b is no image, c is no image, d is no image, \.\.\.\)"):
        without_faults(pictures, refusing)
    assert without_faults(pictures, skipping) == pictures[:1]
    with pytest.raises(UserError, match="none is left"):
        without_faults(pictures[1:], skipping)
    with pytest.raises(UserError, match=r"1 of 1 images are smaller than 128 pixels \(a 80x70\).*--resolution 64"):
        without_faults(pictures, replace(skipping, resolution=128))
    assert without_faults(pictures, replace(skipping, resolution=128, upscale=True)) == pictures[:1]


def test_the_survey_keeps_the_order():
    pictures = [Picture(str(i), "", 1, lambda i=i: encoded(image(i))) for i in range(7)]
    surveyed = survey(pictures, Group(), threads=3)
    assert [picture.reading.digest for picture in surveyed] == [look(picture).digest for picture in pictures]


def test_no_more_is_begun_ahead_than_asked_for():
    begun = []
    results = ahead(lambda i: begun.append(i) or i, range(100), 4)
    assert list(itertools.islice(results, 3)) == [0, 1, 2]
    results.close()
    assert len(begun) <= 3 + 4


def test_photographs_are_24_and_those_held_out_are_others():
    found = read("photographs")
    assert len(found) == 24
    assert len({p.caption for p in found}) == 24
    assert [p.key for p in found] == sorted(p.key for p in TRAINING)
    assert {p.of for p in TRAINING} & {p.of for p in HELD_OUT} == set()
    assert [p.key for p in read("photographs", split="held_out")] == [p.key for p in HELD_OUT]
    assert "did you mean held_out" in refusal("photographs", split="heldout")


def test_photographs_are_what_is_said_of_them():
    """Squares of their photograph, whole, none twice, those of one photograph apart; large enough to rehearse on."""
    everything = (*TRAINING, *HELD_OUT)
    whole = {name: _pixels(name) for name in {p.of for p in everything}}
    for p in everything:
        square = whole[p.of][p.top : p.top + p.side, p.left : p.left + p.side]
        assert square.shape[:2] == (p.side, p.side)
        assert np.array_equal(np.asarray(decode(p.payload()))[..., 1], square[..., 1] if square.ndim == 3 else square)
    assert min(p.side for p in everything) == 172
    assert sorted(Counter(p.of for p in TRAINING).values()) == [1] * 8 + [2] * 8
    for first, second in itertools.combinations(everything, 2):
        if first.of == second.of:
            apart = [abs(getattr(first, at) - getattr(second, at)) for at in ("left", "top")]
            sides = [min((first, second), key=attrgetter(at)).side for at in ("left", "top")]
            assert any(distance >= side for distance, side in zip(apart, sides, strict=True)), (first.key, second.key)
