"""A set of noisy latents on disk: rows by number over its shards, and what is said of one that is not whole."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from harness.errors import UserError
from sdxl.corrupt import noisy_set
from sdxl.corrupt.noisy_set import CONDITION, ROWS, NoisySet
from sdxl.manifest import Header
from tests.sdxl.conftest import write_set


def test_rows_come_by_number_from_any_shard(small_set):
    """Six images in shards of four: what is read is what stands in the files."""
    data = NoisySet(small_set)
    assert (len(data), data.ends) == (6, [4, 6])
    files = [load_file(small_set / noisy_set.shard_name(i)) for i in range(2)]
    found = data.rows([5, 0, 3, 4])
    assert set(found) == set(ROWS)
    for name in ROWS:
        expected = torch.cat([files[1][name][1:], files[0][name][:1], files[0][name][3:], files[1][name][:1]])
        assert torch.equal(found[name], expected)
    assert data.labels == [(f"image_{i}", f"image_{i}") for i in range(6)]


def test_latents_are_read_in_float32_and_levels_in_float64(tmp_path, tiny_base):
    folder = write_set(tmp_path / "a", tiny_base, t_n=[0, 100, 500, 900, 1, 2])
    rows = {name: value.half() if name != "t_n" else value.float() for name, value in NoisySet(folder).rows([0, 1]).items()}
    data = NoisySet(folder)
    noisy_set.write_tensors(folder / noisy_set.shard_name(0), rows, Header("tests", ("a", "b"), ("", "")))
    noisy_set.write_manifest(folder, data.manifest)
    found = NoisySet(folder).rows([1])
    assert (found["x_n"].dtype, found["t_n"].dtype) == (torch.float32, torch.float64)
    assert NoisySet(folder).levels().tolist()[:2] == [0.0, 100.0]


def test_the_embedding_of_no_caption_is_of_one_sample(small_set):
    null = NoisySet(small_set).null()
    assert set(null) | {"time_ids"} == set(CONDITION)
    assert all(len(value) == 1 for value in null.values())


def test_two_sets_are_told_apart_by_their_digest(tmp_path, tiny_base):
    digests = [NoisySet(write_set(tmp_path / str(t_n), tiny_base, t_n=t_n)).digest for t_n in (100, 500)]
    again = NoisySet(write_set(tmp_path / "again", tiny_base, t_n=500)).digest
    assert digests[0] != digests[1] == again


def test_sets_are_of_the_format_that_users_have_on_their_disks(small_set):
    assert json.loads((small_set / "manifest.json").read_text())["format"] == 1


@pytest.mark.parametrize("name", ["shard_00000.safetensors", "shard_00001.safetensors"])
def test_a_changed_byte_is_found(small_set, name):
    NoisySet(small_set).verify()
    payload = bytearray((small_set / name).read_bytes())
    payload[-100] ^= 1
    (small_set / name).write_bytes(payload)
    with pytest.raises(UserError, match=f"{name} is damaged"):
        NoisySet(small_set).verify()


def test_a_changed_null_is_found(small_set):
    payload = bytearray((small_set / "null.safetensors").read_bytes())
    payload[-1] ^= 1
    (small_set / "null.safetensors").write_bytes(payload)
    with pytest.raises(UserError, match=r"null\.safetensors is damaged"):
        NoisySet(small_set).verify()


def test_a_set_that_is_not_whole_is_refused_in_one_line(tmp_path, small_set):
    def refusal() -> str:
        with pytest.raises(UserError) as caught:
            NoisySet(small_set)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    shard, manifest = small_set / "shard_00001.safetensors", small_set / "manifest.json"
    shard.write_bytes(shard.read_bytes()[:-1])
    assert "shard_00001.safetensors is missing or damaged" in refusal()
    shard.unlink()
    assert "shard_00001.safetensors is missing or damaged" in refusal()
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 99}))
    assert "format is 99" in refusal()
    manifest.write_text("{")
    assert "manifest.json is no JSON" in refusal()
    manifest.unlink()
    assert "is not finished" in refusal()
    with pytest.raises(UserError, match="holds no noisy set"):
        NoisySet(tmp_path)


def test_the_identity_of_a_damaged_shard_is_none(small_set):
    shard = small_set / "shard_00000.safetensors"
    assert noisy_set.identity_of(shard) == "tests"
    shard.write_bytes(shard.read_bytes()[:-1])
    assert noisy_set.identity_of(shard) is None
    assert noisy_set.identity_of(small_set / "none") is None


def test_shapes_are_those_of_one_row(small_set):
    data = NoisySet(small_set)
    assert data.shapes() == {name: tuple(value.shape[1:]) for name, value in data.rows([0]).items()}


@pytest.mark.parametrize("change", ["a row is missing", "one level too few"])
def test_a_shard_must_hold_every_row_of_its_images(tmp_path, tiny_base, change):
    """Only one of the two conditions fails; the manifest is that of the changed files."""
    folder = write_set(tmp_path / "set", tiny_base)
    file = folder / noisy_set.shard_name(0)
    rows = load_file(file)
    rows = {name: value for name, value in rows.items() if name != "pooled"} if change == "a row is missing" else rows
    rows |= {"t_n": rows["t_n"][1:]} if change == "one level too few" else {}
    with safe_open(file, "pt") as opened:
        save_file(rows, file, opened.metadata())
    with pytest.raises(UserError, match="is damaged: it does not hold 4 images"):
        NoisySet(folder)


def test_further_rows_in_a_shard_do_no_harm(tmp_path, tiny_base):
    """Later versions may add rows."""
    folder = write_set(tmp_path / "set", tiny_base)
    file = folder / noisy_set.shard_name(0)
    with safe_open(file, "pt") as opened:
        save_file(load_file(file) | {"more": torch.zeros(4)}, file, opened.metadata())
    assert len(NoisySet(folder)) == 6
