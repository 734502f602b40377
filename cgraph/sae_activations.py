"""Who is active: what tells the three autoencoders apart.

All of them first take the `max_nnz` largest positive pre-activations of a sample, so that no code
is ever longer. TopK leaves it at that. BatchTopK keeps the largest of a whole batch, `mean_nnz` a
sample on average, so that samples that need more atoms get more (Bussmann, Leask and Nanda 2024,
"BatchTopK sparse autoencoders"); a code must not depend on the samples encoded with it, so
afterwards a threshold stands for the batch. ReLU keeps all and makes coefficients cost something
(Bricken et al. 2023, "Towards monosemanticity"); how much is adapted until `mean_nnz` are active.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cgraph.sae_kernels import Active, drop_below

# Norm of a revived row of the encoder, over the mean norm of those alive. A small one, as in
# Bricken et al., wins no competition.
_REVIVED_NORM = 1.0
_RELU_REVIVED_NORM = 0.2
# Steps between two looks at how many atoms are active without input noise, and how strongly the
# l1 weight follows what is seen there.
_LOOK_EVERY = 10
_L1_STEP = 0.3
# Weight of the newest look, and by which share too many or too few may be active in balance.
_LOOK_MEMORY = 0.1
_BALANCE = 0.05
# Where the l1 weight starts, for inputs whose mean squared norm is 1.
_FIRST_L1 = 0.05


class TopK:
    """The `max_nnz` largest scores of each sample.

    Parameters
    ----------
    max_nnz : int
        Largest number of active atoms of a sample.
    mean_nnz : float
        Number of active atoms of a sample that is to be expected.

    Attributes
    ----------
    threshold : float or None
        What the score of an active atom exceeds outside of the training.
    l1 : float
        Weight of the sum of a sample's coefficients in the loss.
    shrinks : bool
        Whether coefficients come out too short and are made longer after the training.
    revived_norm : float
        Norm of a revived row of the encoder over the mean one.
    in_balance : bool
        Whether about `mean_nnz` atoms are active, so that figures of several steps compare.
    """

    threshold: float | None = None
    l1 = 0.0
    shrinks = False
    revived_norm = _REVIVED_NORM
    in_balance = True

    def __init__(self, max_nnz: int, mean_nnz: float) -> None:
        self.max_nnz = max_nnz
        self.mean_nnz = mean_nnz

    def thin(self, active: Active) -> None:
        """Take out those of a training batch that are not to be active."""

    def follow(self, step: int, look: Callable[[], Active]) -> None:
        """Adapt after a step to what is active without noise, which `look` gives."""

    def settle(self, look: Callable[[], Active]) -> None:
        """Choose what holds outside of the training, by what `look` gives."""


class BatchTopK(TopK):
    """The largest scores of a batch, `mean_nnz` a sample on average."""

    def thin(self, active: Active) -> None:
        """Keep the largest scores of the batch."""
        drop_below(active, self._bar(active.scores))

    def settle(self, look: Callable[[], Active]) -> None:
        """Set the threshold that leaves `mean_nnz` atoms a training sample on average."""
        self.threshold = self._bar(look().scores)

    def _bar(self, scores: NDArray[np.float32]) -> float:
        """Return the largest score that is too low; at least 0."""
        n_kept = max(1, round(self.mean_nnz * len(scores)))
        if n_kept >= scores.size:
            return 0.0
        place = scores.size - n_kept - 1
        return max(0.0, float(np.partition(scores, place, axis=None)[place]))


class Relu(TopK):
    """All positive pre-activations; an l1 penalty on the coefficients keeps them few."""

    shrinks = True
    revived_norm = _RELU_REVIVED_NORM

    def __init__(self, max_nnz: int, mean_nnz: float) -> None:
        super().__init__(max_nnz, mean_nnz)
        self.l1 = _FIRST_L1
        self._excess = 1.0  # of active atoms over `mean_nnz`, of the last looks

    @property
    def in_balance(self) -> bool:  # type: ignore[override]
        """Whether the l1 weight has found its value; until then the explained variance falls."""
        return abs(self._excess) < _BALANCE

    def follow(self, step: int, look: Callable[[], Active]) -> None:
        """Raise the l1 weight where more than `mean_nnz` atoms are active, and lower it else."""
        if step % _LOOK_EVERY == 0:
            indices = look().indices
            excess = float((indices >= 0).sum()) / len(indices) / self.mean_nnz - 1
            self.l1 *= float(np.exp(_L1_STEP * excess))
            self._excess += _LOOK_MEMORY * (excess - self._excess)
