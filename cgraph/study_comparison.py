"""Two studies side by side: which concepts and edges of one the other has, too.

Two seeds, two models, or one model before and after fine-tuning. Concepts are paired layer by layer
(`cgraph.atom_matching`): by the cosines of their atoms where both studies read tokens of the same
space, and by their labels on shared images elsewhere. Images are shared when their pixels are the
same. Half of them, by hash, choose the pairs by label; the other half says how far labels agree, so
that pairs that were found by chance do not look good.

Layers are compared one with one where both models have as many. Elsewhere every layer of the study
with fewer is compared with the one at the same relative depth, and edges where two such layers
follow each other in both.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cgraph.atom_matching import (
    FOUND_COSINE,
    FOUND_JACCARD,
    Edges,
    Matching,
    edges_again,
    label_overlap,
    match_atoms,
    match_labels,
)
from cgraph.concept import ConceptId
from cgraph.dictionary import Dictionary, PursuitEncoder
from cgraph.errors import ConfigError, DataError

if TYPE_CHECKING:
    from cgraph.study import Study

AUTO, COSINES, LABELS = WAYS = ("auto", "cosines", "labels")
"""How concepts are paired; ``auto`` takes cosines where both studies read tokens of one space."""

SAME_SPACE = 0.5
"""Least median cosine of two studies' reconstructions of the same image, both less their mean, at
which their tokens count as of one space."""

LEAST_SHARED = 100
"""Fewest shared images that pairs are chosen by."""

_LOOKED_AT = 1000  # shared images whose reconstructions are compared


@dataclass(frozen=True)
class StudyComparison:
    """What `compare_studies` found.

    Attributes
    ----------
    left, right : dict
        What each study is: ``name``, ``model``, ``images``, ``n_images``, ``seed``, ``method``,
        ``n_layers``, ``d_model``.
    by : str
        ``cosines`` or ``labels``.
    why : str
        A sentence that says why.
    n_shared : int
        Images that both hold.
    layers, concepts : list of dict
        Rows: one for each pair of layers, and one for each concept of the left study.
    truth : dict
        Each figure of `cgraph.truth_figures` that one of them has: a pair of values or None.
    """

    left: dict[str, Any]
    right: dict[str, Any]
    by: str
    why: str
    n_shared: int
    layers: list[dict[str, Any]]
    concepts: list[dict[str, Any]]
    truth: dict[str, tuple[float | None, float | None]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "studies": [self.left, self.right],
            "by": self.by,
            "why": self.why,
            "found_above": FOUND_COSINE if self.by == COSINES else FOUND_JACCARD,
            "n_shared": self.n_shared,
            "layers": self.layers,
            "concepts": self.concepts,
            "truth": {name: list(values) for name, values in self.truth.items()},
        }


def compare_studies(left: Study, right: Study, by: str = AUTO) -> StudyComparison:
    """Compare two studies.

    Parameters
    ----------
    left, right : Study
    by : {"auto", "cosines", "labels"}
        How concepts are paired.

    Returns
    -------
    StudyComparison

    Raises
    ------
    ConfigError
        If the way is unknown.
    DataError
        If the studies have nothing to pair concepts by.
    """
    if by not in WAYS:
        raise ConfigError(f"The way to pair concepts is {by!r}. Allowed: {', '.join(WAYS)}.")
    shared = _shared_rows(left, right)
    n_shared = len(shared[0])
    pairs = paired_layers(left.n_layers, right.n_layers)
    by, why = _way(left, right, shared, pairs, by)
    hashes = left.pixel_hashes
    even = np.array([_is_even(hashes[row]) for row in shared[0].tolist()], dtype=bool)
    chosen, rest = np.flatnonzero(even), np.flatnonzero(~even)
    layers: list[dict[str, Any]] = []
    concepts: list[dict[str, Any]] = []
    before: tuple[tuple[int, int], Matching] | None = None
    for numbers in pairs:
        codes, others = (
            study.codes(number).take(rows)
            for study, number, rows in zip((left, right), numbers, shared, strict=True)
        )
        if by == COSINES:
            matching = _by_cosine(left, right, numbers)
            overlap = label_overlap(codes, others, matching)
        else:
            matching = match_labels(codes.take(chosen), others.take(chosen))
            overlap = label_overlap(codes.take(rest), others.take(rest), matching)
        own = _concepts(left, right, numbers, matching, overlap.jaccard, overlap.correlation)
        concepts += own
        both_named = [row for row in own if row["name"] and row["other_name"]]
        layers.append(
            {
                "layer": numbers[0],
                "other_layer": numbers[1],
                "n_concepts": _n_alive(left, numbers[0]),
                "n_others": _n_alive(right, numbers[1]),
                "n_found": int(matching.found.sum()),
                "likeness": _median(matching.likeness),
                "jaccard": _median(overlap.jaccard),
                "jaccard_chance": _median(overlap.chance),
                "correlation": _median(overlap.correlation),
                "n_named": len(both_named),
                "n_names_kept": sum(not row["moved"] for row in both_named),
                "auc": _auc(left, numbers[0]),
                "other_auc": _auc(right, numbers[1]),
                **_edges(left, right, numbers, before, matching),
            }
        )
        before = numbers, matching
    figures = left.truth, right.truth
    names = dict.fromkeys([*figures[0], *figures[1]])
    return StudyComparison(
        left=_facts(left),
        right=_facts(right),
        by=by,
        why=why,
        n_shared=n_shared,
        layers=layers,
        concepts=concepts,
        truth={name: (figures[0].get(name), figures[1].get(name)) for name in names},
    )


def paired_layers(n_left: int, n_right: int) -> list[tuple[int, int]]:
    """Return which layers are compared: each of the study with fewer, at its relative depth.

    Parameters
    ----------
    n_left, n_right : int
        Layers of the two studies.

    Returns
    -------
    list of (int, int)
        Rising; the last layers are compared in any case.
    """
    fewer, more = sorted((n_left, n_right))
    # Half up, which for whole numbers is (2 a + b) // 2 b.
    depths = [(2 * layer * more + fewer) // (2 * fewer) for layer in range(1, fewer + 1)]
    pairs = list(zip(range(1, fewer + 1), depths, strict=True))
    return pairs if n_left <= n_right else [(deep, own) for own, deep in pairs]


def _shared_rows(left: Study, right: Study) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the images that both hold, the first of those that are identical."""
    first: dict[str, int] = {}
    for row, key in enumerate(right.pixel_hashes):
        first.setdefault(key, row)
    found: dict[int, int] = {}
    for row, key in enumerate(left.pixel_hashes):
        if key in first and first[key] not in found:
            found[first[key]] = row
    return np.array(list(found.values()), dtype=np.int64), np.array(list(found), dtype=np.int64)


