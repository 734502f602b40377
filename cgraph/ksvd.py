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

Iterations creep: on class tokens, atoms go on in one direction for many of them. So each begins
with atoms carried on by a share of their last move, as in Nesterov's method, and is done again from
where they were if that raised the error. docs/ksvd.md has what this and several passes are
worth.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from cgraph import ksvd_online as online
from cgraph import ksvd_steps as steps
from cgraph.codes import Codes
from cgraph.errors import ConfigError, DataError
from cgraph.estimators import AtomsMixin, RandomState, checked, seed_of
from cgraph.ksvd_history import Iteration, Record, history_of_one, reason_to_stop
from cgraph.ksvd_settings import check_settings
from cgraph.pursuit import omp


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
    extrapolation : float
        Before tokens are coded, atoms are carried on by this share of what they moved in the
        iteration before; an iteration that this makes worse is done again without. 0 is K-SVD as
        published. Above 1 it often fails. `partial_fit` does without.
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
        for signed codes only. `partial_fit` takes power steps all the same.
    init : array-like of shape (n_components, n_features), optional
        Atoms to start from, of any norm but zero. None: random samples.
    warm_start : bool
        Whether `fit` starts from the atoms of the fit before, if there was one.
    window : int, optional
        For `partial_fit`: about so many samples count, older ones fade. None: 4 times
        `n_components`.
    device : str, optional
        Where samples are coded, ``cuda`` for example; see `cgraph.pursuit.omp`.
    random_state : int, RandomState or None
        Seed of the choice of starting atoms. None takes another one each time.

    Attributes
    ----------
    components_ : float32 ndarray of shape (n_components, n_features)
        Atoms, of unit norm.
    history_ : list of dict
        One entry an iteration: `iteration` (from 1), `explained_variance_coded` (after the
        coding), `explained_variance` (after the update of the atoms; never falls but for float
        rounding), `kept` (tokens that kept an old code), `extrapolated` (1 if the atoms were
        carried on, else 0), `unused` (atoms without a token after the update), `replaced` (atoms
        replaced at the end of the iteration; none in the last). Explained variances are relative
        to the squared norm of X and belong to the codes of the fit; `transform` codes afresh and
        finds slightly worse ones.
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
    _past: online.Past | None
    n_iter_: int
    stopped_because_: str

    def __init__(
        self,
        n_components: int | None = None,
        *,
        max_nnz: int = 10,
        max_iter: int = 10,
        n_sweeps: int = 3,
        power_steps: int = 2,
        extrapolation: float = 0.8,
        nonnegative: bool = False,
        residual_tol: float = 0.0,
        min_use: int = 4,
        max_coherence: float = 0.99,
        tol: float = 1e-4,
        exact_update: bool = False,
        init: ArrayLike | None = None,
        warm_start: bool = False,
        window: int | None = None,
        device: str | None = None,
        random_state: RandomState = 0,
    ) -> None:
        self.n_components = n_components
        self.max_nnz = max_nnz
        self.max_iter = max_iter
        self.n_sweeps = n_sweeps
        self.power_steps = power_steps
        self.extrapolation = extrapolation
        self.nonnegative = nonnegative
        self.residual_tol = residual_tol
        self.min_use = min_use
        self.max_coherence = max_coherence
        self.tol = tol
        self.exact_update = exact_update
        self.init = init
        self.warm_start = warm_start
        self.window = window
        self.device = device
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
        check_settings(self)
        tokens = checked(self, X, reset=True)
        fit = self._start(tokens, getattr(self, "components_", None) if self.warm_start else None)
        energy = steps.squared_error(fit)
        if energy == 0:
            raise DataError(
                f"All {len(tokens)} samples of X are zero, so there is nothing to explain. Check "
                "how X was made."
            )
        history: list[Record] = []
        before = energy
        previous: NDArray[np.float32] | None = None
        for iteration in range(1, self.max_iter + 1):
            atoms = fit.atoms.copy()
            made = self._iterate(fit, before, previous)
            # Where going on failed, the next iteration starts anew.
            previous = atoms if made.extrapolated or previous is None else None
            record = history_of_one(
                iteration, made, energy, unused=int((steps.count_uses(fit) == 0).sum())
            )
            history.append(record)
            if on_iteration is not None:
                on_iteration(iteration, self.max_iter, record["explained_variance"])
            gain = (before - made.after) / energy
            reason = reason_to_stop(
                iteration, made.after / energy, gain, max_iter=self.max_iter, tol=self.tol
            )
            if reason:
                break
            before = made.after
            record["replaced"] = self._replace(fit)
        self.components_ = fit.atoms
        self.history_ = history
        self.n_iter_ = len(history)
        self.stopped_because_ = reason
        self._past = None
        return self

    def partial_fit(self, X: ArrayLike, y: None = None) -> KSVD:
        """Learn from one chunk of a set that is larger than memory.

        One iteration on the chunk, in which each atom also points to what the samples of earlier
        chunks asked of it (`cgraph.ksvd_online`). Beyond the chunk, ``n_components * n_features``
        numbers are kept. Chunks should come in random order, since older ones fade; going through
        a set several times explains more of it. A `fit` of all samples explains more still.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Prepared vectors. The first chunk gives the starting atoms and needs one sample for
            each, unless `init` is set or there was a `fit` before, whose atoms are then improved.
        y : None
            Ignored.

        Returns
        -------
        KSVD
            The estimator itself. `history_` gains one entry, which speaks of this chunk alone.

        Raises
        ------
        ConfigError
            If a setting is out of range or two contradict each other.
        DataError
            If X is not a finite dense matrix with the features of the first chunk, or the first
            has too few usable samples.
        """
        check_settings(self)
        first = not hasattr(self, "components_")
        tokens = checked(self, X, reset=first)
        fit = self._start(tokens, getattr(self, "components_", None))
        past = getattr(self, "_past", None)
        if first or past is None:
            self._past = past = online.no_past(fit.atoms)
            self.history_ = []
        energy = steps.squared_error(fit)
        window = 4 * len(fit.atoms) if self.window is None else self.window
        online.fade(past, len(tokens), window)
        fit.indices[:], fit.coefficients[:] = self._pursue(fit.tokens, fit.atoms)
        made = Iteration(*self._sweep(fit, past.sums), kept=0, extrapolated=False)
        online.remember(fit, past)
        record = history_of_one(
            len(self.history_) + 1, made, energy, unused=int((past.uses == 0).sum())
        )
        record["replaced"] = online.replace(
            fit, past, self.min_use, self.max_coherence, self.nonnegative
        )
        self.history_.append(record)
        self.components_ = fit.atoms
        self.n_iter_ = len(self.history_)
        self.stopped_because_ = f"partial_fit was given {self.n_iter_} chunks."
        return self

    def _start(self, tokens: NDArray[np.float32], atoms: NDArray[np.float32] | None) -> steps.Fit:
        """Begin from the atoms given, from `init`, or from random samples."""
        shape = (self.n_components or tokens.shape[1], tokens.shape[1])
        if atoms is not None and atoms.shape != shape:
            raise ConfigError(
                f"The atoms of the fit before have the shape {atoms.shape}, but {shape[0]} atoms "
                f"of {shape[1]} features are asked for now. Turn warm_start off, or use a new KSVD."
            )
        if atoms is None and self.init is not None:
            atoms = steps.starting_atoms(self.init, shape)
        seed = seed_of(self.random_state)
        return steps.start(tokens, shape[0], min(self.max_nnz, *shape), seed, atoms)

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
            tokens,
            atoms,
            max_nnz,
            nonnegative=self.nonnegative,
            tolerance=self.residual_tol,
            block_size=256 if self.device is None else 4096,
            device=self.device,
        )

    def _iterate(
        self, fit: steps.Fit, before: float, previous: NDArray[np.float32] | None
    ) -> Iteration:
        """Code the tokens and update the atoms.

        `before` is the squared error so far, and `previous` are the atoms one iteration ago, from
        which on this one may extrapolate.
        """
        atoms = fit.atoms.copy()
        indices, coefficients = fit.indices.copy(), fit.coefficients.copy()
        if previous is not None and self.extrapolation > 0:
            fit.atoms[:] = steps.extrapolated(atoms, previous, self.extrapolation)
            fit.indices[:], fit.coefficients[:] = self._pursue(fit.tokens, fit.atoms)
            coded, after = self._sweep(fit)
            if after <= before:
                return Iteration(coded, after, 0, True)
            fit.atoms[:] = atoms
        pursued = self._pursue(fit.tokens, fit.atoms)
        fit.indices[:], fit.coefficients[:] = pursued
        coded, after = self._sweep(fit)
        if after <= before:
            return Iteration(coded, after, 0, False)
        # Not the rule from the start: atoms fitted to old codes are hard to find for a pursuit,
        # and so `transform` explains less.
        fit.atoms[:], fit.indices[:], fit.coefficients[:] = atoms, indices, coefficients
        kept = steps.take_better(fit, *pursued)
        return Iteration(*self._sweep(fit), kept, False)

    def _replace(self, fit: steps.Fit) -> int:
        """Replace atoms that are hardly used or duplicates; count them."""
        return steps.replace_atoms(fit, self.min_use, self.max_coherence, self.nonnegative)

    def _sweep(
        self, fit: steps.Fit, past: NDArray[np.float32] | None = None
    ) -> tuple[float, float]:
        """Update the atoms; return the squared errors before and after."""
        fit.residual[:] = steps.left_unexplained(fit, fit.indices, fit.coefficients)
        coded = steps.squared_error(fit)
        exact = self.exact_update and past is None
        for _ in range(self.n_sweeps):
            steps.update_atoms(fit, self.nonnegative, exact, self.power_steps, past)
        fit.indices[fit.coefficients == 0] = -1
        return coded, steps.squared_error(fit)
