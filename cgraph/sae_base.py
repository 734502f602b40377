"""What the autoencoders of `cgraph.sae` share: they are fitted, and encode, in one way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from numbers import Real
from typing import TYPE_CHECKING, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from cgraph.dictionary import topk_codes
from cgraph.errors import ConfigError, DataError
from cgraph.estimators import AtomsMixin, RandomState, check_counts, checked, seed_of

if TYPE_CHECKING:
    from cgraph.sae_activations import TopK

Record = dict[str, float]

# Rows that `transform` encodes at a time; bounds its memory.
_ROWS_AT_ONCE = 8192


class SparseAutoencoder(AtomsMixin, BaseEstimator):
    """Base of the autoencoders. Subclasses say who is active."""

    n_components: int | None
    max_nnz: int
    max_steps: int
    tol: float
    patience: int | None
    batch_size: int
    learning_rate: float
    encoder_penalty: float
    input_noise: float
    usage_target: float
    max_bias: float = 0.0
    record_every: int
    random_state: RandomState

    history_: list[Record]
    n_steps_: int
    stopped_because_: str
    threshold_: float | None = None

    def _activation(self, max_nnz: int) -> TopK:
        """Return who is to be active, once `max_nnz` is at most the number of atoms."""
        raise NotImplementedError

    def fit(
        self,
        X: ArrayLike,
        y: None = None,
        *,
        X_tune: ArrayLike | None = None,
        on_step: Callable[[Record], None] | None = None,
    ) -> Self:
        """Learn atoms and encoder.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Prepared vectors.
        y : None
            Ignored.
        X_tune : array-like of shape (n_tune_samples, n_features), optional
            Vectors whose explained variance is recorded and decides when to stop; they do nothing
            else in the fit.
        on_step : callable, optional
            Called with every new entry of `history_`. What it raises stops the fit.

        Returns
        -------
        object
            The estimator itself.

        Raises
        ------
        ConfigError
            If a setting is out of range.
        DataError
            If X or X_tune is not a finite dense matrix, X has fewer usable samples than atoms, or
            the two differ in their features.
        """
        self._check_settings()
        tokens: NDArray[np.float32] = checked(self, X, reset=True)
        n_atoms = tokens.shape[1] if self.n_components is None else self.n_components
        if len(tokens) < n_atoms:
            raise DataError(
                f"X has {len(tokens)} samples for {n_atoms} atoms; an autoencoder needs at "
                f"least one sample per atom. Give more samples or ask for fewer atoms."
            )
        tune: NDArray[np.float32] | None = None
        if X_tune is not None:
            try:
                tune = checked(self, X_tune, reset=False)
            except DataError as error:
                raise DataError(f"X_tune was refused: {error}") from None
        usable = np.flatnonzero((tokens != 0).any(axis=1))
        if len(usable) < n_atoms:
            raise DataError(
                f"Only {len(usable)} of {len(tokens)} samples of X differ from the mean, for "
                f"{n_atoms} atoms. Ask for fewer atoms, or check how X was made."
            )
        from cgraph.sae_training import Settings, Training  # brings numba, which loads slowly

        settings = Settings(
            n_atoms=n_atoms,
            max_steps=self.max_steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            encoder_penalty=self.encoder_penalty,
            input_noise=self.input_noise,
            usage_target=self.usage_target,
            max_bias=self.max_bias,
            tol=self.tol,
            patience=self.patience,
            record_every=self.record_every,
            seed=seed_of(self.random_state),
        )
        activation = self._activation(min(self.max_nnz, n_atoms))
        # Scaled to mean squared norm 1, the same settings serve every layer.
        energy = sum(float(np.vdot(block, block)) for block in _blocks(tokens)) / len(tokens)
        scale = float(np.sqrt(energy))
        trained = Training(settings, activation, tokens, usable, scale, tune).run(on_step)
        self.components_ = trained.parameters.atoms
        self.encoder_weight_ = trained.parameters.encoder
        self.encoder_bias_ = trained.parameters.bias * np.float32(scale)
        self.selection_bias_ = trained.selection * np.float32(scale)
        if trained.threshold is not None:
            self.threshold_ = float(np.float32(trained.threshold) * np.float32(scale))
        self.history_ = trained.history
        self.n_steps_ = trained.n_steps
        self.stopped_because_ = trained.stopped_because
        return self

    def transform(self, X: ArrayLike) -> sp.csr_matrix:
        """Encode samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Vectors prepared like those of `fit`.

        Returns
        -------
        scipy.sparse.csr_matrix of shape (n_samples, n_components), float32
            Positive coefficients, at most `max_nnz` a row, column indices ascending.

        Raises
        ------
        DataError
            If X is not a finite dense matrix with the features of `fit`.
        """
        check_is_fitted(self)
        tokens: NDArray[np.float32] = checked(self, X, reset=False)
        blocks = [
            self._encode(tokens[start : start + _ROWS_AT_ONCE])
            for start in range(0, len(tokens), _ROWS_AT_ONCE)
        ]
        return sp.vstack(blocks, format="csr")

    def _encode(self, X: NDArray[np.float32]) -> sp.csr_matrix:
        # Products in single precision depend, in their last bit, on where a row lies in memory and
        # in its block; rounded from double precision they do not.
        wide = X.astype(np.float64) @ self.encoder_weight_.T.astype(np.float64)
        pre = (wide + self.encoder_bias_).astype(np.float32)
        max_nnz = min(self.max_nnz, pre.shape[1])
        indices, coefficients = topk_codes(pre, self.selection_bias_, max_nnz, self.threshold_)
        active = indices >= 0
        indptr = np.concatenate([[0], np.cumsum(active.sum(axis=1))]).astype(np.int32)
        return sp.csr_matrix((coefficients[active], indices[active], indptr), shape=pre.shape)

    def _check_settings(self) -> None:
        check_counts(self, "max_nnz", "max_steps", "batch_size", "record_every")
        for name in ("n_components", "patience"):
            if getattr(self, name) is not None:
                check_counts(self, name)
        if not self.learning_rate > 0:
            raise ConfigError(f"learning_rate is {self.learning_rate}; it must be above 0.")
        if not 0 <= self.usage_target < 1:
            raise ConfigError(
                f"usage_target is {self.usage_target}; it must be at least 0 and below 1, a share "
                f"of the mean usage of the atoms."
            )
        for name in ("encoder_penalty", "input_noise", "max_bias", "tol"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must not be negative.")


def wanted_mean(mean_nnz: float | None, max_nnz: int) -> float:
    """Return the mean number of active atoms that is asked for; half of the most, if it is not.

    Raises
    ------
    ConfigError
        If it is not above 0 and at most `max_nnz`.
    """
    if mean_nnz is None:
        return max_nnz / 2
    if not isinstance(mean_nnz, Real) or isinstance(mean_nnz, bool) or not 0 < mean_nnz <= max_nnz:
        raise ConfigError(
            f"mean_nnz is {mean_nnz!r}; it must be a number above 0 and at most max_nnz, which is "
            f"{max_nnz}. Lower mean_nnz or raise max_nnz."
        )
    return float(mean_nnz)


def _blocks(X: NDArray[np.float32]) -> Iterator[NDArray[np.float64]]:
    """Give pieces of X in double precision, one at a time."""
    for start in range(0, len(X), _ROWS_AT_ONCE):
        yield X[start : start + _ROWS_AT_ONCE].astype(np.float64)
