"""How an autoencoder is trained, step by step; `cgraph.sae` states the objective.

Everything is in units in which the mean squared norm of X is 1, so that one set of settings serves
every layer. A step costs one product of dense matrices, the pre-activations; all else touches
active atoms only (`cgraph.sae_kernels`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cgraph.sae_activations import TopK
from cgraph.sae_kernels import (
    Active,
    Parameters,
    decode,
    drop_below,
    gather,
    group_by_atom,
    select,
    slopes_of,
    update,
)

Record = dict[str, float]
Rows = NDArray[np.float32]

# Weight of the newest batch in the running error and the running usage of atoms.
_MEMORY = 0.02
# Change of a selection bias in one step.
_SELECTION_STEP = 1e-3
# In this last part of the training selection biases stand still, so that weights settle to them,
# and no dead atom is started again.
_SETTLING_SHARE = 0.1
# An atom that no sample of this many batches in a row used counts as dead.
_DEAD_AFTER = 100
# Steps that raise the learning rate from zero, and the share of it that is left in the end.
_WARMUP_STEPS = 50
_LAST_SHARE = 0.02
# Steps between two looks at the explained variance, and vectors it is measured on meanwhile.
_CHECK_EVERY = 100
_CHECK_ROWS = 4096
# Numbers of noise drawn beyond those of one batch; each step starts at a random place among them.
_NOISE_POOL = 2**20
# Vectors on which the coefficients of an l1 penalty are made longer again, for each atom.
_REFIT_ROWS_PER_ATOM = 8
# Weight of leaving a coefficient as it is, there.
_REFIT_RIDGE = 0.01
# A coefficient keeps at least this share of its length, there.
_REFIT_LEAST = 0.5


@dataclass(frozen=True)
class Settings:
    """What a training is asked for; the parameters of the estimators, with nothing left out."""

    n_atoms: int
    max_steps: int
    batch_size: int
    learning_rate: float
    encoder_penalty: float
    input_noise: float
    usage_target: float
    max_bias: float
    tol: float
    patience: int | None
    record_every: int
    seed: int


class Schedule:
    """When the learning rate is held, when it falls, and when the training ends.

    It is held over the first half of `max_steps`, or until the explained variance has risen by
    less than `tol` over `patience` steps, and then falls linearly, over as many steps as it was
    held: most of what a smaller rate gains comes while it falls, so it is never left out.
    """

    def __init__(self, settings: Settings) -> None:
        self.falls_from = settings.max_steps // 2
        self.ends = settings.max_steps
        self._settings = settings
        self._seen: list[tuple[int, float]] = []
        self._why = ""

    def factor(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0, over the highest one."""
        left = (self.ends - step) / max(1, self.ends - self.falls_from)
        return min(1.0, (step + 1) / _WARMUP_STEPS, max(_LAST_SHARE, left))

    def is_settling(self, step: int) -> bool:
        """Return whether a step lies in the last part, in which only weights change."""
        return step >= self.ends - _SETTLING_SHARE * self.ends

    def see(self, step: int, explained: float, where: str) -> None:
        """Begin the fall if the explained variance has risen too little before `step`."""
        patience, tol = self._settings.patience, self._settings.tol
        if patience is None or step >= self.falls_from:
            return
        before = [value for at, value in self._seen if at <= step - patience]
        self._seen.append((step, explained))
        if before and explained - max(before) < tol:
            self.falls_from, self.ends = step, 2 * step
            self._why = (
                f"After {step} steps the explained variance of {where} had risen by less than "
                f"{tol:g} over {patience} steps; the learning rate then fell over as many more."
            )

    @property
    def stopped_because(self) -> str:
        """A sentence for people."""
        return self._why or f"All {self.ends} steps were made."


@dataclass(frozen=True)
class Trained:
    """What a training gives, in its units."""

    parameters: Parameters
    selection: NDArray[np.float32]
    threshold: float | None
    history: list[Record]
    n_steps: int
    stopped_because: str


