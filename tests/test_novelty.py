import json

import numpy as np
import pytest

from cgraph.errors import DataError
from cgraph.novelty import Usual, explained_share


def test_explained_share_by_hand():
    mean = np.array([1.0, 0.0])
    tokens = np.array([[3.0, 0.0], [1.0, 2.0], [1.0, 0.0]])
    decoded = np.array([[2.0, 0.0], [1.0, 2.0], [5.0, 0.0]])
    np.testing.assert_allclose(explained_share(tokens, decoded, mean), [0.75, 1, 0])


def test_score_by_hand():
    usual = Usual((0.9, 0.5), (0.1, 0.2), (0.8, 0.3), (1.0, 0.7), limit=1.4, false_alarms=0.0)
    assert usual.score([0.9, 0.5]) == pytest.approx(0)
    assert usual.score([0.8, 0.1]) == pytest.approx((1 + 2) / 2)
    np.testing.assert_allclose(usual.score([[0.9, 0.8], [0.5, 0.1]]), [0, 1.5])
    assert usual.is_unusual([0.8, 0.1]) and not usual.is_unusual([0.8, 0.2])
    assert not usual.is_unusual([1.0, 1.0])  # explained better than usual


def test_few_of_its_own_kind_are_flagged_and_all_of_another():
    rng = np.random.default_rng(0)
    centre = np.linspace(0.95, 0.6, 12)[:, None]

    def shares(n, lower=0.0):
        return centre - lower + 0.05 * rng.standard_normal((12, n))

    usual = Usual.measure(shares(1000), shares(2000))
    assert 0 < usual.false_alarms < 0.015
    assert np.mean(usual.score(shares(2000)) > usual.limit) < 0.015
    assert np.mean(usual.score(shares(300, lower=0.1)) > usual.limit) > 0.99
    np.testing.assert_allclose(usual.median, centre[:, 0], atol=0.01)
    np.testing.assert_allclose(usual.low, centre[:, 0] - 1.645 * 0.05, atol=0.02)


def test_layers_that_explain_everything_do_not_decide_alone():
    tune = np.vstack([np.ones(100), np.linspace(0.5, 0.7, 100)])
    usual = Usual.measure(tune, tune)
    assert np.isfinite(usual.score([1.0, 0.6])) and not usual.is_unusual([1 - 1e-6, 0.6])


def test_it_survives_json():
    usual = Usual.measure(np.random.default_rng(1).random((3, 50)), np.empty((3, 0)))
    assert usual.false_alarms == 0
    assert Usual.from_dict(json.loads(json.dumps(usual.to_dict()))) == usual


def test_no_tune_images():
    with pytest.raises(DataError, match="There are no tune images"):
        Usual.measure(np.empty((3, 0)), np.ones((3, 4)))
