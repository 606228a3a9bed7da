import json
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from harness import records
from harness.errors import UserError


@dataclass(frozen=True)
class Picture:
    file: str
    caption: str | None = None


@dataclass(frozen=True)
class Portrait(Picture):
    size: tuple[int, int] = field(default=(1, 1), metadata={"key": "width and height"})


@dataclass(frozen=True)
class Album:
    remedy: ClassVar[str] = "print the album again"
    pictures: tuple[Picture | Portrait, ...]
    share: dict[str, float]
    version: int = 2


@dataclass(frozen=True)
class Settings:
    depth: int
    rest: dict[str, Any]
    version: int = 1

    def __post_init__(self) -> None:
        if self.depth < 0:
            raise ValueError("depth is negative")


ALBUM = Album((Picture("a.png"), Portrait("b.png", "b", (3, 4))), {"red": 0.25, "blue": float("inf")})
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


def test_what_is_none_by_default_is_left_out_and_keys_are_those_of_the_file():
    assert json.loads(TEXT)["pictures"] == [{"file": "a.png"}, {"file": "b.png", "caption": "b", "width and height": [3, 4]}]


def test_the_rest_is_kept_and_no_version_is_the_first():
    found = records.from_json('{"depth": 1, "other": [2]}', Settings, where="x")
    assert found == Settings(1, {"other": [2]})
    assert records.plain(found) == {"depth": 1, "other": [2], "version": 1}
    with pytest.raises(UserError, match="x: depth is negative"):
        records.fit({"depth": -1}, Settings, where="x")
    with pytest.raises(UserError, match="version must be a whole number"):
        records.fit({"depth": 1, "version": True}, Settings, where="x")


def test_containers_of_records_are_read_too():
    assert records.fit([{"file": "a"}], tuple[Picture, ...], where="x") == (Picture("a"),)
    with pytest.raises(UserError, match=r"x: \[0\].file is missing"):
        records.fit([{}], tuple[Picture, ...], where="x")


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
        (changed(pictures=[{"caption": "c", "width and height": [3, 4]}]), "pictures[0].file"),
        (changed(pictures=[{"file": "c", "width and height": [3]}]), "pictures[0].width and height"),
        (changed(share={"red": 10**400}), "share['red']"),
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
