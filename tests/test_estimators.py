"""The estimators among those of scikit-learn: its own checks, pipelines, searches, copies."""

from __future__ import annotations

import pickle

import checked_estimators
import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from cgraph.balanced_logistic import BalancedBagLogistic
from cgraph.errors import CgraphError, ConfigError, DataError
from cgraph.estimators import check_counts, check_finite, seed_of
from cgraph.ksvd import KSVD
from cgraph.sae import BatchTopKSAE, ReluSAE, TopKSAE

torch = pytest.importorskip("torch")

CHECKS = checked_estimators.check_names()


@pytest.fixture(autouse=True, scope="module")
def _one_torch_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("name", "place", "check"),
    CHECKS,
    ids=[f"{name}-{place}-{check}" for name, place, check in CHECKS],
)
def test_check_of_scikit_learn_passes(name, place, check):
    """None is skipped, and none is expected to fail."""
    result = checked_estimators.reports()[name][place]
    assert result["check"] == check
    assert result["status"] == "passed", result["error"]


def test_no_check_was_left_out():
    reports = checked_estimators.reports()
    assert {name: len(report) for name, report in reports.items()} == {
        name: sum(case[0] == name for case in CHECKS) for name in checked_estimators.ESTIMATORS
    }
    assert all(len(report) >= 40 for report in reports.values())


