"""Which settings of K-SVD are refused, and what is said then."""

from __future__ import annotations

from typing import Any

from cgraph.errors import ConfigError
from cgraph.estimators import check_counts


def check_settings(model: Any) -> None:
    """Refuse settings of a `cgraph.ksvd.KSVD` that are out of range or contradict each other.

    Raises
    ------
    ConfigError
        With the setting, its value and what is allowed.
    """
    check_counts(model, "max_nnz", "max_iter", "n_sweeps", "power_steps")
    check_counts(
        model, *(name for name in ("n_components", "window") if getattr(model, name) is not None)
    )
    for name in ("extrapolation", "min_use", "tol"):
        if not getattr(model, name) >= 0:
            raise ConfigError(f"{name} is {getattr(model, name)}; it must not be negative.")
    if not 0 <= model.residual_tol < 1:
        raise ConfigError(
            f"residual_tol is {model.residual_tol}; it must be at least 0 and below 1, a share "
            "of the norm of a token."
        )
    if not 0 < model.max_coherence <= 1:
        raise ConfigError(
            f"max_coherence is {model.max_coherence}; it must be above 0 and at most 1, a "
            "cosine. 1 keeps all duplicates."
        )
    if model.exact_update and model.nonnegative:
        raise ConfigError(
            "exact_update and nonnegative are both set, but singular vectors have mixed "
            "signs. Turn exact_update off; the power step works for non-negative codes."
        )
