"""Concepts and edges that another study finds again: planted, hand-made and by brute force."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from sklearn.metrics import jaccard_score, matthews_corrcoef

from cgraph.atom_matching import (
    FOUND_COSINE,
    Edges,
    edges_again,
    jaccard_matrix,
    label_overlap,
    match_atoms,
    match_labels,
    same,
)
from cgraph.codes import Codes

EVERY = np.ones(12, dtype=bool)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def planted(seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((12, 32)))


def codes_of(labels: np.ndarray) -> Codes:
    index = np.where(labels, np.arange(labels.shape[1]), -1)
    return Codes.from_padded(index, labels.astype(float), labels.shape[1])


def test_a_permuted_dictionary_is_found_whole() -> None:
    atoms = planted()
    order = np.random.default_rng(1).permutation(12)
    found = match_atoms(atoms, atoms[order], EVERY, EVERY)
    np.testing.assert_array_equal(order[found.match], np.arange(12))
    np.testing.assert_allclose(found.likeness, 1)
    assert found.found.all()


def test_a_turned_dictionary_is_not_found() -> None:
    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((32, 32)))[0]
    found = match_atoms(planted(), planted() @ turn, EVERY, EVERY)
    assert not found.found.any() and (found.match >= 0).all()


def test_each_atom_moved_by_a_known_angle() -> None:
    # Orthonormal atoms, each turned towards a direction of its own by its own angle.
    basis = np.linalg.qr(np.random.default_rng(3).standard_normal((32, 32)))[0]
    cosines = np.linspace(0.8, 1, 12)
    moved = cosines[:, None] * basis[:12] + np.sqrt(1 - cosines**2)[:, None] * basis[12:24]
    order = np.random.default_rng(4).permutation(12)
    found = match_atoms(basis[:12], moved[order], EVERY, EVERY)
    np.testing.assert_allclose(found.likeness, cosines)
    np.testing.assert_array_equal(found.found, cosines > FOUND_COSINE)


def test_the_best_total_is_found() -> None:
    rng = np.random.default_rng(5)
    atoms, others = unit(rng.standard_normal((5, 4))), unit(rng.standard_normal((5, 4)))
    cosines = atoms @ others.T
    best = max(permutations(range(5)), key=lambda order: cosines[range(5), order].sum())
    found = match_atoms(atoms, others, np.ones(5, dtype=bool), np.ones(5, dtype=bool))
    assert tuple(found.match) == best


def test_dead_atoms() -> None:
    atoms = planted()
    alive, alive_others = EVERY.copy(), EVERY.copy()
    alive[3] = False
    alive_others[[4, 5]] = False
    found = match_atoms(atoms, atoms, alive, alive_others)
    assert found.match[3] == -1 and np.isnan(found.likeness[3]) and not found.found[3]
    # Eleven are alive here and ten there: one goes to a dead atom, and is not found.
    assert sorted(found.found[[4, 5]]) == [False, False]
    assert found.found.sum() == 9
    assert len(set(found.match[found.match >= 0])) == 11
    fewer = match_atoms(atoms, atoms[:4], EVERY, EVERY[:4])
    np.testing.assert_array_equal(fewer.match >= 0, np.arange(12) < 4)


def test_opposite_atoms_are_the_same_only_where_codes_are_signed() -> None:
    atoms = planted()
    signs = np.where(np.arange(12) % 3 == 0, -1, 1)
    signed = match_atoms(atoms, atoms * signs[:, None], EVERY, EVERY, signed=True)
    np.testing.assert_array_equal(signed.match, np.arange(12))
    np.testing.assert_array_equal(signed.sign, signs)
    assert signed.found.all()
    plain = match_atoms(atoms, atoms * signs[:, None], EVERY, EVERY)
    np.testing.assert_array_equal(plain.found, signs > 0)


def test_labels_are_compared_as_scikit_learn_does() -> None:
    rng = np.random.default_rng(6)
    left, right = rng.random((80, 12)) < 0.3, rng.random((80, 12)) < 0.2
    left[:, 2] = right[:, 2] = False
    order = rng.permutation(12)
    matching = match_atoms(planted(), planted()[order], EVERY, EVERY)
    overlap = label_overlap(codes_of(left), codes_of(right), matching)
    for concept in range(12):
        a, b = left[:, concept], right[:, matching.match[concept]]
        if not (a | b).any():
            assert np.isnan(overlap.jaccard[concept])
            continue
        assert overlap.jaccard[concept] == pytest.approx(jaccard_score(a, b))
        if a.any() and b.any():
            assert overlap.correlation[concept] == pytest.approx(matthews_corrcoef(a, b))
    matrix = jaccard_matrix(codes_of(left), codes_of(right))
    assert matrix[0, 1] == pytest.approx(jaccard_score(left[:, 0], right[:, 1]))


def test_the_overlap_of_independent_labels_is_what_chance_says() -> None:
    rng = np.random.default_rng(7)
    labels, others = (rng.random((40_000, 12)) < 0.1 for _ in range(2))
    overlap = label_overlap(codes_of(labels), codes_of(others), same(12))
    np.testing.assert_allclose(overlap.jaccard, overlap.chance, atol=0.01)
    np.testing.assert_allclose(overlap.chance, 0.01 / 0.19, atol=0.005)


def test_concepts_are_matched_by_their_labels() -> None:
    rng = np.random.default_rng(8)
    labels = rng.random((200, 12)) < 0.15
    order = rng.permutation(12)
    others = labels[:, order] ^ (rng.random((200, 12)) < 0.01)
    labels[:, 5] = False
    found = match_labels(codes_of(labels), codes_of(others))
    assert found.match[5] == -1
    kept = np.arange(12) != 5
    np.testing.assert_array_equal(order[found.match[kept]], np.arange(12)[kept])
    assert found.found[kept].all()


def test_edges_by_hand() -> None:
    # Concept i here is concept 11 - i there, in both layers; parent 3 and child 7 are not found.
    atoms = planted()
    left, right = (match_atoms(atoms, atoms[::-1], EVERY, EVERY) for _ in range(2))
    left.found[3] = right.found[7] = False
    parents, children = np.array([0, 1, 2, 3, 4]), np.array([0, 0, 0, 0, 7])
    edges = Edges(parents, children, np.array([1.0, 1.0, -2.0, 1.0, 1.0]))
    others = Edges(
        np.array([11, 10, 9, 8, 5]), np.array([11, 11, 11, 11, 11]), np.array([3.0, -1, -1, 1, 1])
    )
    again = edges_again(edges, others, left, right, 12)
    np.testing.assert_array_equal(again.matched, [True, True, True, False, False])
    np.testing.assert_array_equal(again.found, [True, False, True, False, False])
    # The matched child has three positive edges and two negative ones, of 12 possible parents.
    np.testing.assert_allclose(again.chance, [3 / 12, 3 / 12, 2 / 12, 0, 0])
    # Where parents have a sign of their own, one that points the other way turns the weight's.
    left.sign[1] = -1
    np.testing.assert_array_equal(
        edges_again(edges, others, left, right, 12, signed=True).found,
        [True, True, True, False, False],
    )


def test_a_graph_finds_all_of_itself_and_nothing_of_none() -> None:
    rng = np.random.default_rng(9)
    parents, children = np.nonzero(rng.random((12, 12)) < 0.3)
    edges = Edges(parents, children, rng.standard_normal(len(parents)))
    assert edges_again(edges, edges, same(12), same(12), 12).found.all()
    none = Edges(np.empty(0, int), np.empty(0, int), np.empty(0))
    assert not edges_again(edges, none, same(12), same(12), 12).found.any()
    assert len(edges_again(none, edges, same(12), same(12), 12).found) == 0