def _two_groups(n_samples=240, n_features=12, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.random(n_samples) < 0.3
    X = rng.normal(size=(n_samples, n_features))
    X[:, 0] += 3 * y
    return X, np.where(y, "rare", "common")


def _dictionaries():
    return [
        KSVD(8, max_nnz=3, max_iter=4),
        TopKSAE(8, max_nnz=3, max_steps=60, batch_size=64),
        BatchTopKSAE(8, max_nnz=4, mean_nnz=3, max_steps=60, batch_size=64),
        ReluSAE(8, max_nnz=4, mean_nnz=3, max_steps=60, batch_size=64),
    ]


@pytest.mark.parametrize("dictionary", _dictionaries(), ids=lambda model: type(model).__name__)
def test_pipeline_from_vectors_to_labels(dictionary):
    X, y = _two_groups()
    # Eight atoms get hold of what tells the groups apart from most starts, not from all.
    dictionary = clone(dictionary).set_params(random_state=1)
    steps = StandardScaler(), dictionary, BalancedBagLogistic(C=20)
    pipeline = make_pipeline(*steps).fit(X[:160], y[:160])
    assert pipeline.score(X[160:], y[160:]) > 0.7
    codes = pipeline[:-1].transform(X)
    assert sp.issparse(codes) and codes.shape == (240, 8)
    assert pipeline[:2].inverse_transform(codes).shape == X.shape
    names = pipeline[:-1].get_feature_names_out().tolist()
    assert names == [f"{type(dictionary).__name__.lower()}{atom}" for atom in range(8)]
    np.testing.assert_array_equal(
        pipeline.predict(X), pipeline[-1].predict(dictionary.transform(pipeline[0].transform(X)))
    )


@pytest.mark.parametrize("dictionary", _dictionaries(), ids=lambda model: type(model).__name__)
def test_search_over_a_pipeline(dictionary):
    X, y = _two_groups()
    name = type(dictionary).__name__.lower()
    pipeline = make_pipeline(dictionary, FunctionTransformer(), BalancedBagLogistic(n_bags=5))
    grid = {f"{name}__n_components": [4, 8], "balancedbaglogistic__C": [1e-3, 20]}
    search = GridSearchCV(pipeline, grid, scoring="roc_auc", cv=3, error_score="raise").fit(X, y)
    assert len(search.cv_results_["params"]) == 4
    # With so strong a penalty no feature is left, and every sample gets the same score.
    assert search.best_params_["balancedbaglogistic__C"] == 20
    assert search.cv_results_["mean_test_score"].min() == 0.5
    assert search.best_score_ > 0.7


@pytest.mark.parametrize(
    "model",
    [*_dictionaries(), BalancedBagLogistic(C=20, world="prior")],
    ids=lambda model: type(model).__name__,
)
def test_pickled_and_cloned(model):
    X, y = _two_groups(120)
    model.fit(X, y)
    method = "transform" if hasattr(model, "transform") else "decision_function"
    same = pickle.loads(pickle.dumps(model))
    expected, found = (getattr(each, method)(X) for each in (model, same))
    if sp.issparse(expected):
        expected, found = expected.toarray(), found.toarray()
    np.testing.assert_array_equal(found, expected)
    assert same.get_params() == model.get_params()
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert not [name for name in vars(copy) if name.endswith("_")]
    other = copy.set_params(random_state=5)
    assert (other.random_state, model.random_state) == (5, 0)


@pytest.mark.parametrize(
    "model",
    [KSVD(max_iter=2), TopKSAE(max_steps=5), BalancedBagLogistic()],
    ids=lambda model: type(model).__name__,
)
def test_names_of_features_are_kept_and_asked_for(model):
    pd = pytest.importorskip("pandas")
    X, y = _two_groups(80, 3)
    frame = pd.DataFrame(X, columns=["stripes", "dots", "rings"])
    model.fit(frame, y)
    assert model.feature_names_in_.tolist() == ["stripes", "dots", "rings"]
    method = "transform" if hasattr(model, "transform") else "predict"
    with pytest.raises(DataError, match="feature names should match"):
        getattr(model, method)(frame.rename(columns={"dots": "spots"}))


@pytest.mark.parametrize("model", [KSVD(max_iter=2), TopKSAE(max_steps=5)])
def test_as_many_atoms_as_features_unless_told(model):
    X, _ = _two_groups(80, 3)
    assert clone(model).fit(X).components_.shape == (3, 3)
    assert clone(model).set_params(n_components=5).fit(X).components_.shape == (5, 3)


def test_random_states():
    assert seed_of(7) == 7
    assert seed_of(np.int64(7)) == 7
    assert seed_of(np.random.RandomState(3)) == seed_of(np.random.RandomState(3))
    state = np.random.RandomState(3)
    assert seed_of(state) != seed_of(state)
    assert seed_of(None) != seed_of(None)
    for wrong in (-1, "seed", np.random.default_rng(0)):
        with pytest.raises(ConfigError, match=r"random_state is .*at least 0.*or None"):
            seed_of(wrong)


def test_a_random_state_that_goes_on_gives_another_fit():
    X, _ = _two_groups(80, 6)
    state = np.random.RandomState(0)
    first, second = (KSVD(4, max_iter=2, random_state=state).fit(X) for _ in range(2))
    assert not np.array_equal(first.components_, second.components_)


@pytest.mark.parametrize("value", [0, -3, 2.5, "two", True, None])
def test_counts_are_whole_numbers(value):
    with pytest.raises(ConfigError, match=r"max_nnz is .*(whole number of )?at least 1"):
        check_counts(KSVD(max_nnz=value), "max_iter", "max_nnz")


@pytest.mark.parametrize("make", [np.asarray, sp.csr_array])
def test_where_numbers_are_not_finite(make):
    matrix = np.eye(5)
    check_finite(make(matrix), "X")
    matrix[3, 1], matrix[4, 4] = np.inf, np.nan
    with pytest.raises(DataError, match=r"X has values .* in 2 of 5 samples, the first in row 3"):
        check_finite(make(matrix), "X")


def test_errors_are_those_of_cgraph_and_of_scikit_learn():
    with pytest.raises(CgraphError) as caught:
        KSVD(2).fit(np.ones((4, 2), dtype=complex) * 1j)
    assert isinstance(caught.value, ValueError)
    with pytest.raises(DataError, match="Sparse data was passed") as caught:
        TopKSAE(2).fit(sp.csr_array(np.eye(3)))
    assert isinstance(caught.value, TypeError)
    with pytest.raises(ValueError, match="n_components is 0"):
        TopKSAE(0).fit(np.eye(3))
