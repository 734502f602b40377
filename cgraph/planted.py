"""Planted dictionaries, codes and graphs of any size, whose right answer is known.

What a method should find is put in by hand: every concept belongs to a *topic* (see
`cgraph.planted_topics`), its parents and their weights are drawn, and the labels of each layer are
sampled from these very predictors. For concept ``i`` of layer ``l + 1``, given the labels ``y`` of
layer ``l``, the log-odds in a world where a share ``π_i`` of the images has it are::

    η_i = b_i + log(π_i / (1 − π_i)) + Σ_j w_ij y_j

with the balanced intercept ``b_i`` of a predictor (see `cgraph.predictor`). The active concepts are
those with the largest ``η_i + g_i``, where the ``g_i`` are independent Gumbel numbers: this draws
`max_nnz` concepts without replacement, each time in proportion to exp(η) (Plackett and Luce; Kool
et al. 2019, "Stochastic beams and where to find them").

Of the parents of a concept a few of its own topic, the *main* ones, speak strongly for it; the
others of its topic weakly against it, so that no topic crowds out the others on the way through the
layers; the rest, first of all those of topics that share a shape or a colour, speak weakly for it,
some against it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from scipy import sparse
from scipy.special import logit

from cgraph.codes import Codes
from cgraph.config import SPLIT_SHARES
from cgraph.dictionary import Dictionary, TopKEncoder
from cgraph.graph import ConceptGraph
from cgraph.planted_config import PAPER_MEAN_PARENTS, PlantedConfig, Stream
from cgraph.planted_topics import NO_TOPIC, PLACES, related_topics
from cgraph.predictor import Predictors
from cgraph.predictor_tables import concept_table, edge_table

_PEAKS, _SPREADS, _FEW_SHARE = (24.0, 66.0), (6.5, 11.5), 0.515

_N_MAIN, _MAIN_WEIGHT, _MAIN_SPREAD = 3, 6.0, 0.6
_SIBLING_WEIGHT, _WEAK_WEIGHT = -0.3, 0.2
_AGAINST_SHARE = 0.1  # of the parents of other topics, that speak against
_NATURAL_INTERCEPT = -7.5  # log-odds of a concept without an active parent
_TOPIC_LOG_ODDS = 8.0  # that a shown topic adds in layer 1
_SKEW_WITHIN, _SKEW_TOPICS = 0.4, 0.7
_MOST_SHOWN = 3  # topics of an image

_SHORTEST_WAIT = 1e-6  # keeps the logarithm finite
_ROWS = 1000  # images sampled at a time, whose scores of all concepts are dense


@dataclass(frozen=True)
class PlantedGraph:
    """The graph that a method should find.

    Attributes
    ----------
    topic_of : ndarray of int16, shape (n_layers, n_atoms)
        Topic of each concept.
    prevalence : ndarray of float32, shape (n_layers, n_atoms)
        Share of the images that each concept was made for, π; of the sampled codes it is near.
    predictors : tuple of Predictors
        Of layers 2 … L. Their Platt pair is the prior one, slope 1 and offset log(π/(1−π)), and
        their threshold 0.5. Selection rates are 1, because nothing was selected; no penalty,
        violation or bag is known.
    """

    topic_of: np.ndarray
    prevalence: np.ndarray
    predictors: tuple[Predictors, ...]

    def concept_graph(self) -> ConceptGraph:
        """Return the same as a graph, of which no images have been counted yet."""
        none = np.zeros(self.topic_of.shape[1], dtype=np.int64)
        counts = dict.fromkeys(SPLIT_SHARES, none)
        layers: list[Predictors | None] = [None, *self.predictors]
        concepts = [concept_table(n, counts, 0, own) for n, own in enumerate(layers, start=1)]
        edges = [edge_table(own, n) for n, own in enumerate(self.predictors, start=2)]
        return ConceptGraph.from_tables(pa.concat_tables(concepts), pa.concat_tables(edges))


def plant_images(config: PlantedConfig) -> np.ndarray:
    """Choose the topics that each image shows.

    Returns
    -------
    ndarray of int16, shape (n_images, k)
        Two or three topics in different places (one, where there is only one place); the last one
        is `NO_TOPIC` in images that show fewer. Some topics are ten times as frequent as others.
    """
    rng = config.rng(Stream.IMAGES)
    n_places = min(len(PLACES), config.n_topics)
    most = min(_MOST_SHOWN, max(1, n_places - 1))
    places = np.argsort(rng.random((config.n_images, n_places)), axis=1)[:, :most]
    shown = np.empty((config.n_images, most), dtype=np.int16)
    chance = _topic_chances(config)
    for place in range(n_places):
        topics = np.arange(place, config.n_topics, n_places)
        here = places == place
        shares = chance[topics] / chance[topics].sum()
        shown[here] = rng.choice(topics, size=int(here.sum()), p=shares)
    if most > 1:
        shown[rng.random(config.n_images) < 0.5, -1] = NO_TOPIC
    return shown


def _topic_chances(config: PlantedConfig) -> np.ndarray:
    """Return how often topics are shown, in proportion: a power law over a random order."""
    rank = config.rng(Stream.TOPICS).permutation(config.n_topics)
    return (rank + 3.0) ** -_SKEW_TOPICS


def plant_graph(config: PlantedConfig) -> PlantedGraph:
    """Draw the parents, weights and intercepts of every concept.

    Parameters
    ----------
    config : PlantedConfig

    Returns
    -------
    PlantedGraph
        With exactly `config.total_edges` edges. The numbers of parents have two peaks, at 24 and 66
        for the paper's number of edges, and in proportion for others.
    """
    shape = config.n_layers, config.n_atoms
    topic_of, place_in = np.empty(shape, np.int16), np.empty(shape, np.int32)
    prevalence = np.empty(shape, np.float32)
    shown = np.bincount(plant_images(config).ravel() + 1, minlength=config.n_topics + 1)[1:]
    for layer in range(config.n_layers):
        rng = config.rng(Stream.SKEWS, layer)
        number = rng.permutation(config.n_atoms)
        topic_of[layer], place_in[layer] = number % config.n_topics, number // config.n_topics
        skew = np.exp(_SKEW_WITHIN * rng.standard_normal(config.n_atoms))
        of_topic = np.bincount(topic_of[layer], skew, config.n_topics)[topic_of[layer]]
        expected = (shown[topic_of[layer]] + 1.0) * skew / of_topic
        prevalence[layer] = config.max_nnz * expected / expected.sum()
    np.clip(prevalence, 1e-5, 0.5, out=prevalence)
    counts = _parent_counts(config).reshape(config.n_layers - 1, config.n_atoms)
    predictors = [
        _plant_layer(config, layer, topic_of, place_in, counts[layer - 2], prevalence[layer - 1])
        for layer in range(2, config.n_layers + 1)
    ]
    return PlantedGraph(topic_of, prevalence, tuple(predictors))


def _parent_counts(config: PlantedConfig) -> np.ndarray:
    """Draw the number of parents of every child: a mixture of two normal distributions."""
    rng = config.rng(Stream.PARENTS, 0)
    n = config.n_children
    scale = config.total_edges / n / PAPER_MEAN_PARENTS
    many = (rng.random(n) >= _FEW_SHARE).astype(int)
    counts = rng.normal(np.array(_PEAKS)[many], np.array(_SPREADS)[many]) * scale
    counts = np.clip(np.rint(counts), 1, config.n_atoms).astype(np.int64)
    while missing := config.total_edges - counts.sum():
        # One more or one less for as many children as it takes.
        room = counts < config.n_atoms if missing > 0 else counts > 1
        chosen = rng.permutation(np.flatnonzero(room))[: abs(missing)]
        counts[chosen] += np.sign(missing)
    return counts


def _plant_layer(
    config: PlantedConfig,
    layer: int,
    topic_of: np.ndarray,
    place_in: np.ndarray,
    counts: np.ndarray,
    prevalence: np.ndarray,
) -> Predictors:
    """Draw the predictors of one layer's concepts."""
    rng = config.rng(Stream.PARENTS, layer)
    parents, weights = [], []
    sizes = np.bincount(topic_of[layer - 2], minlength=config.n_topics)
    related = related_topics(config.n_topics)
    for start in range(0, config.n_atoms, _ROWS):
        rows = slice(start, start + _ROWS)
        own = topic_of[layer - 1, rows, None]
        same = topic_of[layer - 2] == own
        # Main parents stand next to their child in the ring of its topic, so that all concepts
        # have equally many main children.
        step = (place_in[layer - 2] - place_in[layer - 1, rows, None]) % sizes[own]
        main = same & (step < _N_MAIN)
        # The largest are taken: main parents, others of the topic, related ones, any.
        keys = rng.random(main.shape, dtype=np.float32) + 4 * same + 4 * main
        keys += 0.5 * related[own, topic_of[layer - 2]]
        chosen = _largest(keys, counts[rows])
        child = np.repeat(np.arange(len(own)), counts[rows])
        parents.append(chosen)
        weights.append(_weights(rng, main[child, chosen], same[child, chosen]))
    natural = _NATURAL_INTERCEPT + np.log(prevalence / _of_topic(prevalence, topic_of[layer - 1]))
    offset = logit(prevalence.astype(np.float64))
    n_edges, n = int(counts.sum()), config.n_atoms
    unknown = np.full(n, np.nan, dtype=np.float32)
    return Predictors(
        children=np.arange(n, dtype=np.int32),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        parents=np.concatenate(parents),
        weights=np.concatenate(weights),
        selection_rates=np.ones(n_edges, dtype=np.float32),
        intercept=(natural - offset).astype(np.float32),
        fitted=np.ones(n, dtype=bool),
        n_positives=np.zeros(n, dtype=np.int32),
        prevalence=prevalence,
        bag_positives=np.zeros(n, dtype=np.int32),
        penalty=unknown,
        violation=unknown.copy(),
        converged=np.ones(n, dtype=bool),
        slope=np.ones(n, dtype=np.float32),
        offset=offset.astype(np.float32),
        threshold=np.full(n, 0.5, dtype=np.float32),
    )


