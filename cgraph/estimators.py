"""What the estimators share: they follow scikit-learn's conventions and speak to people.

`cgraph.ksvd.KSVD`, the autoencoders of `cgraph.sae` and
`cgraph.balanced_logistic.BalancedBagLogistic` can be put into pipelines, searched over and cloned
like any estimator of scikit-learn. Data are checked by scikit-learn itself, which also records the
names of features; what it refuses becomes a `DataError`.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from cgraph.errors import ConfigError, DataError

RandomState = int | np.random.RandomState | None


class _UnsuitableType(DataError, TypeError):
    """Data of a kind that cannot become numbers; scikit-learn wants a `TypeError` there."""


class AtomsMixin(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """What fits of a dictionary have in common: float32 codes, and a decoder that is linear."""

    components_: NDArray[np.float32]
    n_features_in_: int

    @property
    def _n_features_out(self) -> int:
        # Read by scikit-learn, which names the atoms ksvd0, ksvd1, … by it.
        return len(self.components_)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def inverse_transform(
        self, X: ArrayLike | sparse.sparray | sparse.spmatrix
    ) -> NDArray[np.float32]:
        """Decode: codes times atoms.

        Parameters
        ----------
        X : sparse or dense matrix of shape (n_samples, n_components)
            Codes as given by `transform`.

        Returns
        -------
        float32 ndarray of shape (n_samples, n_features)
            The prepared vectors that the codes stand for.

        Raises
        ------
        DataError
            If X has not one column for each atom.
        """
        check_is_fitted(self, "components_")
        codes: Any = X if sparse.issparse(X) else np.asarray(X, dtype=np.float32)
        if codes.ndim != 2 or codes.shape[1] != len(self.components_):
            raise DataError(
                f"Codes have the shape {codes.shape}; they need one row for each sample and one "
                f"column for each of the {len(self.components_)} atoms. Give what transform gives."
            )
        return np.asarray(codes @ self.components_, dtype=np.float32)


def checked(
    estimator: BaseEstimator,
    X: Any,
    y: Any = None,
    *,
    reset: bool,
    dtype: type = np.float32,
    accept_sparse: bool = False,
) -> Any:
    """Check data as scikit-learn does and give them in the type that is computed with.

    Parameters
    ----------
    estimator : estimator
        What the data are for; gets `n_features_in_`, and `feature_names_in_` if X has names.
    X : array-like or sparse matrix of shape (n_samples, n_features)
    y : array-like of shape (n_samples,), optional
        Target. Left out where the estimator has none.
    reset : bool
        Whether the data are those of `fit`; if not, they must have the features of `fit`.
    dtype : type
        Type of the numbers that are returned.
    accept_sparse : bool
        Whether X may be sparse; it is returned as sparse rows then.

    Returns
    -------
    X : ndarray or sparse rows of shape (n_samples, n_features)
        In row order, contiguous.
    y : ndarray of shape (n_samples,)
        Only if the estimator needs one and `reset` is set.

    Raises
    ------
    DataError
        If the data are not a finite matrix of real numbers with at least one row and column, have
        other features than in `fit`, are sparse where that is not possible, or have no fitting y.
    """
    options: dict[str, Any] = {"reset": reset, "dtype": dtype, "ensure_all_finite": False}
    options |= {"accept_sparse": "csr"} if accept_sparse else {"order": "C"}
    needs_target = reset and estimator.__sklearn_tags__().target_tags.required
    try:
        _check_width(estimator, X, reset)
        # A number too large for the type becomes infinite and is refused below.
        with np.errstate(over="ignore"):
            found = validate_data(estimator, X, **({"y": y} if needs_target else {}), **options)
    except DataError:
        raise
    except TypeError as error:
        raise _UnsuitableType(str(error)) from error
    except ValueError as error:
        raise DataError(str(error)) from error
    matrix = found[0] if needs_target else found
    check_finite(matrix, "X")
    return found


def _check_width(estimator: BaseEstimator, X: Any, reset: bool) -> None:
    # Lists are left to scikit-learn, whose sentence is shorter by the advice.
    shape: tuple[int, ...] = getattr(X, "shape", ())
    if not reset and len(shape) == 2 and shape[1] not in (0, estimator.n_features_in_):
        # The first half of the sentence is scikit-learn's, word by word.
        raise DataError(
            f"X has {shape[1]} features, but {type(estimator).__name__} is expecting "
            f"{estimator.n_features_in_} features as input. Give samples made in the same way as "
            "those of fit."
        )


def check_finite(matrix: Any, name: str) -> None:
    """Refuse a dense or sparse matrix that holds a missing or infinite number.

    Parameters
    ----------
    matrix : ndarray or sparse rows of shape (n_samples, n_features)
    name : str
        What it is, for the message.

    Raises
    ------
    DataError
        If a number is not finite.
    """
    if sparse.issparse(matrix):
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        bad = np.unique(rows[~np.isfinite(matrix.data)])
    else:
        bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if bad.size:
        raise DataError(
            f"{name} has values that are not finite (NaN or infinite) in {bad.size} of "
            f"{matrix.shape[0]} samples, the first in row {bad[0]}. Leave these samples out, or "
            "compute them again."
        )


def check_counts(estimator: BaseEstimator, *names: str) -> None:
    """Refuse settings that are not a whole number of at least 1.

    Raises
    ------
    ConfigError
        If one is not; it is named.
    """
    for name in names:
        value = getattr(estimator, name)
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise ConfigError(f"{name} is {value!r}; it must be a whole number of at least 1.")
        if value < 1:
            raise ConfigError(f"{name} is {value}; it must be at least 1.")


def seed_of(random_state: RandomState) -> int:
    """Return the seed that a `random_state` stands for.

    Parameters
    ----------
    random_state : int, RandomState or None
        A whole number is the seed itself; of a `numpy.random.RandomState` the next number is
        taken; None takes one of NumPy's global state, so that every call gives another.

    Returns
    -------
    int
        At least 0.

    Raises
    ------
    ConfigError
        If it is something else, or negative.
    """
    if isinstance(random_state, Integral) and random_state >= 0:
        return int(random_state)
    try:
        return int(check_random_state(random_state).randint(2**31 - 1))
    except ValueError:
        raise ConfigError(
            f"random_state is {random_state!r}; it must be a whole number of at least 0, a "
            "numpy.random.RandomState or None. A number gives the same result every time."
        ) from None
