import numpy as np
import pytest
from sklearn.metrics import matthews_corrcoef

from cgraph.coactivity import co_active, joint_counts, phi
from cgraph.codes import Codes


def codes_of(labels):
    labels = np.asarray(labels, dtype=bool)
    n_atoms = labels.shape[1]
    indices = np.where(labels, np.arange(n_atoms), -1)
    return Codes.from_padded(indices, labels.astype(np.float32), n_atoms)


@pytest.fixture(scope="module")
def labels():
    rng = np.random.default_rng(3)
    drawn = rng.random((600, 12)) < rng.uniform(0.05, 0.5, 12)
    drawn[:, 4] = drawn[:, 0] & (rng.random(600) < 0.8)  # goes with 0
    drawn[:, 7] = ~drawn[:, 0] & (rng.random(600) < 0.5)  # avoids 0
    drawn[:, 9] = False
    drawn[:, 10] = True
    return drawn


def test_correlations_are_those_of_scikit_learn(labels):
    expected = [matthews_corrcoef(labels[:, 0], labels[:, other]) for other in range(12)]
    np.testing.assert_allclose(phi(codes_of(labels), 0), expected, atol=1e-12)


def test_joint_counts_by_brute_force(labels):
    counts = [
        sum(a and b for a, b in zip(labels[:, 2], column, strict=True)) for column in labels.T
    ]
    assert joint_counts(codes_of(labels), 2).tolist() == counts


def test_others_are_chosen_on_one_set_and_measured_on_another(labels):
    first, second = labels[:300], labels[300:]
    together, apart = co_active(codes_of(first), codes_of(second), 0, 3)
    assert together[0].index == 4 and apart[0].index == 7
    ranks = {n: matthews_corrcoef(first[:, 0], first[:, n]) for n in range(1, 12)}
    best = sorted(ranks, key=lambda n: -ranks[n])
    assert [o.index for o in together] == [n for n in best[:3] if ranks[n] > 0]
    assert [o.index for o in apart] == [n for n in best[::-1][:3] if ranks[n] < 0]
    for other in (*together, *apart):
        mine, its = second[:, 0], second[:, other.index]
        assert other.n_both == (mine & its).sum()
        assert other.share == pytest.approx(its[mine].mean())
        assert other.lift == pytest.approx(its[mine].mean() / its.mean())
        assert other.correlation == pytest.approx(matthews_corrcoef(mine, its))


def test_the_concept_itself_and_constant_ones_are_not_listed(labels):
    together, apart = co_active(codes_of(labels), codes_of(labels), 0, 12)
    assert not {0, 9, 10} & {other.index for other in (*together, *apart)}


def test_without_an_image_to_measure_on_figures_are_unknown(labels):
    silent = labels[300:].copy()
    silent[:, 0] = False
    together, _ = co_active(codes_of(labels[:300]), codes_of(silent), 0, 1)
    assert together[0].n_both == 0
    assert np.isnan([together[0].share, together[0].lift]).all()


def test_a_dead_concept_goes_with_nothing(labels):
    assert co_active(codes_of(labels), codes_of(labels), 9, 5) == ([], [])
