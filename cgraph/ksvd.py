"""K-SVD: a dictionary learned for sparse codes found by orthogonal matching pursuit.

With tokens Z (one a row, already centred), codes X and unit-norm atoms D (rows)::

    minimise  ‖Z - X D‖²   over X and D   subject to   ‖x_i‖₀ ≤ max_nnz,  ‖d_j‖ = 1
                                                       (and X ≥ 0 if asked)

(Aharon, Elad and Bruckstein 2006, "K-SVD: an algorithm for designing overcomplete dictionaries
for sparse representation"; non-negative: the same authors 2005, "K-SVD and its non-negative
variant for dictionary design"). One iteration codes all tokens by pursuit, then passes over the
atoms. Let E be what the tokens that use atom j leave unexplained without it; the best rank-one
x dᵀ in place of E is its first pair of singular vectors. By default a step of the power method
stands for it (Rubinstein, Zibulevsky and Elad 2008)::

    d ← Eᵀ x / ‖Eᵀ x‖,    x ← E d     (or max(E d, 0))

Each of the two assignments is optimal when the other variable is held, so a pass never raises the
error. A pursuit may, as it is greedy: an iteration that ends with a larger error than the one
before is done again, and then every token keeps its old code where that is the better one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from cgraph import ksvd_steps as steps
from cgraph.codes import Codes
from cgraph.errors import ConfigError
from cgraph.estimators import AtomsMixin, RandomState, check_counts, checked, seed_of
from cgraph.pursuit import omp

Record = dict[str, float]


class KSVD(AtomsMixin, BaseEstimator):
    """Dictionary learned by K-SVD; codes have at most `max_nnz` nonzeros.

    Inputs are prepared vectors: this class does not centre them. Without centring, one atom
    becomes the mean and is active everywhere. Equal inputs, settings and seed give equal bytes
    on one machine, provided that the number of BLAS threads is the same. A scikit-learn estimator:
    it has its place in pipelines and searches.

    Parameters
    ----------
    n_components : int, optional
        Number of atoms. None: as many as X has features.
    max_nnz : int
        Largest number of nonzeros of a code. One above the number of atoms or of features has no
        effect: there are no more independent atoms than that.
    max_iter : int
        Largest number of iterations.
    n_sweeps : int
        Passes over the atoms in each iteration.
    power_steps : int
        Steps of the power method for each atom of a pass; several come closer to the singular
        vectors.
    nonnegative : bool
        Whether coefficients must not be negative.
    residual_tol : float
        A code is not made longer once the norm of its residual is at most this share of the norm
        of its token. 0 leaves `max_nnz` as the only limit.
    min_use : int
        An atom that fewer tokens use is replaced by a badly represented token, if that lowers the
        error; for an unused atom it always does.
    max_coherence : float
        Of two atoms with a larger absolute cosine (with non-negative codes: cosine) the less used
        one is replaced likewise; its tokens go over to the other.
    tol : float
        The fit ends when an iteration does not raise the explained variance by more.
    exact_update : bool
        Whether atoms are updated by a singular value decomposition instead of a power step. Slow;
        for signed codes only.
    random_state : int, RandomState or None
        Seed of the choice of starting atoms. None takes another one each time.

    Attributes
    ----------
    components_ : float32 ndarray of shape (n_components, n_features)
        Atoms, of unit norm.
    history_ : list of dict
        One entry an iteration: `iteration` (from 1), `explained_variance_coded` (after the
        coding), `explained_variance` (after the update of the atoms; never falls but for float
        rounding), `kept` (tokens that kept an old code), `unused` (atoms without a token after
        the update), `replaced` (atoms replaced at the end of the iteration; none in the last).
        Explained variances are relative to the squared norm of X and belong to the codes of the
        fit; `transform` codes afresh and finds slightly worse ones.
    n_iter_ : int
        Iterations made.
    stopped_because_ : str
        A sentence for people.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Their names, if X has any.
    """

    history_: list[Record]
    n_iter_: int
    stopped_because_: str

    def __init__(
        self,
        n_components: int | None = None,
        *,
        max_nnz: int = 10,
        max_iter: int = 10,
        n_sweeps: int = 1,
        power_steps: int = 1,
        nonnegative: bool = False,
        residual_tol: float = 0.0,
        min_use: int = 4,
        max_coherence: float = 0.99,
        tol: float = 1e-4,
        exact_update: bool = False,
        random_state: RandomState = 0,
    ) -> None:
        self.n_components = n_components
        self.max_nnz = max_nnz
        self.max_iter = max_iter
        self.n_sweeps = n_sweeps
        self.power_steps = power_steps
        self.nonnegative = nonnegative
        self.residual_tol = residual_tol
        self.min_use = min_use
        self.max_coherence = max_coherence
        self.tol = tol
        self.exact_update = exact_update
        self.random_state = random_state

    def fit(
        self,
        X: ArrayLike,
        y: None = None,
        *,
        on_iteration: Callable[[int, int, float], None] | None = None,
    ) -> KSVD:
        """Learn the atoms.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Prepared vectors.
        y : None
            Ignored.
        on_iteration : callable, optional
            Called after each iteration with its number (from 1), `max_iter` and the explained
            variance. What it raises stops the fit.

        Returns
        -------
        KSVD
            The estimator itself.

        Raises
        ------
        ConfigError
            If a setting is out of range or two contradict each other.
        DataError
            If X is not a finite dense matrix, or has fewer usable samples than atoms.
        """
        self._check_settings()
        tokens = checked(self, X, reset=True)
        n_atoms = tokens.shape[1] if self.n_components is None else self.n_components
        max_nnz = min(self.max_nnz, n_atoms, tokens.shape[1])
        fit = steps.start(tokens, n_atoms, max_nnz, seed_of(self.random_state))
        energy = steps.squared_error(fit)
        history: list[Record] = []
        before = energy
        for iteration in range(1, self.max_iter + 1):
            coded, after, kept = self._iterate(fit, before)
            record: Record = {
                "iteration": iteration,
                "explained_variance_coded": 1 - coded / energy,
                "explained_variance": 1 - after / energy,
                "kept": kept,
                "unused": int((steps.count_uses(fit) == 0).sum()),
                "replaced": 0,
            }
            history.append(record)
            if on_iteration is not None:
                on_iteration(iteration, self.max_iter, record["explained_variance"])
            reason = self._reason_to_stop(iteration, after / energy, (before - after) / energy)
            if reason:
                break
            before = after
            record["replaced"] = steps.replace_atoms(
                fit, self.min_use, self.max_coherence, self.nonnegative
            )
        self.components_ = fit.atoms
        self.history_ = history
        self.n_iter_ = len(history)
        self.stopped_because_ = reason
        return self

    def transform(self, X: ArrayLike) -> sparse.csr_matrix:
        """Code samples by orthogonal matching pursuit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Vectors prepared like those of `fit`.

        Returns
        -------
        scipy.sparse.csr_matrix of shape (n_samples, n_components), float32
            At most `max_nnz` entries a row, none of them zero, column indices ascending.

        Raises
        ------
        DataError
            If X is not a finite dense matrix with the features of `fit`.
        """
        check_is_fitted(self, "components_")
        tokens = checked(self, X, reset=False)
        codes = Codes.from_padded(*self._pursue(tokens, self.components_), len(self.components_))
        return sparse.csr_matrix(codes.to_csr())

    def _pursue(
        self, tokens: NDArray[np.float32], atoms: NDArray[np.float32]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        max_nnz = min(self.max_nnz, *atoms.shape)
        return omp(
            tokens, atoms, max_nnz, nonnegative=self.nonnegative, tolerance=self.residual_tol
        )

    def _iterate(self, fit: steps.Fit, before: float) -> tuple[float, float, int]:
        """Code the tokens and update the atoms.

        Returns the squared errors after each of the two, the second at most `before`, and how
        many tokens kept an old code.
        """
        atoms, indices, coefficients = (
            array.copy() for array in (fit.atoms, fit.indices, fit.coefficients)
        )
        pursued = self._pursue(fit.tokens, fit.atoms)
        fit.indices[:], fit.coefficients[:] = pursued
        coded, after = self._sweep(fit)
        if after <= before:
            return coded, after, 0
        # Not the rule from the start: atoms fitted to old codes are hard to find for a pursuit,
        # and so `transform` explains less.
        fit.atoms[:], fit.indices[:], fit.coefficients[:] = atoms, indices, coefficients
        kept = steps.take_better(fit, *pursued)
        return *self._sweep(fit), kept

    def _sweep(self, fit: steps.Fit) -> tuple[float, float]:
        """Update the atoms; return the squared errors before and after."""
        fit.residual[:] = steps.left_unexplained(fit, fit.indices, fit.coefficients)
        coded = steps.squared_error(fit)
        for _ in range(self.n_sweeps):
            steps.update_atoms(fit, self.nonnegative, self.exact_update, self.power_steps)
        fit.indices[fit.coefficients == 0] = -1
        return coded, steps.squared_error(fit)

    def _reason_to_stop(self, iteration: int, unexplained: float, gain: float) -> str:
        """Say why the fit ends after this iteration; empty if it goes on."""
        if unexplained <= steps.EXACT:
            return f"The codes explain the tokens exactly after {iteration} iterations."
        if iteration > 1 and gain <= self.tol:
            return (
                f"Iteration {iteration} raised the explained variance by {max(gain, 0):.2g}, not "
                f"more than tol, {self.tol:g}."
            )
        if iteration == self.max_iter:
            return f"All {self.max_iter} iterations were made."
        return ""

    def _check_settings(self) -> None:
        check_counts(self, "max_nnz", "max_iter", "n_sweeps", "power_steps")
        if self.n_components is not None:
            check_counts(self, "n_components")
        for name in ("min_use", "tol"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must not be negative.")
        if not 0 <= self.residual_tol < 1:
            raise ConfigError(
                f"residual_tol is {self.residual_tol}; it must be at least 0 and below 1, a share "
                "of the norm of a token."
            )
        if not 0 < self.max_coherence <= 1:
            raise ConfigError(
                f"max_coherence is {self.max_coherence}; it must be above 0 and at most 1, a "
                "cosine. 1 keeps all duplicates."
            )
        if self.exact_update and self.nonnegative:
            raise ConfigError(
                "exact_update and nonnegative are both set, but singular vectors have mixed "
                "signs. Turn exact_update off; the power step works for non-negative codes."
            )
