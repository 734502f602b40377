"""Sparse autoencoders: dictionaries whose codes are thresholded linear activations.

With tokens x (already centred), encoder W, b, unit-norm atoms D and selection bias s ≥ 0::

    pre   = x Wᵀ + b
    score = pre + s                     where pre > 0
    code  = pre at the max_nnz largest scores, 0 elsewhere
    x̂     = code D

and W, b, D minimise the mean of ‖x - x̂‖² (Makhzani and Frey 2014; Gao et al. 2024,
"Scaling and evaluating sparse autoencoders"). The selection bias only decides who is selected,
never how large a coefficient is; it rises for atoms that are used too rarely and falls for the
others, the balancing without an auxiliary loss of Wang et al. 2024 for mixtures of experts.
Without it a good part of the atoms ends up too rare to be predicted as concepts, or dead. It is
bounded, since biases that rise together win nothing, and what dies all the same is started again
in the direction of what is left of badly explained samples (Bricken et al. 2023).

With some thousand images the plain objective is overfitted: on 7,000 class tokens of a ViT's
tenth layer it explained .67 of the variance in training and .60 outside, and whether a concept is
active was harder to predict. A penalty on the encoder's norm and noise on its input repair that.
Both are measured in units of the error still made, so that one setting serves layers with few
and with many principal directions, and atoms that are rarely used are penalised less: otherwise
the penalty alone extinguishes them.

`TopKSAE` is this. Two others decide otherwise who is active (`cgraph.sae_activations`): for
`BatchTopKSAE` all samples of a batch compete, and `ReluSAE` makes coefficients cost something. With
both a sample has a varying number of active atoms, never more than `max_nnz`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cgraph.estimators import RandomState
from cgraph.sae_base import SparseAutoencoder, wanted_mean

if TYPE_CHECKING:
    from cgraph.sae_activations import TopK


class TopKSAE(SparseAutoencoder):
    """Sparse autoencoder with at most `max_nnz` non-negative coefficients a sample.

    Inputs are prepared vectors: centred, and whitened if so wished. The training runs in one
    thread, apart from BLAS; encoding needs NumPy alone. Equal inputs, settings and seed give equal
    bytes on one machine, provided that the number of BLAS threads is the same. A scikit-learn
    estimator: it has its place in pipelines and searches.

    Parameters
    ----------
    n_components : int, optional
        Number of atoms. None: as many as X has features.
    max_nnz : int
        Largest number of active atoms of one sample. One above the number of atoms has no effect.
    max_steps : int
        Largest number of gradient steps (Adam). The learning rate is held over the first half, or
        until the explained variance stands still (`tol`, `patience`), and then falls linearly over
        as many steps again.
    tol : float
        Rise of the explained variance over `patience` steps below which it stands still; of
        X_tune if it is given, otherwise of the batches. Looked at every 100 steps.
    patience : int or None
        Steps; None makes all `max_steps`.
    batch_size : int
        Samples a step, drawn with replacement.
    learning_rate : float
        Step size of Adam, for inputs whose mean squared norm is 1 (`fit` scales them).
    encoder_penalty : float
        Weight in the loss of the mean squared norm of the encoder's rows, in units of the
        running error. Rows of atoms used less than the mean count in proportion to their usage.
    input_noise : float
        Root mean squared norm of the Gaussian noise that the encoder's input gets while
        training, in units of the root of the running error; the decoder must explain the input
        without it.
    usage_target : float
        Wanted usage of the rarest atom, as a share of the mean usage `max_nnz / n_components`.
        0 turns the selection bias off.
    max_bias : float
        Largest selection bias, for inputs whose mean squared norm is 1. Where few atoms could do,
        biases that rise together only raise the bar for all and extinguish atoms; where few are
        truly rare, a larger one helps them.
    record_every : int
        Steps between two entries of `history_`.
    random_state : int, RandomState or None
        Seed of the starting atoms and of the batches. None takes another one each time.

    Attributes
    ----------
    components_ : float32 ndarray of shape (n_components, n_features)
        Atoms, of unit norm.
    encoder_weight_ : float32 ndarray of shape (n_components, n_features)
        With `encoder_bias_`, gives pre-activations in the units of X.
    encoder_bias_ : float32 ndarray of shape (n_components,)
        In the units of X.
    selection_bias_ : float32 ndarray of shape (n_components,)
        At least 0, in the units of X.
    history_ : list of dict
        One entry every `record_every` steps, and one for the last: `step`; `loss`, the squared
        error of the batch over the mean squared norm of X, and `explained_variance` of the batch,
        both under input noise; `explained_variance_tune`, without noise, if X_tune is given (of
        at most 4,096 of its vectors, but of all in the last entry); `dead` and `rare`, numbers of
        atoms (rare ones are used less than `usage_target` asks).
    n_steps_ : int
        Steps made.
    stopped_because_ : str
        A sentence for people.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Their names, if X has any.
    """

    def __init__(
        self,
        n_components: int | None = None,
        *,
        max_nnz: int = 10,
        max_steps: int = 6000,
        tol: float = 1e-3,
        patience: int | None = 500,
        batch_size: int = 512,
        learning_rate: float = 3e-3,
        encoder_penalty: float = 0.3,
        input_noise: float = 1.0,
        usage_target: float = 0.5,
        max_bias: float = 0.1,
        record_every: int = 100,
        random_state: RandomState = 0,
    ) -> None:
        self.n_components = n_components
        self.max_nnz = max_nnz
        self.max_steps = max_steps
        self.tol = tol
        self.patience = patience
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.encoder_penalty = encoder_penalty
        self.input_noise = input_noise
        self.usage_target = usage_target
        self.max_bias = max_bias
        self.record_every = record_every
        self.random_state = random_state

    def _activation(self, max_nnz: int) -> TopK:
        from cgraph.sae_activations import TopK

        return TopK(max_nnz, max_nnz)


class BatchTopKSAE(SparseAutoencoder):
    """Sparse autoencoder whose active atoms are the largest of a whole batch.

    Samples that need more atoms get more (Bussmann, Leask and Nanda 2024, "BatchTopK sparse
    autoencoders"), but never more than `max_nnz`. Outside of the training a threshold stands for
    the batch, so that the code of a sample depends on it alone; it is the one that leaves
    `mean_nnz` active atoms to a training sample on average.

    Parameters
    ----------
    n_components : int, optional
        Number of atoms. None: as many as X has features.
    max_nnz : int
        Largest number of active atoms of one sample. One above the number of atoms has no effect.
    mean_nnz : float, optional
        Wanted mean number of active atoms of a sample. None: half of `max_nnz`.
    max_steps, tol, patience, batch_size, learning_rate, encoder_penalty, input_noise
        As for `TopKSAE`.
    usage_target : float
        Wanted usage of the rarest atom, as a share of the mean usage `mean_nnz / n_components`.
        0 turns the selection bias off.
    max_bias : float
        As for `TopKSAE`; smaller, since atoms compete over all samples here.
    record_every, random_state
        As for `TopKSAE`.

    Attributes
    ----------
    threshold_ : float
        An atom is active where its pre-activation is positive and, with the selection bias added,
        above this; in the units of X.
    components_, encoder_weight_, encoder_bias_, selection_bias_, history_, n_steps_
        As for `TopKSAE`.
    stopped_because_, n_features_in_, feature_names_in_
        As for `TopKSAE`.
    """

    def __init__(
        self,
        n_components: int | None = None,
        *,
        max_nnz: int = 10,
        mean_nnz: float | None = None,
        max_steps: int = 6000,
        tol: float = 1e-3,
        patience: int | None = 500,
        batch_size: int = 512,
        learning_rate: float = 3e-3,
        encoder_penalty: float = 0.3,
        input_noise: float = 1.0,
        usage_target: float = 0.5,
        max_bias: float = 0.05,
        record_every: int = 100,
        random_state: RandomState = 0,
    ) -> None:
        self.n_components = n_components
        self.max_nnz = max_nnz
        self.mean_nnz = mean_nnz
        self.max_steps = max_steps
        self.tol = tol
        self.patience = patience
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.encoder_penalty = encoder_penalty
        self.input_noise = input_noise
        self.usage_target = usage_target
        self.max_bias = max_bias
        self.record_every = record_every
        self.random_state = random_state

    def _check_settings(self) -> None:
        super()._check_settings()
        wanted_mean(self.mean_nnz, self.max_nnz)

    def _activation(self, max_nnz: int) -> TopK:
        from cgraph.sae_activations import BatchTopK

        return BatchTopK(max_nnz, min(wanted_mean(self.mean_nnz, self.max_nnz), max_nnz))


class ReluSAE(SparseAutoencoder):
    """Sparse autoencoder whose coefficients cost something: ReLU with an l1 penalty.

    The loss gets λ times the sum of a sample's coefficients (Bricken et al. 2023, "Towards
    monosemanticity"), atoms used less than the mean at a discount. λ is adapted until `mean_nnz`
    atoms are active on average. No more than `max_nnz` ever are, those with the largest
    pre-activations. What the penalty took from the coefficients they get back after the
    training: one factor for each atom, found by least squares, which changes no label.

    Parameters
    ----------
    n_components : int, optional
        Number of atoms. None: as many as X has features.
    max_nnz : int
        Largest number of active atoms of one sample. One above the number of atoms has no effect.
    mean_nnz : float, optional
        Wanted mean number of active atoms of a sample. None: half of `max_nnz`.
    max_steps, tol, patience, batch_size, learning_rate, encoder_penalty, input_noise
        As for `TopKSAE`. A penalty on the encoder and l1 together make coefficients so short that
        much less is explained, so the former is 0 here.
    usage_target : float
        Below this share of the mean usage `mean_nnz / n_components` an atom is called rare; it
        changes nothing else.
    record_every, random_state
        As for `TopKSAE`.

    Attributes
    ----------
    selection_bias_ : float32 ndarray of shape (n_components,)
        Zeros: every positive pre-activation is active.
    components_, encoder_weight_, encoder_bias_, history_, n_steps_, stopped_because_
        As for `TopKSAE`.
    n_features_in_, feature_names_in_
        As for `TopKSAE`.
    """

    def __init__(
        self,
        n_components: int | None = None,
        *,
        max_nnz: int = 10,
        mean_nnz: float | None = None,
        max_steps: int = 6000,
        tol: float = 1e-3,
        patience: int | None = 500,
        batch_size: int = 512,
        learning_rate: float = 3e-3,
        encoder_penalty: float = 0.0,
        input_noise: float = 0.5,
        usage_target: float = 0.5,
        record_every: int = 100,
        random_state: RandomState = 0,
    ) -> None:
        self.n_components = n_components
        self.max_nnz = max_nnz
        self.mean_nnz = mean_nnz
        self.max_steps = max_steps
        self.tol = tol
        self.patience = patience
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.encoder_penalty = encoder_penalty
        self.input_noise = input_noise
        self.usage_target = usage_target
        self.record_every = record_every
        self.random_state = random_state

    def _check_settings(self) -> None:
        super()._check_settings()
        wanted_mean(self.mean_nnz, self.max_nnz)

    def _activation(self, max_nnz: int) -> TopK:
        from cgraph.sae_activations import Relu

        return Relu(max_nnz, min(wanted_mean(self.mean_nnz, self.max_nnz), max_nnz))
