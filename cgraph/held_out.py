"""What the stored predictors say of the held-out images of a study.

The figures of a study are stored; curves and single images are not, since they follow from the
predictors and the labels within moments. Scores are balanced log-odds, as `cgraph.predictor` has
them, and are measured on images that took part in no fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cgraph.concept import ConceptId
from cgraph.config import HELD_OUT
from cgraph.errors import DataError
from cgraph.manifest import tokens_file
from cgraph.operating_points import OperatingPoints, operating_points
from cgraph.store import read_array

if TYPE_CHECKING:
    from scipy import sparse

    from cgraph.study import Study

_ROWS = 1024  # images whose pre-activations are dense at a time


@dataclass(frozen=True)
class ConceptScores:
    """One concept on every held-out image.

    Attributes
    ----------
    concept : ConceptId
    rows : ndarray of int, shape (n_images,)
        Rows of the images in the study, rising.
    scores : ndarray of float32, shape (n_images,)
        Balanced log-odds.
    probabilities : ndarray of float64, shape (n_images,)
        Calibrated to the natural world: how often such images have the concept.
    positive : ndarray of bool, shape (n_images,)
        Where it is active.
    threshold : float
        τ, on the probabilities.
    half : float
        The calibrated probability at which the balanced one is 0.5, the paper's threshold.
    """

    concept: ConceptId
    rows: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray
    positive: np.ndarray
    threshold: float
    half: float

    @property
    def points(self) -> OperatingPoints:
        """Every threshold on the probabilities."""
        return operating_points(self.probabilities, self.positive)

    def most_confident_mistakes(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the images that any threshold gets wrong first.

        Parameters
        ----------
        n : int

        Returns
        -------
        without, having : ndarray of int, shape (at most n,)
            Places of the images without the concept that are likeliest to have it, likeliest
            first, and of those with it that are least likely to. At any threshold the false
            positives, and the false negatives, by falling confidence begin with those of them
            that it gets wrong.
        """
        without, having = np.flatnonzero(~self.positive), np.flatnonzero(self.positive)
        likeliest = np.argsort(-self.probabilities[without], kind="stable")[:n]
        least = np.argsort(self.probabilities[having], kind="stable")[:n]
        return without[likeliest], having[least]


