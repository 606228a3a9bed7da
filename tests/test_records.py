import json
from dataclasses import dataclass
from typing import ClassVar

import pytest

from ambient.runs import UserError
from harness import records


@dataclass(frozen=True)
class Picture:
    file: str
    caption: str | None = None


@dataclass(frozen=True)
class Album:
    remedy: ClassVar[str] = "print the album again"
    pictures: tuple[Picture, ...]
    share: dict[str, float]
    version: int = 2


ALBUM = Album((Picture("a.png"), Picture("b.png", "b")), {"red": 0.25, "blue": float("inf")})
TEXT = records.to_json(ALBUM)


def changed(**fields):
    return json.dumps(json.loads(TEXT) | fields)


def without(name):
    return json.dumps({key: value for key, value in json.loads(TEXT).items() if key != name})


def test_what_was_written_is_read(tmp_path):
    records.write(tmp_path / "album.json", ALBUM)
    assert records.read(tmp_path / "album.json", Album) == ALBUM


def test_a_whole_number_is_a_number_and_defaults_may_be_left_out():
    found = records.from_json(changed(share={"red": 1}, pictures=[{"file": "c.png"}]), Album, where="x")
    assert found == Album((Picture("c.png"),), {"red": 1.0})
    assert type(found.share["red"]) is float


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (without("pictures"), "pictures"),
        (without("version"), "version"),
        (changed(version=1), "version"),
        (changed(version=True), "version"),
        (changed(pictures=None), "pictures"),
        (changed(pictures={}), "pictures"),
        (changed(pictures=[{"caption": "c"}]), "pictures[0].file"),
        (changed(pictures=[{"file": 3}]), "pictures[0].file"),
        (changed(pictures=[{"file": "c", "caption": 3}]), "pictures[0].caption"),
        (changed(share={"red": "1"}), "share['red']"),
        (changed(share={"red": True}), "share['red']"),
        (changed(shares={}), "shares"),
        ("[]", "album.json"),
        (TEXT[:-3], "album.json"),
        ("[" * 100_000, "album.json"),
        ("", "album.json"),
    ],
)
def test_a_damaged_record_is_refused_by_file_and_field(text, field, tmp_path):
    (tmp_path / "album.json").write_text(text)
    with pytest.raises(UserError) as refused:
        records.read(tmp_path / "album.json", Album)
    said = str(refused.value)
    assert "album.json" in said
    assert field in said
    assert Album.remedy in said
    assert "\n" not in said


@pytest.mark.parametrize("payload", [None, b"\xff\xfe{}"])
def test_a_file_that_cannot_be_read_is_refused_by_name(payload, tmp_path):
    if payload is not None:
        (tmp_path / "album.json").write_bytes(payload)
    with pytest.raises(UserError, match=r"album\.json"):
        records.read(tmp_path / "album.json", Album)
