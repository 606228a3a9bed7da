"""Nearest neighbours: equal to brute force, whatever the blocks; ties, itself left out, memory, mistakes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from ambient.randomness import generator
from harness import neighbours
from harness.errors import UserError
from harness.neighbours import nearest


def features(count: int, width: int = 16, *, stream: str = "known") -> Tensor:
    return torch.randn(count, width, generator=generator(0, stream))


def brute(queries: Tensor, known: Tensor, k: int, own: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """In float64, all at once, by a stable sort."""
    cosine = nn.functional.cosine_similarity(queries.double()[:, None], known.double()[None], dim=2)
    if own is not None:
        cosine[torch.arange(len(queries)), own] = -2
    value, place = cosine.sort(dim=1, descending=True, stable=True)
    return value[:, :k], place[:, :k]


@pytest.fixture
def small_blocks(monkeypatch):
    """So that 70 images are many blocks, the last ones not full."""
    monkeypatch.setattr(neighbours, "QUERIES", 16)
    monkeypatch.setattr(neighbours, "KNOWN", 7)


@pytest.mark.parametrize("k", [1, 3, 9])
@pytest.mark.usefixtures("small_blocks")
def test_equal_to_brute_force(k):
    queries, known = features(50, stream="queries"), features(70)
    similarity, index = nearest(queries, known, k=k)
    value, place = brute(queries, known, k)
    assert torch.equal(index, place)
    assert torch.allclose(similarity.double(), value, rtol=0, atol=1e-7)  # a cosine rounded to float32: at most 6e-8


@pytest.mark.usefixtures("small_blocks")
def test_itself_does_not_count():
    known = features(40)
    own = torch.arange(40)
    similarity, index = nearest(known, known, k=2, own=own)
    value, place = brute(known, known, 2, own)
    assert torch.equal(index, place)
    assert torch.allclose(similarity.double(), value, rtol=0, atol=1e-7)
    assert bool((nearest(known, known).first().row == own).all())  # where it counts it is the nearest


@pytest.mark.parametrize("wide", [1, 3, 1536])
@pytest.mark.usefixtures("small_blocks")
def test_of_equal_ones_the_first_is_found(wide):
    """Three copies of each of 20 images, in other blocks and places of them; a copy of oneself is another image."""
    known = features(20, wide).repeat(3, 1)
    _, index = nearest(known, known, k=3)
    if wide > 1:  # in one dimension all cosines are 1 or -1
        assert index.tolist() == [[i % 20, i % 20 + 20, i % 20 + 40] for i in range(60)]
    else:
        signs = known[:, 0] > 0
        firsts = [[j for j in range(60) if signs[j] == signs[i]][:3] for i in range(60)]
        assert index.tolist() == firsts
    similarity, _ = nearest(known, known, own=torch.arange(60))
    assert bool((similarity > 1 - 1e-6).all())


@pytest.mark.usefixtures("small_blocks")
def test_lengths_do_not_matter():
    queries, known = features(20, stream="queries"), features(30)
    scale = 10 ** torch.linspace(-6, 6, 30)[:, None]
    assert torch.equal(nearest(queries, known).row, nearest(7 * queries, known * scale).row)


@pytest.mark.usefixtures("small_blocks")
def test_several_processes_have_the_answer_of_one():
    """Two of them, one after the other: each gives its share, and what they have from all shares is the whole."""
    queries, known, shares = features(50, stream="queries"), features(70), [{}, {}]

    def of(rank: int):
        def gather(mine):
            shares[rank] = mine
            return shares if shares[1 - rank] else [mine, mine]

        group = SimpleNamespace(rank=rank, size=2, device=torch.device("cpu"), gather=gather)
        return nearest(queries, known, k=2, group=group)  # type: ignore[arg-type]

    of(0)
    both, alone = of(1), nearest(queries, known, k=2)
    assert [sorted(share) for share in shares] == [[0, 32], [16, 48]]
    assert torch.equal(both.row, alone.row)
    assert torch.equal(both.similarity, alone.similarity)


def test_no_block_is_larger_than_it_may_be(monkeypatch):
    """The only thing that grows with both numbers is the product, and it is asked for in blocks."""
    seen, real = [], neighbours._largest
    monkeypatch.setattr(neighbours, "_largest", lambda x, *args, **options: seen.append(x.shape) or real(x, *args, **options))
    nearest(features(5000, 4, stream="queries"), features(9000, 4))
    assert max(a * b for a, b in seen) <= neighbours.QUERIES * neighbours.KNOWN
    assert sum(a * b for a, b in seen) == 5000 * 9000


@pytest.mark.parametrize("where", ["queries", "known"])
def test_features_that_are_not_finite_are_refused(where):
    given = {"queries": features(5), "known": features(9)}
    given[where][3, 2] = torch.nan
    with pytest.raises(UserError, match="not finite"):
        nearest(**given)


def test_mistakes():
    with pytest.raises(UserError, match="features of one extractor"):
        nearest(features(3, 4), features(3, 5))
    with pytest.raises(UserError, match="features of one extractor"):
        nearest(features(3, 4), features(3, 4)[:, :, None])
    with pytest.raises(UserError, match="2 nearest of 1 images"):
        nearest(features(2), features(2), k=2, own=torch.arange(2))
    with pytest.raises(UserError, match="at least 1"):
        nearest(features(2), features(0))


def test_itself_does_not_count_where_all_others_point_away():
    known = torch.tensor([[1.0, 0.1], [-1.0, 0.2], [-1.0, -0.3]])
    similarity, index = nearest(known[:1], known, own=torch.tensor([0]))
    assert index.tolist() == [[1]]
    assert float(similarity) < -0.9
