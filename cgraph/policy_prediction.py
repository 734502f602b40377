"""Whether the labels of A foretell those of B at all: the question behind a rule that holds.

A graph may hold no path and B still go with A, by way of the patches, of what codes leave out, or
of edges too weak to be kept. So for each concept b of B a logistic model on all labels of A is
fitted on training images and judged by its AUC on held-out ones. Its chance is found by giving the
held-out labels to other images at random; the figure is the best AUC over B, and the p value says
how often the best of permuted labels is as good (Phipson and Smyth 2010: never 0).
"""

from __future__ import annotations

import numpy as np

from cgraph.concept_sets import ResolvedSet
from cgraph.config import HELD_OUT, TRAIN
from cgraph.newton_logistic import fit_dense
from cgraph.policy_clock import Clock
from cgraph.policy_subject import Subject
from cgraph.policy_verdicts import Prediction

N_PERMUTATIONS = 999
MOST_TARGETS = 32
"""Concepts of B that are tested: the most frequent."""

LEAST_POSITIVES = 10
"""Training and held-out images that must have, and lack, a concept that is tested."""

PENALTY = 1.0
"""l2 penalty, for inputs of standard deviation 1."""


def predicts(
    subject: Subject, source: ResolvedSet, target: ResolvedSet, seed: int, clock: Clock
) -> Prediction:
    """Test whether A foretells B.

    Parameters
    ----------
    subject : Subject
    source, target : ResolvedSet
        A and B.
    seed : int
        Of the permutations.
    clock : Clock

    Raises
    ------
    TimeOut
    """
    from scipy.stats import rankdata

    train, held_out = subject.rows(TRAIN), subject.rows(HELD_OUT)
    wanted = subject.columns(target.concepts, train)
    shown = subject.columns(target.concepts, held_out)
    counts, counts_shown = wanted.sum(axis=0), shown.sum(axis=0)
    able = (np.minimum(counts, len(train) - counts) >= LEAST_POSITIVES) & (
        np.minimum(counts_shown, len(held_out) - counts_shown) >= LEAST_POSITIVES
    )
    chosen = np.flatnonzero(able)
    chosen = chosen[np.argsort(-counts[chosen], kind="stable")[:MOST_TARGETS]]
    n_targets = len(target.concepts)
    if not len(chosen):
        text = (
            f"Whether {source.name} foretells {target.name} cannot be tested: no concept of it is "
            f"active, and silent, in {LEAST_POSITIVES} training and held-out images."
        )
        return Prediction(float("nan"), "", float("nan"), 0, n_targets, len(held_out), text)
    inputs = np.ascontiguousarray(subject.columns(source.concepts, train).T, dtype=float)
    at_test = subject.columns(source.concepts, held_out).astype(float)
    scores = np.empty((len(held_out), len(chosen)))
    for column, place in enumerate(chosen.tolist()):
        clock.check()
        fit = fit_dense(inputs, wanted[:, place], PENALTY)
        scores[:, column] = at_test @ fit.weights + fit.intercept
    ranks = np.asarray(rankdata(scores, axis=0))
    labels = shown[:, chosen]
    areas = _areas(ranks, labels)
    rng = np.random.default_rng((seed, len(held_out), len(chosen)))
    n_as_good = 0
    for _ in range(N_PERMUTATIONS):
        n_as_good += _areas(ranks, labels[rng.permutation(len(labels))]).max() >= areas.max()
    clock.check()
    best = int(areas.argmax())
    p_value = (1 + n_as_good) / (1 + N_PERMUTATIONS)
    concept = subject.shown(target.concepts[chosen[best]])
    does = "foretell" if p_value < 0.01 else "do not foretell"
    text = (
        f"On {len(held_out):,} held-out images the labels of {source.name} {does} those of "
        f"{target.name}: AUC {areas[best]:.3f} for {concept.called}, the best of {len(chosen)} "
        f"tested, p = {p_value:.3f} by {N_PERMUTATIONS} permutations."
    )
    return Prediction(
        float(areas[best]), concept.id, p_value, len(chosen), n_targets, len(held_out), text
    )


def _areas(ranks: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve of each column, from ranks of its scores."""
    n_positive = labels.sum(axis=0)
    sums = np.einsum("ij,ij->j", ranks, labels)
    pairs = n_positive * (len(labels) - n_positive)
    return (sums - n_positive * (n_positive + 1) / 2) / pairs