class Training:
    """The state of one training.

    Parameters
    ----------
    settings : Settings
    activation : TopK
        Who is active; `BatchTopK` and `Relu` are others.
    X : float32 ndarray of shape (n_samples, n_features)
    usable : ndarray of int
        Rows of X that can start an atom; at least `n_atoms`.
    scale : float
        Root of the mean squared norm of X.
    X_tune : float32 ndarray of shape (n_tune_samples, n_features), optional
        Vectors that only decide when to stop.
    """

    def __init__(
        self,
        settings: Settings,
        activation: TopK,
        X: Rows,
        usable: NDArray[np.intp],
        scale: float,
        X_tune: Rows | None,
    ) -> None:
        self._settings, self._activation = settings, activation
        self._X, self._X_tune, self._factor = X, X_tune, 1 / scale
        self._rng = np.random.default_rng(settings.seed)
        n_atoms, size = settings.n_atoms, settings.batch_size
        first = np.take(X, self._rng.permutation(usable)[:n_atoms], axis=0)
        # In double precision the square of a small number is above zero.
        norms = np.linalg.norm(first.astype(np.float64), axis=1, keepdims=True)
        first = (first / norms).astype(np.float32)
        self.parameters = Parameters(first.copy(), first, np.zeros(n_atoms, np.float32))
        self._first, self._second = self.parameters.zeros(), self.parameters.zeros()
        self.selection = np.zeros(n_atoms, np.float32)
        self._noise = self._rng.standard_normal(size * X.shape[1] + _NOISE_POOL, dtype=np.float32)
        self._silence = np.zeros(size * X.shape[1], np.float32)

        shape = size, X.shape[1]
        self._batch, self._noisy = np.empty(shape, np.float32), np.empty(shape, np.float32)
        self._residual = np.empty(shape, np.float32)
        self._pre = np.empty((size, n_atoms), np.float32)
        self._active = Active.empty(size, activation.max_nnz)
        self._slopes = np.empty((size, activation.max_nnz), np.float32)
        self._starts = np.empty(n_atoms + 1, np.int64)
        self._places = np.empty(size * activation.max_nnz, np.int64)

        self._mean_usage = activation.mean_nnz / n_atoms
        self._usage = np.full(n_atoms, self._mean_usage)
        self._idle = np.zeros(n_atoms, np.int64)
        self._running_error = 1.0
        self._explained: list[float] = []  # of the batches since the last check

    def run(self, on_step: Callable[[Record], None] | None) -> Trained:
        """Make all steps.

        Parameters
        ----------
        on_step : callable, optional
            Called with every new record.
        """
        settings, schedule = self._settings, Schedule(self._settings)
        history: list[Record] = []
        where = "the training batches" if self._X_tune is None else "the tune samples"
        step = 0
        while step < schedule.ends:
            error = self._step(step, schedule)
            step += 1
            last = step == schedule.ends
            if last and self._activation.shrinks:
                self._refit()
            explained = None
            if step % _CHECK_EVERY == 0 and not last:
                explained = self._tune_share()
                batches = float(np.mean(self._explained))
                if self._activation.in_balance:
                    schedule.see(step, batches if explained is None else explained, where)
                del self._explained[:-1]
                if not schedule.is_settling(step):
                    self._revive(self._activation.revived_norm)
            if step % settings.record_every == 0 or last:
                if explained is None:
                    explained = self._tune_share(whole=last)
                history.append(self._record(step, error, explained))
                if on_step is not None:
                    on_step(dict(history[-1]))
        self._settle()
        return Trained(
            self.parameters,
            self.selection,
            self._activation.threshold,
            history,
            step,
            schedule.stopped_because,
        )

    def _step(self, step: int, schedule: Schedule) -> float:
        """Make one step; return the mean squared error of its batch, under noise."""
        settings, activation = self._settings, self._activation
        batch, active = self._batch, self._active
        rows = self._rng.integers(len(self._X), size=settings.batch_size)
        start = self._rng.integers(_NOISE_POOL)
        loudness = settings.input_noise * math.sqrt(self._running_error / batch.shape[1])
        noise = self._noise[start : start + batch.size]
        gather(self._X, rows, self._factor, noise, loudness, batch, self._noisy)
        self._choose(self._noisy, active)
        activation.thin(active)
        error = decode(batch, active, self.parameters.atoms, self._residual) / len(batch)
        self._explained.append(1 - error / max(float(np.vdot(batch, batch)) / len(batch), 1e-30))
        exposure = np.minimum(self._usage / self._mean_usage, 1)
        l1 = (activation.l1 * exposure).astype(np.float32)
        slopes_of(self._residual, active, self.parameters.atoms, l1, self._slopes)
        group_by_atom(active.indices, self._starts, self._places)
        weight = 2 * settings.encoder_penalty * self._running_error / settings.n_atoms
        update(
            self.parameters,
            self._first,
            self._second,
            self._noisy,
            self._residual,
            active,
            self._slopes,
            (weight * exposure).astype(np.float32),
            self._starts,
            self._places,
            settings.learning_rate * schedule.factor(step),
            step + 1,
        )
        counts = np.diff(self._starts)
        self._idle = np.where(counts > 0, 0, self._idle + 1)
        self._usage += _MEMORY * (counts / len(batch) - self._usage)
        self._running_error += _MEMORY * (error - self._running_error)
        if settings.usage_target and settings.max_bias and not schedule.is_settling(step):
            self.selection += np.where(self._rare, _SELECTION_STEP, -_SELECTION_STEP).astype("f4")
            np.clip(self.selection, 0, settings.max_bias, out=self.selection)
        activation.follow(step, self._look)
        return error

    def _revive(self, norm: float) -> None:
        """Start dead atoms again from what is left of badly explained samples of the batch.

        As in Bricken et al. (2023), samples are drawn in proportion to the square of their loss;
        `norm` is that of the new rows of the encoder over the mean of those alive.
        """
        dead = np.flatnonzero(self._idle > _DEAD_AFTER)
        loss = np.square(self._residual, dtype=np.float64).sum(axis=1)
        n_possible = int((loss > 0).sum())
        dead = dead[:n_possible]
        if not dead.size:
            return
        share = np.square(loss) / np.square(loss).sum()
        rows = self._rng.choice(len(loss), len(dead), replace=False, p=share)
        directions = self._residual[rows] / np.sqrt(loss[rows, None]).astype(np.float32)
        alive = self._idle <= _DEAD_AFTER
        norms = np.linalg.norm(self.parameters.encoder[alive], axis=1)
        norm *= float(norms.mean()) if norms.size else 1.0
        self.parameters.atoms[dead] = directions
        self.parameters.encoder[dead] = directions * np.float32(norm)
        self.parameters.bias[dead] = 0
        for moments in (self._first, self._second):
            for array in moments:
                array[dead] = 0
        self.selection[dead] = 0
        self._idle[dead] = 0
        self._usage[dead] = self._mean_usage

    def _refit(self) -> None:
        """Undo what an l1 penalty took from the length of the coefficients, not who is active.

        Each atom's row of the encoder gets one factor; together they minimise the squared error
        over some thousand training samples. With codes C and atoms D the normal equations are
        ``((CᵀC) ∘ (D Dᵀ)) s = diag(Cᵀ X Dᵀ)``.
        """
        n_atoms = self._settings.n_atoms
        rows = _spread(len(self._X), max(_CHECK_ROWS, _REFIT_ROWS_PER_ATOM * n_atoms))
        found = Active.empty(len(rows), self._activation.max_nnz)
        self._encode(self._X, rows, found)
        used = found.indices >= 0
        ends = np.concatenate([[0], np.cumsum(used.sum(axis=1))])
        shape = len(rows), n_atoms
        values = found.values[used].astype(np.float64)
        codes = sp.csr_array((values, found.indices[used], ends), shape=shape)
        atoms = self.parameters.atoms.astype(np.float64)
        left = (codes.T @ codes).toarray() * (atoms @ atoms.T)
        tokens = codes.T @ (self._X[rows] * np.float64(self._factor))
        right = np.einsum("jf,jf->j", tokens, atoms)
        # Atoms that are hardly used keep their length.
        stay = _REFIT_RIDGE * np.diag(left) + 1e-9
        factors = np.linalg.solve(left + np.diag(stay), right + stay)
        factors = np.maximum(factors, _REFIT_LEAST).astype(np.float32)
        self.parameters.encoder[:] *= factors[:, None]
        self.parameters.bias[:] *= factors

    @property
    def _rare(self) -> NDArray[np.bool_]:
        return self._usage < self._settings.usage_target * self._mean_usage

    def _choose(self, X: Rows, active: Active) -> None:
        pre = self._pre[: len(X)]
        np.matmul(X, self.parameters.encoder.T, out=pre)
        select(pre, self.parameters.bias, self.selection, active)

    def _look(self) -> Active:
        """Return what is active in the present batch without noise."""
        self._choose(self._batch, self._active)
        return self._active

    def _settle(self) -> None:
        """Let the activation choose its threshold by some thousand training samples."""
        self._activation.threshold = None
        self._activation.settle(self._look_closely)

    def _look_closely(self) -> Active:
        rows = _spread(len(self._X))
        found = Active.empty(len(rows), self._activation.max_nnz)
        self._encode(self._X, rows, found)
        return found

    def _encode(self, X: Rows, rows: NDArray[np.intp], found: Active) -> float:
        """Encode rows without noise; return the sum of the squares that are left of them."""
        size, total = self._settings.batch_size, 0.0
        threshold = self._activation.threshold
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            batch, noisy = self._batch[: len(some)], self._noisy[: len(some)]
            gather(X, some, self._factor, self._silence, 0.0, batch, noisy)
            part = found.rows(start, start + size)
            self._choose(batch, part)
            if threshold is not None:
                drop_below(part, threshold)
            total += decode(batch, part, self.parameters.atoms, self._residual)
        return total

    def _tune_share(self, whole: bool = False) -> float | None:
        """Return the explained variance of the tune vectors, or of a part of them."""
        if self._X_tune is None:
            return None
        self._settle()
        X = self._X_tune
        rows = np.arange(len(X)) if whole else _spread(len(X))
        left = self._encode(X, rows, Active.empty(len(rows), self._activation.max_nnz))
        energy = np.square(X[rows], dtype=np.float64).sum() * self._factor**2
        return 1 - left / max(float(energy), 1e-30)

    def _record(self, step: int, error: float, explained_tune: float | None) -> Record:
        record: Record = {
            "step": step,
            "loss": error,
            "explained_variance": self._explained[-1],
            "dead": int((self._idle > _DEAD_AFTER).sum()),
            "rare": int(self._rare.sum()),
        }
        if explained_tune is not None:
            record["explained_variance_tune"] = explained_tune
        return record


def _spread(n: int, at_most: int = _CHECK_ROWS) -> NDArray[np.intp]:
    """Return some of n rows, in equal distances."""
    return np.linspace(0, n - 1, min(n, at_most)).round().astype(np.intp)
