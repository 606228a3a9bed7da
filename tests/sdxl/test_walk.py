"""What a folder of images is taken for: the same images, hence the same noise, whatever else lies in it."""

from __future__ import annotations

import json
import os
import tarfile
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, features

from harness.errors import UserError
from sdxl.images.pictures import Columns, Picture, pictures
from sdxl.images.survey import decode, look
from sdxl.images.walk import contents

FOREIGN = (".ipynb_checkpoints", ".thumbnails", ".Trash-1000/files", "@eaDir", "__MACOSX", "sub/.cache", "$RECYCLE.BIN")


def picture(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8))


@pytest.fixture
def photos(tmp_path) -> Path:
    """a.png, b.png and sub/c.png, without captions."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for i, name in enumerate(("a.png", "b.png", "sub/c.png")):
        picture(i).save(folder / name)
    return folder


def read(data: Path, *, caption: str | None = "any", say=print, **columns) -> list[Picture]:
    return pictures(str(data), Columns(**columns), caption=caption, t_n=500, count=None, say=say)


def keys(data: Path, **options) -> list[str]:
    return [one.key for one in read(data, **options)]


def refusal(data: Path, **options) -> str:
    with pytest.raises(UserError) as caught:
        read(data, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# what is left out


@pytest.mark.parametrize("foreign", FOREIGN)
def test_folders_that_are_hidden_or_of_other_programs_are_left_out_and_said(photos, foreign):
    (photos / foreign).mkdir(parents=True)
    picture(0).save(photos / foreign / "a.png")
    (photos / foreign / "metadata.jsonl").write_text("not for us")
    (photos / foreign / "part.parquet").write_bytes(b"nor this")
    said: list[str] = []
    assert keys(photos, say=said.append) == ["a.png", "b.png", "sub/c.png"]
    left_out = [line for line in said if "left out" in line]
    assert len(left_out) == 1
    assert "1 image," in left_out[0]
    assert next(part for part in foreign.split("/") if part != "sub") in left_out[0]


def test_what_is_no_image_of_other_programs_is_passed_over_in_silence(photos):
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini", ".git", "notes.md"):
        (photos / name).write_bytes(b"not an image")
    said: list[str] = []
    assert keys(photos, say=said.append) == ["a.png", "b.png", "sub/c.png"]
    assert len(said) == 1
    assert "a folder of 3 images" in said[0]


def test_formats_that_pillow_reads_are_read(photos):
    """By the endings that Pillow itself has for them; what the file is called does not matter to what is in it."""
    names = ["d.jfif", "e.jpe", "f.JPG", "g.jp2", "h.dib", "i.apng"] + (["j.avif"] if features.check("avif") else [])
    for name in names:
        kind = Image.registered_extensions()[os.path.splitext(name)[1].lower()]
        picture(9).save(photos / name, kind)
    found = read(photos)
    assert [one.key for one in found] == ["a.png", "b.png", *names, "sub/c.png"]
    assert all(look(one).fault == "" for one in found)


@pytest.mark.parametrize("name", ["x.heic", "x.psd", "x.svg", "x.cr2", "x.ico"])
def test_images_of_other_formats_are_named(photos, name):
    (photos / name).write_bytes(b"an image of its kind")
    said: list[str] = []
    assert keys(photos, say=said.append) == ["a.png", "b.png", "sub/c.png"]
    assert name in said[1]
    for file in photos.rglob("*.png"):
        file.unlink()
    assert name in refusal(photos)


def test_captions_in_text_files_beside_images_are_not_read_and_that_is_said(photos):
    (photos / "sub" / "c.txt").write_text("a caption")
    (photos / "readme.txt").write_text("not about an image")
    said: list[str] = []
    read(photos, say=said.append)
    assert "sub/c.txt" in said[1]
    assert "readme" not in said[1]


# links


def test_links_are_followed_and_loops_end(photos, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    picture(5).save(other / "d.png")
    (photos / "linked").symlink_to(other)
    (photos / "e.png").symlink_to(other / "d.png")
    (other / "back").symlink_to(photos)
    (photos / "self").symlink_to(photos / "self")
    assert keys(photos) == ["a.png", "b.png", "e.png", "linked/d.png", "sub/c.png"]


def test_a_link_to_nothing_is_an_image_that_is_missing(photos, tmp_path):
    (photos / "lost.png").symlink_to(tmp_path / "nowhere.png")
    assert {one.key: look(one).fault for one in read(photos)}["lost.png"] == "does not exist"


def test_a_folder_that_is_called_as_an_image_is_a_folder(photos):
    (photos / "d.png").mkdir()
    picture(5).save(photos / "d.png" / "e.png")
    assert keys(photos) == ["a.png", "b.png", "d.png/e.png", "sub/c.png"]


# names


def test_names_that_are_not_utf8_are_refused_by_name(photos):
    os.rename(os.fsencode(photos / "b.png"), os.fsencode(photos) + b"/caf\xe9.png")
    assert r"caf\xe9.png" in refusal(photos)
    (photos / "sub" / "notes.txt").write_text("of no image")
    os.rename(os.fsencode(photos) + b"/caf\xe9.png", photos / "b.png")
    os.rename(photos / "sub" / "notes.txt", os.fsencode(photos) + b"/sub/caf\xe9.txt")
    assert keys(photos) == ["a.png", "b.png", "sub/c.png"]


@pytest.mark.parametrize(
    ("data", "name", "key"),
    [
        ("{tmp}/photos", "{tmp}/photos/a.png", "a.png"),
        ("photos", "{tmp}/photos/sub/../a.png", "a.png"),
        ("{tmp}/photos", "{tmp}/link/b.png", "b.png"),
        ("{tmp}/link", "{tmp}/photos/b.png", "b.png"),
        ("{tmp}/photos", "{tmp}/photos/linked/d.png", "linked/d.png"),
    ],
)
def test_metadata_may_give_absolute_names_of_images_in_the_folder(photos, tmp_path, monkeypatch, data, name, key):
    """Whether the folder or the image is reached by way of a link, and where the folder is given relative to the current one."""
    (tmp_path / "link").symlink_to(photos)
    (tmp_path / "other").mkdir()
    picture(5).save(tmp_path / "other" / "d.png")
    (photos / "linked").symlink_to(tmp_path / "other")
    (photos / "b.png").rename(tmp_path / "other" / "elsewhere.png")
    (photos / "b.png").symlink_to(tmp_path / "other" / "elsewhere.png")
    monkeypatch.chdir(tmp_path)
    row = {"file_name": name.format(tmp=tmp_path), "text": "a caption"}
    (photos / "metadata.jsonl").write_text(json.dumps(row) + "\n")
    found = read(Path(data.format(tmp=tmp_path)))
    assert [one.key for one in found if one.caption == "a caption"] == [key]


@pytest.mark.parametrize(
    ("there", "listed"),
    [
        (unicodedata.normalize("NFD", "é.png"), unicodedata.normalize("NFC", "é.png")),
        ("deep/a.png", r"deep\a.png"),
        ("UPPER.PNG", "upper.png"),
    ],
)
def test_a_row_that_names_no_file_is_told_and_the_file_that_is_meant(tmp_path, there, listed):
    (tmp_path / there).parent.mkdir(exist_ok=True)
    picture().save(tmp_path / there)
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": listed, "text": "words"}) + "\n")
    message = refusal(tmp_path, caption=None)
    assert "metadata.jsonl, line 1 names" in message
    assert ascii(there) in message


# tables


TABLE = pd.DataFrame(
    {"file_name": ["a.png", "b.png", "sub/c.png"], "text": ["one, two", "three", 'a "four"'], "t_n": [0, 7, 500]}
)


def test_metadata_is_read_alike_from_three_formats(photos):
    for name, write in (
        ("metadata.csv", lambda file: TABLE.to_csv(file, index=False)),
        ("metadata.jsonl", lambda file: TABLE.to_json(file, orient="records", lines=True)),
        ("metadata.parquet", lambda file: TABLE.to_parquet(file, index=False)),
    ):
        write(photos / name)
        found = read(photos, level="t_n", caption=None)
        assert [(one.key, one.caption, one.t_n) for one in found] == list(TABLE.itertuples(index=False, name=None))
        (photos / name).unlink()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file_name,text\na.png,a kite, at dusk\n", "metadata.csv, line 2 has 3 entries"),
        ("file_name,text\n\na.png\n", "metadata.csv, line 3 has 1 entries"),
        ('file_name,text\na.png,"two\nlines"\nb.png,a,b\n', "metadata.csv, line 4 has 3 entries"),
        ('file_name,text\na.png,"never closed\nb.png,words\n', "metadata.csv, line 2 cannot be read"),
        ("file_name,text,text\na.png,a,b\n", "metadata.csv, line 1 cannot be read: 'text' is given twice"),
        ("file_name;text\na.png;words\n", "metadata.csv, line 2: the field file_name is missing; there is file_name;text"),
        ("file_name,text\na.png,caf\xe9\n", "UTF-8"),
    ],
)
def test_tables_that_are_not_what_their_first_line_says_are_refused(photos, text, said):
    (photos / "metadata.csv").write_text(text, encoding="latin-1")
    assert said in refusal(photos)


def test_a_column_is_missing_and_those_that_are_there_are_listed(photos):
    TABLE.to_csv(photos / "metadata.csv", index=False)
    assert "columns: text, t_n" in refusal(photos, key="txet")


# which kind of source


def archived(photos: Path, file: Path) -> None:
    with tarfile.open(file, "w") as tar:
        tar.add(photos / "a.png", "a.png")


@pytest.mark.parametrize("name", ["originals.tar", "stats/scores.parquet", "dataset_info.json"])
def test_a_folder_of_images_and_something_that_may_hold_images_is_refused(photos, name):
    (photos / name).parent.mkdir(exist_ok=True)
    if name.endswith(".tar"):
        archived(photos, photos / name)
    elif name.endswith(".parquet"):
        TABLE.to_parquet(photos / name)
    else:
        (photos / name).write_text("{}")
    message = refusal(photos)
    assert "a.png" in message
    assert name in message
    if name != "dataset_info.json":
        assert keys(photos, split="sub") == ["c.png"]


def test_results_of_this_program_are_no_folder_of_images(photos):
    """Beside the images lies a sheet of them all."""
    (photos / "images").mkdir()
    picture(3).save(photos / "images" / "000000.png")
    for name in ("manifest.json", "config.yaml"):
        (photos / name).write_text("{}")
    assert str(photos / "images") in refusal(photos)
    assert keys(photos / "images") == ["000000.png"]


def test_the_kind_of_a_source_is_said(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "tars").mkdir()
    archived(photos, tmp_path / "tars" / "train.tar")
    said: list[str] = []
    read(photos, say=said.append)
    read(tmp_path / "tars", say=said.append)
    assert [line.split(": ")[1].split(" of ")[0] for line in said] == ["a folder", "a dataset"]


def test_contents_are_in_the_order_of_names(photos):
    assert contents(photos).images == ["a.png", "b.png", "sub/c.png"]
    assert np.array_equal(np.asarray(decode(read(photos)[2].read())), np.asarray(picture(2)))
