"""What is done to tokens before a dictionary is learned: centring and whitening.

Atoms learned in the prepared space are stored in the space of the tokens, with a gain for each that
converts coefficients, so that users never see the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cgraph.errors import DataError


@dataclass(frozen=True)
class Preparation:
    """Centring and PCA-whitening applied to tokens before a dictionary is learned.

    Attributes
    ----------
    mean : ndarray of float32, shape (d_model,)
    whitener, unwhitener : ndarray of float32, shapes (d_model, r) and (r, d_model), or None
        Projection on the leading principal components scaled to unit variance, and its
        pseudo-inverse; ``None`` leaves centred tokens as they are.
    """

    mean: np.ndarray
    whitener: np.ndarray | None = None
    unwhitener: np.ndarray | None = None

    @classmethod
    def fit(
        cls, tokens: np.ndarray, *, center: bool, whiten: int, strength: float = 1.0
    ) -> Preparation:
        """Learn the preparation from training tokens.

        Parameters
        ----------
        tokens : ndarray of float32, shape (n_samples, d_model)
        center : bool
            Whether the mean is subtracted; otherwise it is zero.
        whiten : int
            Principal components kept; 0 for none.
        strength : float
            Power of its standard deviation, relative to that of the first, that a component is
            divided by: 1 whitens in full, 0 only projects and scales all alike.

        Raises
        ------
        DataError
            If a token is not finite, or fewer components vary than are asked for.
        """
        if not np.isfinite(tokens).all():
            raise DataError(
                "Some class tokens are not finite numbers. The model may overflow in half "
                "precision, or its weights are damaged."
            )
        mean = tokens.mean(axis=0, dtype=np.float64) if center else np.zeros(tokens.shape[1])
        if not whiten:
            return cls(mean.astype(np.float32))
        centred = tokens - mean
        variances, directions = np.linalg.eigh(centred.T @ centred / len(tokens))
        variances, directions = variances[::-1], directions[:, ::-1]
        n_varying = int((variances > 1e-9 * variances[0]).sum())
        if whiten > n_varying:
            raise DataError(
                f"whiten is {whiten}, but only {n_varying} principal components of these tokens "
                "vary. Lower whiten."
            )
        scale = np.sqrt(variances[:whiten])
        if strength != 1:
            # Relative to the first component, so that it alone has unit variance.
            scale = scale[0] * (scale / scale[0]) ** strength
        return cls(
            mean.astype(np.float32),
            np.ascontiguousarray(directions[:, :whiten] / scale, dtype=np.float32),
            np.ascontiguousarray((directions[:, :whiten] * scale).T, dtype=np.float32),
        )

    def apply(self, tokens: np.ndarray) -> np.ndarray:
        """Return prepared vectors, shape ``(n_samples, d_model)`` or ``(n_samples, r)``."""
        centred = tokens - self.mean
        return centred if self.whitener is None else centred @ self.whitener

    def to_token_space(self, components: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return unit-norm atoms in token space and the gain of each.

        Parameters
        ----------
        components : ndarray of float32, shape (n_atoms, d_model or r)
            Atoms in the prepared space.

        Returns
        -------
        atoms : ndarray of float32, shape (n_atoms, d_model)
        gain : ndarray of float32, shape (n_atoms,)
            Coefficient in token space of a coefficient 1 in the prepared space.
        """
        atoms = components if self.unwhitener is None else components @ self.unwhitener
        gain = np.linalg.norm(atoms, axis=1)
        return atoms / gain[:, None], gain