def _largest(keys: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the columns of the `counts` largest keys of each row, row by row, rising in each."""
    n, most = keys.shape[1], int(counts.max())
    best = np.argpartition(keys, n - most, axis=1)[:, n - most :]
    order = np.argsort(-np.take_along_axis(keys, best, axis=1), axis=1, kind="stable")
    kept = np.arange(most) < counts[:, None]
    # What is not taken sorts behind every column.
    rising = np.sort(np.where(kept, np.take_along_axis(best, order, axis=1), n), axis=1)
    return rising[kept].astype(np.int32)


def _of_topic(values: np.ndarray, topic_of: np.ndarray) -> np.ndarray:
    """Return the mean over each concept's topic."""
    return (np.bincount(topic_of, values) / np.bincount(topic_of))[topic_of]


def _weights(rng: np.random.Generator, main: np.ndarray, same: np.ndarray) -> np.ndarray:
    """Draw the weights of edges from main parents, others of the topic, and others."""
    size = np.exp(0.5 * rng.standard_normal(len(main)))
    sign = np.where(rng.random(len(main)) < _AGAINST_SHARE, -1.0, 1.0)
    strong = np.maximum(_MAIN_WEIGHT + _MAIN_SPREAD * rng.standard_normal(len(main)), 0.5)
    weak = np.where(same, _SIBLING_WEIGHT * size, _WEAK_WEIGHT * size * sign)
    return np.where(main, strong, weak).astype(np.float32)


def plant_codes(config: PlantedConfig, graph: PlantedGraph) -> list[Codes]:
    """Sample the codes of every image: layer 1 from its topics, each other from the layer before.

    Parameters
    ----------
    config : PlantedConfig
    graph : PlantedGraph
        What `plant_graph` returned for it.

    Returns
    -------
    list of Codes
        Of layers 1 … L. Every row has exactly `config.max_nnz` entries, all positive.
    """
    shown = plant_images(config)
    on = np.zeros((config.n_images, config.n_topics + 1), dtype=np.float32)
    np.put_along_axis(on, shown.astype(np.int64) % (config.n_topics + 1), _TOPIC_LOG_ODDS, axis=1)
    first = _NATURAL_INTERCEPT + np.log(
        graph.prevalence[0] / _of_topic(graph.prevalence[0], graph.topic_of[0])
    )
    codes = [_sample(config, 1, lambda rows: on[rows][:, graph.topic_of[0]] + first)]
    for layer, predictors in enumerate(graph.predictors, start=2):
        by_child = (predictors.weights, predictors.parents, predictors.offsets)
        into = sparse.csr_array(by_child, shape=(config.n_atoms, config.n_atoms)).T.tocsr()
        natural = predictors.intercept + predictors.offset
        before = codes[-1].to_csr(binary=True)
        codes.append(_sample(config, layer, partial(_log_odds, before, into, natural)))
    return codes


def _log_odds(
    before: sparse.csr_array, into: sparse.csr_array, natural: np.ndarray, rows: slice
) -> np.ndarray:
    return (before[rows] @ into).toarray() + natural


def _sample(config: PlantedConfig, layer: int, log_odds: Callable[[slice], np.ndarray]) -> Codes:
    """Sample a layer's codes by log-odds plus Gumbel noise, some rows at a time."""
    k, n, parts = config.max_nnz, config.n_atoms, []
    for start in range(0, config.n_images, _ROWS):
        rng = config.rng(Stream.CODES, layer, start)
        scores = log_odds(slice(start, min(start + _ROWS, config.n_images)))
        waits = rng.standard_exponential(scores.shape, dtype=np.float32)
        scores = scores - np.log(np.maximum(waits, _SHORTEST_WAIT))
        # The best one that is left out comes first, and the coefficients count from it.
        best = np.argpartition(scores, n - k - 1, axis=1)[:, n - k - 1 :]
        values = np.take_along_axis(scores, best, axis=1)
        margins = values[:, 1:] - values[:, :1]
        parts.append(Codes.from_padded(best[:, 1:], 0.5 + 0.25 * margins, n))
    return Codes.concatenate(parts)


def plant_dictionaries(config: PlantedConfig, means: np.ndarray | None = None) -> list[Dictionary]:
    """Draw a dictionary for every layer, with an autoencoder's encoder.

    Parameters
    ----------
    config : PlantedConfig
    means : ndarray of float32, shape (n_layers, d_model), optional
        Means of the tokens; drawn if left out.

    Returns
    -------
    list of Dictionary
        Random directions of unit norm. The encoder projects on them, and so finds most of a planted
        code again where atoms are nearly orthogonal, as they are in many dimensions.
    """
    found = []
    for layer in range(config.n_layers):
        rng = config.rng(Stream.ATOMS, layer)
        atoms = rng.standard_normal((config.n_atoms, config.d_model), dtype=np.float32)
        atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
        drawn = rng.standard_normal(config.d_model, dtype=np.float32)
        mean = drawn if means is None else means[layer].astype(np.float32)
        nothing = np.zeros(config.n_atoms, dtype=np.float32)
        encoder = TopKEncoder(atoms, nothing, nothing.copy(), nothing + 1)
        found.append(Dictionary(atoms, mean, config.max_nnz, encoder))
    return found


def plant_tokens(
    config: PlantedConfig, layer: int, dictionary: Dictionary, codes: Codes
) -> np.ndarray:
    """Return the class tokens that the codes of a layer stand for, and noise.

    Returns
    -------
    ndarray of float32, shape (n_samples, d_model)
    """
    decoded = dictionary.decode(codes).astype(np.float32)
    noise = config.rng(Stream.NOISE, layer).standard_normal(decoded.shape, dtype=np.float32)
    length = np.sqrt(np.mean((decoded - dictionary.mean) ** 2))
    return decoded + np.float32(config.noise * length) * noise
