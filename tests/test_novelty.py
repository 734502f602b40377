import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgraph.errors import DataError
from cgraph.manifest import CONCEPTS, EDGES
from cgraph.novelty import Usual
from cgraph.predictor import SparseInputs
from cgraph.predictor_tables import predictors_of_layer
from cgraph.signals import (
    N_DIRECTIONS,
    Cloud,
    Signals,
    explained_share,
    surprise,
    surprise_of_rows,
)
from cgraph.store import read_table
from cgraph.trace_codes import surprises
from cgraph.tracing import trace_row


def cloud(width=2):
    """The origin, deviation 2 along the first axis and 1 along every other."""
    return Cloud(
        np.zeros(width, np.float32),
        np.eye(width, dtype=np.float32)[:1],
        np.array([2, 1], dtype=np.float32),
    )


def usual(**changes):
    """Two layers: distances of median 1 and 2, shares about .8 and surprises about 1."""
    known = Usual(
        clouds=(cloud(), cloud()),
        median=(1.0, 2.0),
        high=(2.0, 4.0),
        explained_low=(0.6, 0.6),
        explained_median=(0.8, 0.8),
        explained_high=(0.9, 0.9),
        explained_spread=(0.1, 0.1),
        surprise_median=(0.0, 1.0),
        surprise_spread=(0.5, 0.5),
        distance_limit=2.0,
        misfit_limit=5.0,
        limit=1.0,
        false_alarms=0.0,
    )
    return dataclasses.replace(known, **changes)


def at_ease(n_layers, n):
    """Explained shares and surprises as on all days."""
    return np.full((n_layers, n), 0.9), np.full((n_layers, n), 0.5)


def planted(rng, n, n_layers=3, width=20):
    """Tokens near a plane of four dimensions, the more narrow the deeper the layer."""
    planes = np.random.default_rng(9).standard_normal((n_layers, 4, width))
    wide = np.einsum("lnk,lkd->lnd", rng.standard_normal((n_layers, n, 4)), planes)
    return (5 + wide + 0.05 * rng.standard_normal((n_layers, n, width))).astype(np.float32)


def fits(rng, n, n_layers=3):
    """Explained shares and surprises of images that the concepts fit."""
    shares = 0.8 + 0.05 * rng.standard_normal((n_layers, n))
    return shares, 1 + 0.2 * rng.standard_normal((n_layers, n))


def measured(rng):
    train, tune, held_out = (planted(rng, n) for n in (1000, 1000, 2000))
    clouds = [Cloud.fit(tokens) for tokens in train]

    def signals(tokens):
        distances = [c.distance(t) for c, t in zip(clouds, tokens, strict=True)]
        return Signals(np.stack(distances), *fits(rng, tokens.shape[1]))

    return Usual.measure(clouds, signals(tune), signals(held_out))


def test_explained_share_by_hand():
    mean = np.array([1.0, 0.0])
    tokens = np.array([[3.0, 0.0], [1.0, 2.0], [1.0, 0.0]])
    decoded = np.array([[2.0, 0.0], [1.0, 2.0], [5.0, 0.0]])
    np.testing.assert_allclose(explained_share(tokens, decoded, mean), [0.75, 1, 0])


def test_distance_by_hand():
    tokens = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0], [6.0, 4.0]])
    np.testing.assert_allclose(cloud().distance(tokens), [0, 1, 3, 5])


def test_surprise_by_hand():
    assert surprise(np.array([0.5, 0.25, np.nan])) == pytest.approx(1.5 * np.log(2))
    assert surprise(np.array([0.0])) == pytest.approx(-np.log(1e-4))
    assert surprise(np.array([np.nan])) == surprise(np.array([])) == 0


