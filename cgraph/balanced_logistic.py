"""One concept from others as a scikit-learn classifier: Figure 1 of the paper.

With T balanced bags B_t, each as many rows drawn with replacement from the positives as from the
negatives, and features x of weights θ::

    θ_t   = argmin  Σ_{i ∈ B_t} bce(σ(b + x_i · θ), y_i) + μ ‖θ‖₁        t = 1 … T
    rate  = share of the T bags in which θ_t is not zero                 for each feature
    θ, b  = the same fit on one more bag, of the features with rate > keep_share alone

`cgraph.bagging` does the same for all concepts of a layer at once; this is the form for a single
target, for pipelines, searches and comparisons.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted

from cgraph.bagging import draw_bags
from cgraph.errors import ConfigError, DataError
from cgraph.estimators import RandomState, check_counts, checked, seed_of
from cgraph.logistic import MAX_ITER, TOLERANCE, L1Fit, fit_l1_logistic

PENALTY_UNITS = ("per-positive", "absolute")
WORLDS = ("balanced", "prior")


class BalancedBagLogistic(ClassifierMixin, BaseEstimator):
    """Sparse logistic model of a rare yes-or-no target, from balanced bags.

    The features that most bags agree on are kept and fitted once more. Equal inputs, settings and
    seed give equal bytes on one machine.

    Parameters
    ----------
    C : float
        Inverse strength of the l1 penalty μ, in the unit named by `penalty_unit`.
    penalty_unit : {"per-positive", "absolute"}
        ``per-positive``: μ = positives in a bag / C, so that rare and common targets keep
        comparable numbers of features. ``absolute``: μ = 1 / C, what C is to
        `sklearn.linear_model.LogisticRegression` and 1/μ to the paper.
    n_bags : int
        T, the number of bags on which features are selected.
    keep_share : float
        A feature is kept when its weight is nonzero in more than this share of the bags.
    bag_cap : int, optional
        Most positives (and as many negatives) drawn into a bag. None: as many as there are, as in
        the paper.
    world : {"balanced", "prior"}
        What probabilities speak of. ``balanced``: a world in which half the samples are positive,
        as in the bags. ``prior``: the world of `fit`, of prevalence π; the intercept is moved by
        log(π / (1 − π)) (King and Zeng 2001, "Logistic regression in rare events data").
    tol : float
        Worst violation of the optimality conditions that a fit may end with, in units of μ.
    max_iter : int
        Most Newton steps of a fit.
    random_state : int, RandomState or None
        Seed of the bags. None draws others each time.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        The two labels, sorted; the second is the positive one.
    coef_ : float64 ndarray of shape (1, n_features)
        θ, exactly zero for features that are not kept or got no weight.
    intercept_ : float64 ndarray of shape (1,)
        b, in the world that was asked for.
    selection_rates_ : float64 ndarray of shape (n_features,)
        Share of the bags in which the weight of each feature was not zero, in [0, 1].
    penalty_ : float
        μ.
    bag_positives_ : int
        Positives drawn into each bag, half its rows.
    n_iter_ : int
        Newton steps of the fit that took most.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Their names, if X has any.

    Examples
    --------
    >>> import numpy as np
    >>> from cgraph.balanced_logistic import BalancedBagLogistic
    >>> labels = np.random.default_rng(0).random((500, 8)) < 0.2
    >>> model = BalancedBagLogistic(C=20).fit(labels, labels[:, 1] | labels[:, 2])
    >>> np.flatnonzero(model.coef_[0])
    array([1, 2])
    """

    def __init__(
        self,
        C: float = 250.0,
        *,
        penalty_unit: Literal["per-positive", "absolute"] = "per-positive",
        n_bags: int = 20,
        keep_share: float = 0.8,
        bag_cap: int | None = None,
        world: Literal["balanced", "prior"] = "balanced",
        tol: float = TOLERANCE,
        max_iter: int = MAX_ITER,
        random_state: RandomState = 0,
    ) -> None:
        self.C = C
        self.penalty_unit = penalty_unit
        self.n_bags = n_bags
        self.keep_share = keep_share
        self.bag_cap = bag_cap
        self.world = world
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.input_tags.sparse = True
        return tags

    def fit(self, X: ArrayLike | sparse.sparray, y: ArrayLike) -> BalancedBagLogistic:
        """Select features on the bags and fit those that are kept.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Labels or coefficients, of any sign.
        y : array-like of shape (n_samples,)
            Two labels of any type; the greater one is the positive one.

        Returns
        -------
        BalancedBagLogistic
            The estimator itself.

        Raises
        ------
        ConfigError
            If a setting is out of range.
        DataError
            If X is not a finite matrix, or y has not two labels or another length.

        Warns
        -----
        ConvergenceWarning
            If `max_iter` came before `tol` in a fit.
        """
        self._check_settings()
        matrix, target = checked(self, X, y, reset=True, dtype=np.float64, accept_sparse=True)
        self.classes_, positive = _two_classes(target)
        rows = sparse.csr_array(matrix)
        positives = np.flatnonzero(positive)
        n_draw = min(len(positives), self.bag_cap or len(positives))
        self.bag_positives_ = n_draw
        self.penalty_ = (n_draw if self.penalty_unit == "per-positive" else 1) / self.C

        rng = np.random.default_rng(seed_of(self.random_state))
        bags = draw_bags(positives, len(positive), n_draw, self.n_bags + 1, rng)
        fits = [self._fit_bag(rows, positive, bag) for bag in bags[:-1]]
        n_used = np.count_nonzero([fit.weights for fit in fits], axis=0)
        self.selection_rates_ = n_used / self.n_bags
        # The small number keeps 16 of 20 from exceeding 0.8 by rounding.
        kept = np.flatnonzero(n_used > self.keep_share * self.n_bags + 1e-9)
        self.coef_ = np.zeros((1, rows.shape[1]))
        # Without a feature, a balanced bag has the log-odds 0.
        self.intercept_ = np.zeros(1)
        if len(kept):
            fits.append(self._fit_bag(rows[:, kept], positive, bags[-1]))
            self.coef_[0, kept] = fits[-1].weights
            self.intercept_[0] = fits[-1].intercept
        if self.world == "prior":
            self.intercept_ += logit(len(positives) / len(positive))
        # A fit whose features all stay out ends before its first step; scikit-learn counts from 1.
        self.n_iter_ = max(1, *(fit.n_iter for fit in fits))
        self._warn_of(fits)
        return self

    def decision_function(self, X: ArrayLike | sparse.sparray) -> NDArray[np.float64]:
        """Return the log-odds of the positive label.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        float64 ndarray of shape (n_samples,)
            In the world that was asked for; above 0 the positive label is predicted.

        Raises
        ------
        DataError
            If X is not a finite matrix with the features of `fit`.
        """
        check_is_fitted(self)
        rows = checked(self, X, reset=False, dtype=np.float64, accept_sparse=True)
        return np.asarray(rows @ self.coef_[0] + self.intercept_[0])

    def predict_proba(self, X: ArrayLike | sparse.sparray) -> NDArray[np.float64]:
        """Return the probability of each label.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        float64 ndarray of shape (n_samples, 2)
            In the order of `classes_`, in [0, 1], of the world that was asked for; not calibrated.

        Raises
        ------
        DataError
            If X is not a finite matrix with the features of `fit`.
        """
        log_odds = self.decision_function(X)
        return np.column_stack([expit(-log_odds), expit(log_odds)])

    def predict(self, X: ArrayLike | sparse.sparray) -> NDArray[Any]:
        """Return the more probable label of each sample.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            Entries of `classes_`; the first at equal probability.

        Raises
        ------
        DataError
            If X is not a finite matrix with the features of `fit`.
        """
        positive = self.decision_function(X) > 0
        return np.asarray(self.classes_[positive.astype(np.intp)])

    def _fit_bag(
        self, X: sparse.csr_array, positive: NDArray[np.bool_], bag: NDArray[np.int64]
    ) -> L1Fit:
        # A row drawn n times is a row of weight n.
        rows, counts = np.unique(bag, return_counts=True)
        return fit_l1_logistic(
            X[rows],
            positive[rows],
            self.penalty_,
            sample_weight=counts,
            tolerance=self.tol,
            max_iter=self.max_iter,
        )

    def _warn_of(self, fits: list[L1Fit]) -> None:
        stopped = [fit for fit in fits if not fit.converged]
        if stopped:
            worst = max(fit.violation for fit in stopped)
            warnings.warn(
                f"{len(stopped)} of {len(fits)} fits stopped at max_iter, {self.max_iter}, with a "
                f"violation of up to {worst:.2g}; tol is {self.tol:g}. Raise max_iter or tol, or "
                "bring the features to a similar scale.",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _check_settings(self) -> None:
        check_counts(self, "n_bags", "max_iter")
        if self.bag_cap is not None:
            check_counts(self, "bag_cap")
        for name in ("C", "tol"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ConfigError(f"{name} is {value}; it must be a number above 0.")
        if not 0 <= self.keep_share < 1:
            raise ConfigError(
                f"keep_share is {self.keep_share}; it must be at least 0 and below 1, a share of "
                "the bags. 0 keeps what any bag used."
            )
        for name, allowed in (("penalty_unit", PENALTY_UNITS), ("world", WORLDS)):
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"{name} is {getattr(self, name)!r}. Allowed: {', '.join(allowed)}."
                )


def _two_classes(y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the two labels, and whether each row has the second."""
    try:
        kind = type_of_target(y, input_name="y", raise_unknown=True)
    except ValueError as error:
        raise DataError(f"{error} Give one label of two for each row.") from error
    if kind != "binary":
        # The first two sentences are scikit-learn's, word by word.
        raise DataError(
            f"Only binary classification is supported. The type of the target is {kind}. Fit one "
            "model for each class, for instance with sklearn.multiclass.OneVsRestClassifier."
        )
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise DataError(
            f"y has one class only, {classes.tolist()}: a bag needs positives and negatives. Leave "
            "this target out, or add samples."
        )
    return classes, codes == 1
