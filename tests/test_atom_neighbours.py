import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from cgraph.atom_neighbours import chance_cosine, nearest_atoms
from cgraph.dictionary import Dictionary, PursuitEncoder, TopKEncoder


def dictionary_of(atoms, *, nonnegative=True, pursuit=False):
    atoms = np.asarray(atoms, dtype=np.float32)
    gain, mean = np.ones(len(atoms), np.float32), np.zeros(atoms.shape[1], np.float32)
    encoder = (
        PursuitEncoder(atoms, None, gain, nonnegative)
        if pursuit
        else TopKEncoder(atoms, 0 * gain, 0 * gain, gain)
    )
    return Dictionary(atoms, mean, 1, encoder)


@pytest.fixture(scope="module")
def atoms():
    drawn = np.random.default_rng(0).standard_normal((40, 9)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def test_cosines_are_those_of_scikit_learn(atoms):
    atom = np.arange(9, dtype=np.float32) - 3
    expected = cosine_similarity(atom[None], atoms)[0]
    found = nearest_atoms(atom, dictionary_of(atoms), 5)
    assert [near.index for near in found] == np.argsort(-expected)[:5].tolist()
    assert [near.cosine for near in found] == pytest.approx(np.sort(expected)[::-1][:5], abs=1e-6)


def test_an_atom_is_nearest_to_itself(atoms):
    (found,) = nearest_atoms(atoms[7], dictionary_of(atoms), 1)
    assert (found.index, found.cosine) == (7, pytest.approx(1, abs=1e-6))


def test_the_opposite_counts_only_where_codes_are_signed(atoms):
    opposite = -atoms[3]
    signed = dictionary_of(atoms, pursuit=True, nonnegative=False)
    (found,) = nearest_atoms(opposite, signed, 1)
    assert (found.index, found.cosine) == (3, pytest.approx(-1, abs=1e-6))
    for plain in (dictionary_of(atoms), dictionary_of(atoms, pursuit=True)):
        assert nearest_atoms(opposite, plain, 1)[0].index != 3


def test_the_layer_may_be_smaller_than_what_is_asked_for(atoms):
    assert len(nearest_atoms(atoms[0], dictionary_of(atoms[:4]), 6)) == 4


@pytest.mark.parametrize(("n_atoms", "d_model"), [(64, 96), (192, 192), (500, 64)])
def test_chance_against_random_directions(n_atoms, d_model):
    rng = np.random.default_rng(1)
    largest = []
    for _ in range(200):
        drawn = rng.standard_normal((n_atoms, d_model))
        largest.append((drawn[:, 0] / np.linalg.norm(drawn, axis=1)).max())
    assert chance_cosine(n_atoms, d_model) == pytest.approx(np.median(largest), rel=0.06)


def test_one_atom_is_near_by_chance_half_of_the_time():
    assert chance_cosine(1, 50) == 0
    assert chance_cosine(10**9, 1) == 1
