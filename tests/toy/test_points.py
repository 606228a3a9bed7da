"""The user's own points: which columns are coordinates, and noise that cannot be theirs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from harness.errors import UserError
from toy.data.points import load_points

RNG = np.random.default_rng(0)
CLEAN = np.array([[0, 0], [3, 0], [0, 3.0]])[RNG.integers(0, 3, 400)] + 0.1 * RNG.standard_normal((400, 2))
NOISY = pd.DataFrame(CLEAN + 0.5 * RNG.standard_normal((400, 2)), columns=["a", "b"])


@pytest.fixture
def write(tmp_path):
    def written(table: pd.DataFrame, **options) -> str:
        kind = options.pop("kind", "csv")
        getattr(table, f"to_{kind}")(tmp_path / f"points.{kind}", **({"index": False} | options))
        return str(tmp_path / f"points.{kind}")

    return written


def refused(file: str, *, sigma_n: float | None = 0.5, noise_column: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        load_points(file, sigma_n=sigma_n, noise_column=noise_column)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("sigma_n", [5, 2.5])
def test_more_noise_than_there_is_spread_is_refused(write, sigma_n):
    """A variance for a deviation, or another unit: the points vary by 1.5 in all."""
    said = refused(write(NOISY), sigma_n=sigma_n)
    assert f"noise of standard deviation {sigma_n:.3g} is more than the 1.4" in said
    assert "column a" in said
    assert "probably a variance was given, or another unit" in said


def test_one_coordinate_in_another_unit_is_found(write):
    assert "by which column b varies" in refused(write(NOISY.assign(b=NOISY["b"] / 1000)))


def test_noise_in_a_column_counts_on_average(write):
    levels = np.where(np.arange(400) % 4 == 0, 0.0, 2.5)
    said = refused(write(NOISY.assign(sd=levels)), sigma_n=None, noise_column="sd")
    assert f"noise of standard deviation {2.5 * 0.75**0.5:.3g} is more than" in said


@pytest.mark.parametrize("seed", range(20))
def test_points_that_are_noise_alone_are_not_refused(write, seed):
    """Of 30 points the variance is off by a quarter of itself."""
    noise = pd.DataFrame(np.random.default_rng(seed).standard_normal((30, 2)), columns=["a", "b"])
    assert len(load_points(write(noise), sigma_n=1.0, noise_column=None).points) == 30


@pytest.mark.parametrize("first", [0, 1, 1000])
def test_a_column_that_counts_the_rows_is_refused(write, first):
    said = refused(write(NOISY.assign(id=np.arange(first, first + 400))))
    assert "column id counts the rows, as no noisy coordinate does; leave it out" in said


def test_coordinates_are_named(write):
    assert load_points(write(NOISY.assign(sd=0.5)), sigma_n=None, noise_column="sd").columns == ["a", "b"]


MISSING = NOISY.astype("Float64")
MISSING.iloc[3, 0] = pd.NA
WHOLE = pd.DataFrame({"a": pd.array(range(0, 800, 2), "Int64"), "b": NOISY["b"]})
WHOLE.loc[5, "a"] = pd.NA


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (MISSING, "row 4 holds a missing or infinite value"),
        (WHOLE, "row 6 holds a missing or infinite value"),
        (NOISY.assign(t=pd.date_range("2024", periods=400)), "columns must be numbers, but t holds something else"),
        (NOISY.assign(t=[[1.0, 2.0]] * 400), "columns must be numbers, but t holds something else"),
    ],
    ids=["a missing number", "a missing whole number", "dates", "lists"],
)
def test_tables_of_parquet_that_hold_no_points_are_refused(write, table, message):
    assert message in refused(write(table, kind="parquet"))


def test_a_missing_level_is_refused(write):
    table = NOISY.assign(sd=pd.array([0.5] * 399 + [pd.NA], "Float64"))
    assert "must be finite and not negative" in refused(write(table, kind="parquet"), sigma_n=None, noise_column="sd")


def test_two_columns_of_one_name_in_parquet_are_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table([pa.array(NOISY["a"]), pa.array(NOISY["b"])], names=["a", "a"]), tmp_path / "twice.parquet")
    assert "two columns are called a" in refused(str(tmp_path / "twice.parquet"))


@pytest.mark.parametrize("kind", ["Float64", "pyarrow"])
def test_tables_of_other_number_types_are_read(write, kind):
    table = NOISY.convert_dtypes(dtype_backend="pyarrow") if kind == "pyarrow" else NOISY.astype(kind)
    found = load_points(write(table, kind="parquet"), sigma_n=0.5, noise_column=None)
    usual = load_points(write(NOISY, kind="parquet"), sigma_n=0.5, noise_column=None)
    assert found.points.equal(usual.points)