def _is_even(pixel_hash: str) -> bool:
    return hashlib.sha256(pixel_hash.encode()).digest()[0] % 2 == 0


def _way(
    left: Study,
    right: Study,
    shared: tuple[np.ndarray, np.ndarray],
    pairs: list[tuple[int, int]],
    by: str,
) -> tuple[str, str]:
    """Return how concepts are paired, and why."""
    widths, n_shared = (left.d_model, right.d_model), len(shared[0])
    few = f"they share {n_shared} images, and pairing concepts by their labels needs {LEAST_SHARED}"
    if widths[0] != widths[1]:
        if by == COSINES:
            raise DataError(
                f"The tokens of {left.name!r} have {widths[0]} numbers and those of "
                f"{right.name!r} {widths[1]}: atoms of different width have no cosine. Leave --by "
                "out, to compare labels on shared images."
            )
        if n_shared < LEAST_SHARED:
            raise DataError(
                f"{left.name!r} and {right.name!r} cannot be compared: their tokens have "
                f"{widths[0]} and {widths[1]} numbers, and {few}. Build one of the studies from "
                "the images of the other."
            )
        return LABELS, "the tokens have different widths"
    if by == LABELS and n_shared < LEAST_SHARED:
        raise DataError(
            f"{left.name!r} and {right.name!r} cannot be compared by labels: {few}. Leave --by "
            "out, or build one of the studies from the images of the other."
        )
    if by != AUTO:
        return by, "it was asked for"
    same = all(left.manifest.model.get(key) == right.manifest.model.get(key) for key in _IDENTITY)
    if same and left.manifest.token == right.manifest.token:
        return COSINES, "both read the same model"
    if n_shared == 0:
        return COSINES, (
            "the tokens have the same width, and without shared images nothing says whether they "
            "are of one space"
        )
    alike = _space(left, right, shared, pairs)
    words = f"reconstructions of the same images have a median cosine of {alike:.2f}"
    if alike >= SAME_SPACE or n_shared < LEAST_SHARED:
        return COSINES, words
    return LABELS, f"{words}, so the tokens are of different spaces"


_IDENTITY = ("weights_sha256", "n_layers")


