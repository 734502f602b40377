import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgraph.errors import DataError
from cgraph.novelty import N_DIRECTIONS, Cloud, Usual, explained_share


def cloud(width=2):
    """The origin, deviation 2 along the first axis and 1 along every other."""
    return Cloud(
        np.zeros(width, np.float32),
        np.eye(width, dtype=np.float32)[:1],
        np.array([2, 1], dtype=np.float32),
    )


def usual(limit=1.5):
    nothing = (0.0, 0.0)
    return Usual((cloud(), cloud()), (1.0, 2.0), (2.0, 4.0), nothing, nothing, limit, 0.0)


def planted(rng, n, n_layers=3, width=20):
    """Tokens near a plane of four dimensions, the more narrow the deeper the layer."""
    planes = np.random.default_rng(9).standard_normal((n_layers, 4, width))
    wide = np.einsum("lnk,lkd->lnd", rng.standard_normal((n_layers, n, 4)), planes)
    return (5 + wide + 0.05 * rng.standard_normal((n_layers, n, width))).astype(np.float32)


def measured(rng):
    train, tune, held_out = (planted(rng, n) for n in (1000, 1000, 2000))
    clouds = [Cloud.fit(tokens) for tokens in train]

    def distances(tokens):
        return np.stack([c.distance(t) for c, t in zip(clouds, tokens, strict=True)])

    return Usual.measure(clouds, distances(tune), distances(held_out), np.full((3, 1000), 0.9))


def test_explained_share_by_hand():
    mean = np.array([1.0, 0.0])
    tokens = np.array([[3.0, 0.0], [1.0, 2.0], [1.0, 0.0]])
    decoded = np.array([[2.0, 0.0], [1.0, 2.0], [5.0, 0.0]])
    np.testing.assert_allclose(explained_share(tokens, decoded, mean), [0.75, 1, 0])


def test_distance_by_hand():
    tokens = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0], [6.0, 4.0]])
    np.testing.assert_allclose(cloud().distance(tokens), [0, 1, 3, 5])


def test_score_by_hand():
    tokens = np.array([[[2.0, 0.0], [0.0, 3.0]], [[0.0, 6.0], [0.0, 0.0]]])
    # Distances 1 and 6, then 3 and 0; scaled 0 and 2, then 2 and -1.
    np.testing.assert_allclose(usual().score(tokens), [2, 2])
    assert usual().is_unusual(tokens[:, 0]) and not usual(limit=2.0).is_unusual(tokens[:, 0])
    assert not usual().is_unusual(np.zeros((2, 2)))


@given(st.integers(0, 10**6))
def test_the_distance_is_that_of_mahalanobis_where_every_direction_is_kept(seed):
    rng = np.random.default_rng(seed)
    tokens = 3 + rng.standard_normal((400, 5)) @ rng.standard_normal((5, 5))
    fitted = Cloud.fit(tokens)
    assert len(fitted.directions) == 4  # the last direction is all that is left
    covariance = np.cov(tokens.T, bias=True)
    if np.linalg.eigvalsh(covariance)[0] < 1e-3:
        return
    centred = tokens[:20] - tokens.mean(axis=0)
    expected = np.einsum("nd,de,ne->n", centred, np.linalg.inv(covariance), centred)
    np.testing.assert_allclose(fitted.distance(tokens[:20]) ** 2, expected, rtol=2e-2, atol=1e-3)


@pytest.mark.parametrize(("n", "width", "k"), [(2000, 100, N_DIRECTIONS), (50, 100, 5), (3, 4, 0)])
def test_directions_are_as_many_as_the_images_can_tell(n, width, k):
    fitted = Cloud.fit(np.random.default_rng(0).standard_normal((n, width)))
    assert fitted.directions.shape == (k, width) and fitted.deviations.shape == (k + 1,)
    assert np.isfinite(fitted.distance(np.ones((1, width)))).all()


def test_few_of_its_own_kind_are_flagged_and_all_of_another():
    rng = np.random.default_rng(0)
    known = measured(rng)
    assert 0 < known.false_alarms < 0.015
    own, off_the_plane, far_along_it = (planted(rng, 500) for _ in range(3))
    off_the_plane[1] += 0.1 * rng.standard_normal((500, 20))  # in one layer of three
    far_along_it[2] = 5 + 4 * (far_along_it[2] - 5)
    assert np.mean(known.score(own) > known.limit) < 0.02
    assert np.mean(known.score(off_the_plane) > known.limit) > 0.95
    assert np.mean(known.score(far_along_it) > known.limit) > 0.8


def test_rounding_is_not_another_kind_of_image():
    """A first layer may give nearly the same token for every image."""
    rng = np.random.default_rng(0)
    tokens = 10 + 1e-6 * rng.standard_normal((300, 8))
    fitted = Cloud.fit(tokens)
    distances = fitted.distance(tokens)[None]
    known = Usual.measure([fitted], distances, distances, np.ones((1, 300)))
    assert not known.is_unusual(tokens[0][None] + 1e-5)
    assert known.is_unusual(tokens[0][None] + 1)
    nothing = Cloud.fit(np.zeros((20, 8)))
    assert (nothing.distance(np.zeros((2, 8))) == 0).all()


def test_it_survives_being_stored():
    known = measured(np.random.default_rng(1))
    again = Usual.from_tensors(known.to_tensors())
    tokens = planted(np.random.default_rng(2), 30)
    np.testing.assert_array_equal(again.score(tokens), known.score(tokens))
    assert again.false_alarms == known.false_alarms
    assert again.explained_low == again.explained_high == pytest.approx((0.9,) * 3)


@pytest.mark.parametrize(
    ("name", "change", "error"),
    [
        ("mean", lambda a: a[:, :-1], "mean has shape"),
        ("limit", lambda a: a * np.nan, "limit .* not finite"),
        ("deviations", lambda a: a * 0, "deviation is not above 0"),
        ("high", lambda a: a * 0, "not above the median"),
    ],
)
def test_damaged_arrays_are_refused(name, change, error):
    tensors = usual().to_tensors()
    with pytest.raises(ValueError, match=error):
        Usual.from_tensors({**tensors, name: change(tensors[name])})
    del tensors[name]
    with pytest.raises(KeyError, match=name):
        Usual.from_tensors(tensors)


def test_tokens_of_another_model():
    with pytest.raises(DataError, match="this study needs 2 layers of tokens with 2 numbers"):
        usual().is_unusual(np.zeros((2, 3)))


def test_no_tune_images():
    nothing = np.empty((1, 0))
    with pytest.raises(DataError, match="There are no tune images"):
        Usual.measure([cloud()], nothing, np.ones((1, 4)), nothing)
