import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.metrics import matthews_corrcoef

from cgraph.attributes import attribute_table
from cgraph.codes import Codes
from cgraph.concept import ConceptId
from cgraph.naming import (
    best_matches,
    concept_matches,
    name_concepts,
    names_from_table,
    names_to_table,
)

N = 1200
TUNE, HELD_OUT = np.arange(0, N // 2), np.arange(N // 2, N)


def codes_of(labels):
    rows = sparse.csr_array(np.asarray(labels, dtype=np.float32))
    return Codes(rows.indptr, rows.indices, rows.data, rows.shape[1])


@pytest.fixture
def world():
    """Grounds, colours and counts of images, drawn at random."""
    rng = np.random.default_rng(0)
    ground = rng.choice(["sand", "sky", "night"], N)
    colour = rng.choice(["red", "blue"], N)
    count = rng.choice([1, 2], N)
    records = [
        {"ground": str(g), "colour": str(c), "count": int(n), "caption": f"picture {place}"}
        for place, (g, c, n) in enumerate(zip(ground, colour, count, strict=True))
    ]
    return ground, colour, count, attribute_table(records), rng


def named(labels, table):
    names = name_concepts(codes_of(np.column_stack(labels)), table, TUNE, HELD_OUT)
    return [None if name is None else name.text for name in names]


def test_concepts_are_called_what_they_match(world):
    ground, colour, count, table, rng = world
    noise = rng.random(N) < 0.05
    labels = [ground == "sand", (colour == "red") ^ noise, count == 2, rng.random(N) < 0.3]
    assert named(labels, table) == ["sand", "red", "count 2", None]


def test_strength_is_the_correlation_on_held_out_images(world):
    ground, _, _, table, rng = world
    label = (ground == "sky") ^ (rng.random(N) < 0.15)
    name = name_concepts(codes_of(label[:, None]), table, TUNE, HELD_OUT)[0]
    for rows, strength in ((TUNE, name.strength_tune), (HELD_OUT, name.strength)):
        expected = np.corrcoef(label[rows], ground[rows] == "sky")[0, 1]
        assert strength == pytest.approx(expected)
    assert (name.attribute, name.value) == ("ground", "sky")


def test_held_out_images_take_no_part_in_the_choice(world):
    ground, colour, _, table, _ = world
    label = np.where(np.arange(N) < N // 2, ground == "sand", colour == "red")
    name = name_concepts(codes_of(label[:, None]), table, TUNE, HELD_OUT)[0]
    assert name.text == "sand" and abs(name.strength) < 0.15


def test_siblings_are_told_apart_by_a_second_value(world):
    ground, colour, count, table, rng = world
    sand = ground == "sand"
    labels = [
        sand & (colour == "red"),
        sand & (count == 2) & (rng.random(N) < 0.9),
        sand,
        sand & (rng.random(N) < 0.9),
    ]
    assert named(labels, table) == ["sand, red", "sand, count 2", "sand 1", "sand 2"]


def test_a_value_of_two_attributes_says_which(world):
    ground, colour, _, _, _ = world
    records = [
        {"fruit": "orange" if g == "sand" else "pear", "colour": "orange" if c == "red" else "grey"}
        for g, c in zip(ground, colour, strict=True)
    ]
    assert named([ground == "sand", colour == "red"], attribute_table(records)) == [
        "orange (fruit)",
        "orange (colour)",
    ]


def test_a_truth_value_and_a_value_of_the_same_word(world):
    ground, colour, _, _, _ = world
    records = [
        {"round": bool(g == "sand"), "shape": "round" if c == "red" else "long"}
        for g, c in zip(ground, colour, strict=True)
    ]
    assert named([ground == "sand", colour == "red"], attribute_table(records)) == [
        "round (yes)",
        "round (shape)",
    ]


def test_a_handful_of_images_is_no_match(world):
    ground, _, _, table, _ = world
    rare = np.zeros(N, bool)
    rare[np.flatnonzero(ground == "sand")[:9]] = True
    assert named([rare, np.ones(N, bool), np.zeros(N, bool)], table) == [None, None, None]
    assert named([ground == "sand"], attribute_table([{}] * N)) == [None]


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_noise_has_no_name_and_names_are_unique(seed):
    rng = np.random.default_rng(seed)
    records = [{"a": str(rng.integers(6)), "b": str(rng.integers(3))} for _ in range(N)]
    table = attribute_table(records)
    assert named([rng.random(N) < 0.2 for _ in range(8)], table) == [None] * 8
    b = np.array([record["b"] for record in records])
    copies = [(b == "1") & (rng.random(N) < share) for share in (1, 0.9, 0.8, 0.7)]
    texts = named(copies, table)
    assert None not in texts and len(set(texts)) == len(texts)


def test_best_concept_of_each_value(world):
    ground, colour, _, table, rng = world
    labels = np.column_stack([colour == "red", (ground == "sky") ^ (rng.random(N) < 0.1)])
    best, on_tune, on_held_out = best_matches(codes_of(labels), table, TUNE, HELD_OUT)
    place = table.columns.index(("ground", "sky"))
    assert best[place] == 1
    assert on_held_out[place] == pytest.approx(
        np.corrcoef(labels[HELD_OUT, 1], ground[HELD_OUT] == "sky")[0, 1]
    )
    assert on_tune[table.columns.index(("colour", "red"))] == pytest.approx(1)


def test_names_survive_their_table(world):
    ground, colour, _, table, _ = world
    sand = ground == "sand"
    labels = np.column_stack([sand, sand & (colour == "red"), np.zeros(N, bool)])
    names = name_concepts(codes_of(labels), table, TUNE, HELD_OUT)
    read = names_from_table(names_to_table(7, names))
    assert read == {ConceptId(7, 0): names[0], ConceptId(7, 1): names[1]}
    assert read[ConceptId(7, 1)].second == ("colour", "red")


def test_every_concept_has_its_best_match_however_bad():
    rng = np.random.default_rng(9)
    n, tune, held_out = 600, np.arange(300), np.arange(300, 600)
    colours = rng.choice(["red", "blue", "green"], n)
    table = attribute_table([{"colour": colour} for colour in colours])
    labels = np.zeros((n, 4), dtype=bool)
    labels[:, 0] = (colours == "red") ^ (rng.random(n) < 0.05)
    labels[:, 1] = rng.random(n) < 0.4
    labels[:4, 2] = True  # too rare to match anything
    labels[:, 3] = (colours == "green") & (rng.random(n) < 0.6)
    columns, strengths = concept_matches(codes_of(labels), table, tune, held_out)
    assert table.columns[columns[0]] == ("colour", "red")
    assert table.columns[columns[3]] == ("colour", "green")
    assert columns[2] == -1 and np.isnan(strengths[2])
    for concept in (0, 1, 3):
        of = [
            matthews_corrcoef(labels[tune, concept], colours[tune] == value)
            for _, value in table.columns
        ]
        assert columns[concept] == np.argmax(of)
        value = table.columns[columns[concept]][1]
        assert strengths[concept] == pytest.approx(
            matthews_corrcoef(labels[held_out, concept], colours[held_out] == value)
        )
    nothing = attribute_table([{} for _ in range(n)])
    assert (concept_matches(codes_of(labels), nothing, tune, held_out)[0] == -1).all()