def _space(
    left: Study,
    right: Study,
    shared: tuple[np.ndarray, np.ndarray],
    pairs: list[tuple[int, int]],
) -> float:
    """Return how alike the reconstructions of shared images are, less the means of each study."""
    every = np.linspace(0, len(shared[0]) - 1, min(_LOOKED_AT, len(shared[0]))).astype(np.int64)
    found = []
    for numbers in pairs:
        sides = []
        for study, number, rows in zip((left, right), numbers, shared, strict=True):
            dictionary = study.dictionary(number)
            decoded = dictionary.decode(study.codes(number).take(rows[every]))
            centred = decoded - decoded.mean(axis=0)
            norms = np.linalg.norm(centred, axis=1, keepdims=True)
            sides.append(centred / np.maximum(norms, np.finfo(np.float32).tiny))
        found.append(float(np.median((sides[0] * sides[1]).sum(axis=1))))
    return float(np.median(found))


def _by_cosine(left: Study, right: Study, numbers: tuple[int, int]) -> Matching:
    own, other = left.dictionary(numbers[0]), right.dictionary(numbers[1])
    return match_atoms(
        own.atoms,
        other.atoms,
        left.graph.column(numbers[0], "alive"),
        right.graph.column(numbers[1], "alive"),
        signed=_signed(own) or _signed(other),
    )


def _signed(dictionary: Dictionary) -> bool:
    return isinstance(dictionary.encoder, PursuitEncoder) and not dictionary.encoder.nonnegative


def _n_alive(study: Study, layer: int) -> int:
    return int(study.graph.column(layer, "alive").sum())


def _edges(
    left: Study,
    right: Study,
    numbers: tuple[int, int],
    before: tuple[tuple[int, int], Matching] | None,
    matching: Matching,
) -> dict[str, Any]:
    """Compare the edges into a pair of layers, where those before are compared, too."""
    nothing = {"n_edges": None, "n_edges_matched": None, "n_edges_found": None,
               "n_edges_chance": None}  # fmt: skip
    if before is None or tuple(n - 1 for n in numbers) != before[0]:
        return nothing
    own, other = (_edge_ends(study, n) for study, n in zip((left, right), numbers, strict=True))
    signed = left.config.predictor.inputs != "labels"
    n_possible = _n_alive(right, numbers[1] - 1)
    again = edges_again(own, other, before[1], matching, n_possible, signed=signed)
    return {
        "n_edges": len(again.found),
        "n_edges_matched": int(again.matched.sum()),
        "n_edges_found": int(again.found.sum()),
        "n_edges_chance": float(again.chance.sum()),
    }


def _edge_ends(study: Study, layer: int) -> Edges:
    edges = study.graph.layer_edges(layer)
    n_parents = np.diff(edges.starts)
    return Edges(edges.parents, np.repeat(np.arange(len(n_parents)), n_parents), edges.weights)


def _concepts(
    left: Study,
    right: Study,
    numbers: tuple[int, int],
    matching: Matching,
    jaccard: np.ndarray,
    correlation: np.ndarray,
) -> list[dict[str, Any]]:
    rows = []
    for index, match in enumerate(matching.match.tolist()):
        concept = ConceptId(numbers[0], index)
        other = ConceptId(numbers[1], match) if match >= 0 else None
        name, other_name = _name(left, concept), _name(right, other) if other else ""
        rows.append(
            {
                "concept": str(concept),
                "name": name,
                "match": str(other) if other else None,
                "other_name": other_name,
                "moved": bool(name and other_name and name != other_name),
                "likeness": _known(matching.likeness[index]),
                "found": bool(matching.found[index]),
                "jaccard": _known(jaccard[index]),
                "correlation": _known(correlation[index]),
            }
        )
    return rows


def _name(study: Study, concept: ConceptId) -> str:
    name = study.name_of(concept)
    return "" if name is None else name.text


def _auc(study: Study, layer: int) -> float | None:
    """Return the mean held-out AUC of a layer's scored concepts; None for the first layer."""
    table = study.evaluation("pairs").select(["right", "auc_mean"]).to_pylist()
    return next((row["auc_mean"] for row in table if row["right"] == layer), None)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _median(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else None


def _facts(study: Study) -> dict[str, Any]:
    dictionary = study.config.dictionary
    return {
        "name": study.name,
        "model": study.manifest.model.get("id"),
        "images": study.manifest.images.get("id"),
        "n_images": len(study.image_ids),
        "seed": study.config.seed,
        "method": dictionary.method,
        "n_layers": study.n_layers,
        "d_model": study.d_model,
    }
