"""What another seed finds again: concepts, and edges between them.

The same study once more, on the same images and the same split, from an independent start: every
dictionary is learned again with another seed, its concepts are paired with the study's own, and the
predictors are fitted on its labels with other bags. Beside that, the predictors of the study's own
labels with other bags alone. Three things say what pairs found by chance would look like: the other
atoms turned at random, training tokens in their place, and labels and edges laid at random.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from cgraph.atom_matching import (
    Edges,
    EdgesAgain,
    Matching,
    edges_again,
    label_overlap,
    match_atoms,
    same,
)
from cgraph.attributes import MIN_IMAGES, attribute_table
from cgraph.bagging import fit_predictors
from cgraph.codes import Codes
from cgraph.config import HELD_OUT, IMPORTED, TRAIN, TUNE
from cgraph.dictionary import Dictionary, PursuitEncoder
from cgraph.dictionary_stages import learn
from cgraph.errors import ModelError
from cgraph.executors import SerialExecutor
from cgraph.graph_stages import PreActivationInputs, block_size
from cgraph.image_parts import sampled_rows, stored_split
from cgraph.manifest import IMAGES
from cgraph.part_reading import StoredAttributes
from cgraph.predictor import InputRows, SparseInputs
from cgraph.study import Study
from cgraph.truth_tables import STABLE_CONCEPT_SCHEMA, STABLE_EDGE_SCHEMA, STABLE_LAYER_SCHEMA
from cgraph.workbench import Arrays, Source, Workbench

_PURPOSE = 80_021  # goes into the seed of what is learned again
_CODES = ("offsets", "indices", "coefficients")


def measure(bench: Workbench) -> dict[str, pa.Table]:
    """Learn and fit the study again with another seed, and look for its concepts and edges.

    Returns
    -------
    dict
        Tables ``stable-concepts``, ``stable-edges`` and ``stable-layers``.

    Raises
    ------
    ImageError
        If the pictures cannot be had.
    ModelError
        If the model cannot be had, or the dictionaries were made elsewhere.
    """
    study = bench.study
    if study.config.dictionary.method == IMPORTED:
        raise ModelError(
            f"The dictionaries of {study.name!r} were made elsewhere, and cannot be learned again "
            "with another seed. To know how stable they are, build a study with another run of "
            "theirs and compare the two with `cgraph compare`."
        )
    bench.need_pictures()
    layers = range(1, study.n_layers + 1)
    for part in (TRAIN, TUNE, HELD_OUT):
        bench.tokens(part, 1)  # the network runs once for all layers; workers read what it leaves
    calls = [(bench.seed, layer) for layer in layers]
    bench.run("stability-dictionaries", _learn_again, calls, read=False)
    matched = bench.run("stability-matches", _match, calls)
    blocks = [
        (bench.seed, layer, start, min(start + size, n_atoms))
        for layer in layers[1:]
        for n_atoms in [study.graph.n_concepts(layer)]
        for size in [block_size(n_atoms)]
        for start in range(0, n_atoms, size)
    ]
    fits = bench.run("stability-edges", _fit_again, blocks)
    matchings = [Matching(**{name: found[name] for name in _MATCHING}) for found in matched]
    edges: list[Arrays] = []
    for layer in layers[1:]:
        own = [fit for block, fit in zip(blocks, fits, strict=True) if block[1] == layer]
        alive = np.flatnonzero(matched[layer - 2]["alive_again"])
        edges.append(_edges_of(study, layer, own, matchings[layer - 2 : layer], len(alive)))
    concepts = [
        {
            "layer": np.full(len(found["match"]), layer),
            "index": np.arange(len(found["match"])),
            "match": found["match"],
            "cosine": found["likeness"],
            "label_jaccard": found["jaccard"],
            "found_again": found["found"],
        }
        for layer, found in zip(layers, matched, strict=True)
    ]
    summaries = [
        _summary(layer, found, edges[layer - 2] if layer > 1 else None)
        for layer, found in zip(layers, matched, strict=True)
    ]
    return {
        "stable-concepts": _table(concepts, STABLE_CONCEPT_SCHEMA),
        "stable-edges": _table(edges, STABLE_EDGE_SCHEMA),
        "stable-layers": pa.Table.from_pylist(summaries, schema=STABLE_LAYER_SCHEMA),
    }


_MATCHING = ("match", "likeness", "found", "sign")


def _table(parts: list[Arrays], schema: pa.Schema) -> pa.Table:
    return pa.table(
        {
            field.name: pa.array(np.concatenate([part[field.name] for part in parts])).cast(
                field.type
            )
            for field in schema
        }
    )


def _edges_of(
    study: Study, layer: int, fits: list[Arrays], matchings: list[Matching], n_alive: int
) -> Arrays:
    """Return the table of the edges into a layer, with how likely each would be by chance."""
    own = study.graph.layer_edges(layer)
    n_parents = np.diff(own.starts)
    edges = Edges(own.parents, np.repeat(np.arange(len(n_parents)), n_parents), own.weights)

    def fitted(kind: str) -> Edges:
        return Edges(
            *(
                np.concatenate([fit[f"{kind}.{name}"] for fit in fits])
                for name in ("parents", "children", "weights")
            )
        )

    signed = study.config.predictor.inputs != "labels"
    left, right = matchings
    again = edges_again(edges, fitted("again"), left, right, n_alive, signed=signed)
    alive = int(study.graph.column(layer - 1, "alive").sum())
    before, after = (same(study.graph.n_concepts(number)) for number in (layer - 1, layer))
    bags: EdgesAgain = edges_again(edges, fitted("bags"), before, after, alive)
    return {
        "parent_layer": np.full(len(own.parents), layer - 1),
        "parent": edges.parents,
        "child_layer": np.full(len(own.parents), layer),
        "child": edges.children,
        "found_again": again.found,
        "found_again_bags": bags.found,
        "matched": again.matched,
        "chance": again.chance,
        "chance_bags": bags.chance,
    }


def _summary(layer: int, found: Arrays, edges: Arrays | None) -> dict[str, Any]:
    alive = found["alive"]

    def total(name: str) -> Any:
        return edges[name].sum() if edges else 0

    return {
        "layer": layer,
        "n_alive": int(alive.sum()),
        "n_found_again": int(found["found"].sum()),
        "cosine": _median(found["likeness"]),
        "n_found_rotated": int(found["n_rotated"][0]),
        "cosine_rotated": float(found["cosine_rotated"][0]),
        "n_found_tokens": int(found["n_tokens"][0]),
        "cosine_tokens": float(found["cosine_tokens"][0]),
        "jaccard": _median(found["jaccard"]),
        "jaccard_chance": _median(found["jaccard_chance"]),
        "n_edges": len(edges["parent"]) if edges else 0,
        "n_edges_matched": int(total("matched")),
        "n_edges_found_again": int(total("found_again")),
        "n_edges_chance": float(total("chance")),
        "n_edges_found_bags": int(total("found_again_bags")),
        "n_edges_chance_bags": float(total("chance_bags")),
    }


def _median(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")


# What runs on the workers.


def other_seed(seed: int) -> int:
    """Return the seed of the second study."""
    return int(np.random.SeedSequence([seed, _PURPOSE]).generate_state(1)[0])


def _tokens(source: Source, seed: int, part: str, layer: int, rows: np.ndarray) -> np.ndarray:
    """Return tokens that the workbench has kept, of some rows of the study."""
    bench = Workbench(source.study, SerialExecutor(), images=source.images, seed=seed)
    return bench.tokens(part, layer)[np.searchsorted(source.study.rows(part), rows)]


def _learned_again(source: Source, seed: int, layer: int) -> tuple[Dictionary, Codes, Codes]:
    """Return what `_learn_again` has left: the dictionary, and train and held-out codes."""
    bench = Workbench(source.study, SerialExecutor(), images=source.images, seed=seed)
    (found,) = bench.run("stability-dictionaries", _learn_again, [(seed, layer)])
    dictionary = Dictionary.from_tensors(
        {name.removeprefix("dictionary."): array for name, array in found.items()}
    )
    codes = [
        Codes(
            **{name: found[f"codes.{part}.{name}"] for name in _CODES}, n_atoms=dictionary.n_atoms
        )
        for part in (TRAIN, HELD_OUT)
    ]
    return dictionary, codes[0], codes[1]


def _rows(study: Study, part: str, at_most: int) -> np.ndarray:
    return sampled_rows(stored_split(study.path), part, at_most, study.config.seed)


def _measured_rows(study: Study) -> tuple[np.ndarray, np.ndarray]:
    """Return the train and held-out images of the predictors."""
    config = study.config.predictor
    return _rows(study, TRAIN, config.max_train), _rows(study, HELD_OUT, config.max_measured)


def _learn_again(source: Source, seed: int, layer: int) -> Arrays:
    study = source.study
    config, most = study.config, study.config.dictionary.max_tokens
    train_rows, tune_rows = _rows(study, TRAIN, most), _rows(study, TUNE, most // 4)
    known = None
    if config.dictionary.starts > 1:
        known = attribute_table(StoredAttributes(study.path / IMAGES, tune_rows), MIN_IMAGES // 2)
    dictionary, _ = learn(
        _tokens(source, seed, TRAIN, layer, train_rows),
        _tokens(source, seed, TUNE, layer, tune_rows),
        layer,
        replace(config, seed=other_seed(seed)),
        known,
    )
    kept = {f"dictionary.{name}": array for name, array in dictionary.to_tensors().items()}
    for part, rows in zip((TRAIN, HELD_OUT), _measured_rows(study), strict=True):
        codes = dictionary.encode(_tokens(source, seed, part, layer, rows))
        kept |= {f"codes.{part}.{name}": getattr(codes, name) for name in _CODES}
    return kept


def _match(source: Source, seed: int, layer: int) -> Arrays:
    study = source.study
    own = study.dictionary(layer)
    again, train, held_out = _learned_again(source, seed, layer)
    alive, alive_again = study.graph.column(layer, "alive"), train.counts() > 0
    signed = isinstance(own.encoder, PursuitEncoder) and not own.encoder.nonnegative

    def matched(others: np.ndarray, which: np.ndarray) -> Matching:
        return match_atoms(own.atoms, others, alive, which, signed=signed)

    matching = matched(again.atoms, alive_again)
    rows, held_out_rows = _measured_rows(study)
    overlap = label_overlap(study.codes(layer).take(held_out_rows), held_out, matching)
    rng = np.random.default_rng(np.random.SeedSequence([other_seed(seed), layer]))
    turn = np.linalg.qr(rng.standard_normal((own.d_model, own.d_model)))[0]
    rotated = matched(again.atoms @ turn, alive_again)
    picked = np.sort(rng.choice(rows, min(len(rows), again.n_atoms), replace=False))
    centred = _tokens(source, seed, TRAIN, layer, picked) - own.mean
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    tokens = matched(centred / np.maximum(norms, np.finfo(np.float32).tiny), norms[:, 0] > 0)
    return {
        **{name: getattr(matching, name) for name in _MATCHING},
        "alive": alive,
        "alive_again": alive_again,
        "jaccard": overlap.jaccard,
        "jaccard_chance": overlap.chance,
        "n_rotated": np.array([rotated.found.sum()]),
        "cosine_rotated": np.array([_median(rotated.likeness)]),
        "n_tokens": np.array([tokens.found.sum()]),
        "cosine_tokens": np.array([_median(tokens.likeness)]),
    }


class _Held:
    """Tokens in memory, given as those on disk are."""

    def __init__(self, tokens: np.ndarray) -> None:
        self._tokens = tokens

    def take(self, rows: np.ndarray) -> np.ndarray:
        return self._tokens[rows]


def _inputs(kind: str, dictionary: Dictionary, codes: Codes, tokens: np.ndarray) -> InputRows:
    """Return what the train images give to predictors, scaled as in a build."""
    if kind == "labels":
        return SparseInputs(codes, binary=True)
    if kind == "codes":
        values = codes.coefficients.astype(np.float64)
        scale = float(np.sqrt((values**2).sum() / max(1, len(values))))
        return SparseInputs(codes, binary=False, scale=scale)
    total = sum(
        float((dictionary.pre_activations(part).astype(np.float64) ** 2).sum())
        for part in np.array_split(tokens, max(1, len(tokens) // 1024))
    )
    scale = float(np.sqrt(total / (len(tokens) * dictionary.n_atoms)))
    return PreActivationInputs(_Held(tokens), np.arange(len(tokens)), dictionary, scale)


def _fit_again(source: Source, seed: int, layer: int, start: int, end: int) -> Arrays:
    """Fit some concepts of a layer with other bags, on the labels of both dictionaries."""
    study = source.study
    config = study.config.predictor
    train, _ = _measured_rows(study)
    tokens = np.empty((0, study.d_model), dtype=np.float32)
    if config.inputs == "pre-activations":
        tokens = _tokens(source, seed, TRAIN, layer - 1, train)
    dictionary, left, _ = _learned_again(source, seed, layer - 1)
    right = _learned_again(source, seed, layer)[1]
    both = {
        "again": (_inputs(config.inputs, dictionary, left, tokens), right),
        "bags": (
            _inputs(
                config.inputs, study.dictionary(layer - 1), study.codes(layer - 1).take(train),
                tokens,
            ),
            study.codes(layer).take(train),
        ),
    }  # fmt: skip
    found = {}
    for kind, (inputs, labels) in both.items():
        children = np.arange(start, end)
        fits = fit_predictors(inputs, labels, children, config, entropy=(other_seed(seed), layer))
        found[f"{kind}.parents"] = fits.parents
        found[f"{kind}.children"] = np.repeat(fits.children, np.diff(fits.offsets))
        found[f"{kind}.weights"] = fits.weights
    return found