def test_score_by_hand():
    tokens = np.array([[[2.0, 0.0], [0.0, 3.0]], [[0.0, 6.0], [0.0, 0.0]]])
    explained, surprises = np.array([[0.8, 0.6], [0.9, 0.8]]), np.array([[0, 0], [2.0, 3.0]])
    signals = usual().signals(tokens, explained, surprises)
    # Distances 1 and 6, then 3 and 0; scaled 0 and 2, then 2 and -1.
    np.testing.assert_allclose(usual().distance_score(signals), [2, 2])
    # Shortfalls of 0 and none, then 2 and 0 deviations; surprises of 0 and 2, then 0 and 4.
    np.testing.assert_allclose(usual().misfit_score(signals), [0 + 4 / 2, 4 / 2 + 16 / 2])
    # Over their limits 2 and 5 the larger counts.
    np.testing.assert_allclose(usual().score(signals), [1, 2])
    assert not usual().is_unusual(tokens[:, 0], explained[:, 0], surprises[:, 0])
    assert usual().is_unusual(tokens[:, 1], explained[:, 1], surprises[:, 1])
    assert usual(limit=0.5).is_unusual(tokens[:, 0], explained[:, 0], surprises[:, 0])


def test_surprise_of_many_images_is_that_of_each(tiny_study):
    """By the tables of the study, against what its traces say."""
    layer = tiny_study.n_layers
    predictors = predictors_of_layer(
        read_table(tiny_study.path / CONCEPTS), read_table(tiny_study.path / EDGES), layer
    )
    rows = tiny_study.rows("held-out")
    inputs = SparseInputs(tiny_study.codes(layer - 1).take(rows), binary=True)
    found = surprise_of_rows(predictors, inputs, tiny_study.codes(layer).take(rows))
    expected = [surprises(trace_row(tiny_study, int(row)))[layer - 1] for row in rows]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.max() > 0


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

    def flagged(tokens, shares, surprises):
        return np.mean(known.score(known.signals(tokens, shares, surprises)) > known.limit)

    own, off_the_plane, far_along_it = (planted(rng, 500) for _ in range(3))
    off_the_plane[1] += 0.1 * rng.standard_normal((500, 20))  # in one layer of three
    far_along_it[2] = 5 + 4 * (far_along_it[2] - 5)
    shares, surprises = fits(rng, 500)
    assert flagged(own, shares, surprises) < 0.02
    assert flagged(off_the_plane, shares, surprises) > 0.9
    assert flagged(far_along_it, shares, surprises) > 0.8
    # Where tokens lie as usual, concepts that do not fit give an image away.
    assert flagged(own, shares - 0.3, surprises) > 0.95
    assert flagged(own, shares, surprises + 1) > 0.95
    # A code that explains more than usual, of concepts that were to be expected, is no misfit.
    assert flagged(own, shares + 0.15, surprises - 0.8) < 0.01


def test_rounding_is_not_another_kind_of_image():
    """A first layer may give nearly the same token for every image."""
    rng = np.random.default_rng(0)
    tokens = 10 + 1e-6 * rng.standard_normal((300, 8))
    fitted = Cloud.fit(tokens)
    signals = Signals(fitted.distance(tokens)[None], *at_ease(1, 300))
    known = Usual.measure([fitted], signals, signals)
    assert not known.is_unusual(tokens[0][None] + 1e-5, [0.9], [0.5])
    assert known.is_unusual(tokens[0][None] + 1, [0.9], [0.5])
    nothing = Cloud.fit(np.zeros((20, 8)))
    assert (nothing.distance(np.zeros((2, 8))) == 0).all()


def test_it_survives_being_stored():
    known = measured(np.random.default_rng(1))
    again = Usual.from_tensors(known.to_tensors())
    rng = np.random.default_rng(2)
    tokens, others = planted(rng, 30), fits(rng, 30)
    scores = [each.score(each.signals(tokens, *others)) for each in (known, again)]
    np.testing.assert_array_equal(*scores)
    assert dataclasses.replace(again, clouds=known.clouds) == known


@pytest.mark.parametrize(
    ("name", "change", "error"),
    [
        ("mean", lambda a: a[:, :-1], "mean has shape"),
        ("limit", lambda a: a * np.nan, "limit .* not finite"),
        ("deviations", lambda a: a * 0, "deviations is not above 0"),
        ("surprise_spread", lambda a: a - 1, "surprise_spread is not above 0"),
        ("misfit_limit", lambda a: a * 0, "misfit_limit is not above 0"),
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
        usual().is_unusual(np.zeros((2, 3)), [0.9] * 2, [0.5] * 2)


def test_no_tune_images():
    nothing = Signals(*[np.empty((1, 0))] * 3)
    with pytest.raises(DataError, match="There are no tune images"):
        Usual.measure([cloud()], nothing, nothing)