class HeldOutPair:
    """The concepts of a layer, scored from the layer before on all held-out images.

    Parameters
    ----------
    study : Study
    layer : int
        Of the children, 2 … n_layers.

    Raises
    ------
    ConfigError
        If there is no such pair of layers.
    DataError
        If the study keeps no held-out images, or its predictors take pre-activations and it keeps
        no tokens to compute them from.
    """

    def __init__(self, study: Study, layer: int) -> None:
        self.graph = study.graph
        self.weights = study.graph.weight_matrix(layer)
        self.layer = layer
        self.rows = study.rows(HELD_OUT)
        if not len(self.rows):
            raise DataError(
                f"The study {study.name!r} keeps no held-out images, so nothing can be measured on "
                "them. Build it from more images."
            )
        self._inputs = layer_inputs(study, layer - 1, self.rows)
        self._labels = study.codes(layer).take(self.rows)

    def scores(self, children: np.ndarray) -> np.ndarray:
        """Return balanced log-odds.

        Parameters
        ----------
        children : ndarray of int, shape (n_children,)

        Returns
        -------
        ndarray of float32, shape (n_images, n_children)
            NaN where no predictor was fitted.
        """
        weights = self.weights[children].astype(np.float64).T.tocsr()
        intercept = self.graph.column(self.layer, "intercept")[children]
        return (self._inputs @ weights).toarray().astype(np.float32) + intercept

    def labels(self, children: np.ndarray) -> sparse.csc_array:
        """Return where some concepts are active, shape ``(n_images, n_children)``."""
        return self._labels.to_csr(binary=True).tocsc()[:, children]

    def concept(self, index: int) -> ConceptScores:
        """Return one concept on every held-out image.

        Raises
        ------
        DataError
            If no predictor of it was fitted.
        """
        from scipy.special import expit

        concept = ConceptId(self.layer, index)
        record = self.graph.record(concept)
        if not record.fitted:
            raise DataError(
                f"No predictor of {concept} was fitted: it is active in {record.n_train} training "
                "images, which are too few or nearly all. Choose another concept."
            )
        scores = self.scores(np.array([index]))[:, 0]
        positive = np.zeros(len(self.rows), dtype=np.bool_)
        positive[self._labels.positives(index)] = True
        # In single precision throughout, as the stored labels were predicted.
        slope, offset = np.float32(record.slope), np.float32(record.offset)
        return ConceptScores(
            concept=concept,
            rows=self.rows,
            scores=scores,
            probabilities=expit(slope * scores + offset).astype(np.float64),
            positive=positive,
            threshold=record.threshold,
            half=float(expit(offset)),
        )

    def contributions(self, index: int, place: int) -> list[tuple[ConceptId, float]]:
        """Return what each active parent of a concept adds to its log-odds in one image.

        Parameters
        ----------
        index : int
            Of the child.
        place : int
            Place of the image among the held-out ones.

        Returns
        -------
        list of (ConceptId, float)
            The largest absolute value first.
        """
        row = self._inputs[[place]].tocsr()
        weights = self.weights[[index]].tocsr()
        of_parent = dict(zip(weights.indices.tolist(), weights.data.tolist(), strict=True))
        found = [
            (ConceptId(self.layer - 1, parent), of_parent[parent] * value)
            for parent, value in zip(row.indices.tolist(), row.data.tolist(), strict=True)
            if parent in of_parent
        ]
        return sorted(found, key=lambda pair: (-abs(pair[1]), pair[0]))


def layer_inputs(
    study: Study, layer: int, rows: np.ndarray, tokens: np.ndarray | None = None
) -> sparse.csr_array:
    """Return what a layer gives to the predictors of the next for some images.

    Parameters
    ----------
    study : Study
    layer : int
        Of the parents.
    rows : ndarray of int, shape (n,)
        Rows of the study.
    tokens : ndarray of float32, shape (n, d_model), optional
        Their tokens, for predictors that take pre-activations; read from the study if left out.

    Returns
    -------
    sparse array of float64, shape (n, n_atoms)

    Raises
    ------
    DataError
        If tokens are needed, and neither given nor kept in the study.
    """
    kind, scale = (study.manifest.graph[key] for key in ("inputs", "input_scales"))
    if kind == "pre-activations":
        if tokens is None:
            tokens = _stored_tokens(study, layer)[rows]
        return _pre_activations(study, layer, tokens, scale[layer - 1])
    inputs = study.codes(layer).take(rows).to_csr(binary=kind == "labels").astype(np.float64)
    if kind == "codes":
        inputs.data /= scale[layer - 1]
    return inputs


def _stored_tokens(study: Study, layer: int) -> np.ndarray:
    """Read the tokens of a layer from a study that keeps them."""
    parts = [tokens_file(layer, part) for part in range(int(study.manifest.images["n_parts"]))]
    if not all(part in study.manifest.files for part in parts):
        raise DataError(
            f"The predictors of the study {study.name!r} take pre-activations, and it keeps no "
            "tokens to compute them from. Build it with keep_tokens to see curves and images; the "
            "stored figures hold all the same."
        )
    return np.concatenate([read_array(study.file(part)) for part in parts])


def _pre_activations(
    study: Study, layer: int, tokens: np.ndarray, scale: float
) -> sparse.csr_array:
    from scipy import sparse

    dictionary = study.dictionary(layer)
    blocks = [
        sparse.csr_array(
            dictionary.pre_activations(tokens[start : start + _ROWS]) / np.float64(scale)
        )
        for start in range(0, max(1, len(tokens)), _ROWS)
    ]
    return sparse.vstack(blocks, format="csr")
