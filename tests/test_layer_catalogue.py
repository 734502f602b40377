import numpy as np
import pytest

from cgraph.concept import ConceptId
from cgraph.errors import ConfigError
from cgraph.given_names import GivenName
from cgraph.layer_catalogue import LayerCatalogue, concept_figures, layer_catalogue
from cgraph.naming import ConceptName
from cgraph.text_names import TextMatch, TextName

NAMES = (
    ConceptName("sand, two objects", "background", "sand", 0.9, 0.9, ("count", "two objects")),
    None,
    GivenName("Wheels", "Ada", "2026-11-25T21:04:09Z"),
    TextName("car", (TextMatch("car", 0.5, 0.5, 0.1, 0.1),)),
    ConceptName("blue", "colour", "blue", 0.8, 0.8),
    None,
)


@pytest.fixture(scope="module")
def listed():
    return LayerCatalogue(
        layer=7,
        names=NAMES,
        measured=(NAMES[0], None, ConceptName("heart", "shape", "heart", 0.5, 0.5), *NAMES[3:]),
        prevalence=np.array([0.2, 0.0, 0.5, 0.2, 0.1, 0.3]),
        auc=np.array([0.9, np.nan, 0.7, 0.95, np.nan, 0.8]),
        n_parents=np.array([4, 0, 9, 4, 0, 2]),
        n_children=np.zeros(6, dtype=np.int64),
    )


@pytest.mark.parametrize(
    ("order", "falling", "expected"),
    [
        ("index", False, [0, 1, 2, 3, 4, 5]),
        ("index", True, [5, 4, 3, 2, 1, 0]),
        ("name", False, [4, 3, 0, 2, 1, 5]),
        ("name", True, [2, 0, 3, 4, 1, 5]),
        ("frequency", True, [2, 5, 0, 3, 4, 1]),
        ("frequency", False, [1, 4, 0, 3, 5, 2]),
        ("auc", True, [3, 0, 5, 2, 1, 4]),
        ("auc", False, [2, 5, 0, 3, 1, 4]),
        ("parents", True, [2, 0, 3, 5, 1, 4]),
    ],
)
def test_orders(listed, order, falling, expected):
    assert listed.find(order=order, falling=falling).tolist() == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [0, 1, 2, 3, 4, 5]),
        ("WHEELS", [2]),
        ("colour", [4]),
        ("shape", [2]),
        ("heart wheels", [2]),
        ("count", [0]),
        ("two sand", [0]),
        ("shape=heart", [2]),
        ("sand blue", []),
        ("4", [4]),
        ("L7/4", [4]),
        ("l7/4", [4]),
        ("L6/4", []),
        ("99", []),
        ("L7/", [0, 1, 2, 3, 4, 5]),
        ("*[", []),
    ],
)
def test_searches(listed, text, expected):
    assert listed.find(text).tolist() == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("all", [0, 1, 2, 3, 4, 5]), ("named", [0, 2, 3, 4]), ("unnamed", [1, 5]), ("by hand", [2])],
)
def test_kinds(listed, kind, expected):
    assert listed.find(kind=kind).tolist() == expected


def test_an_order_that_does_not_exist(listed):
    with pytest.raises(ConfigError, match="cannot be listed by 'size' and 'all': sort by index"):
        listed.find(order="size")


@pytest.mark.parametrize("layer", [1, 3, 4])
def test_columns_are_those_of_the_graph(tiny_study, layer):
    listed = layer_catalogue(tiny_study, layer)
    graph = tiny_study.graph
    figures = {
        (row["layer"], row["index"]): row for row in tiny_study.evaluation("concepts").to_pylist()
    }
    for index in range(graph.n_concepts(layer)):
        concept = ConceptId(layer, index)
        assert listed.n_parents[index] == len(graph.parents(concept))
        assert listed.n_children[index] == len(graph.children(concept))
        assert listed.names[index] == tiny_study.name_of(concept)
        n_train = len(tiny_study.rows("train"))
        assert listed.prevalence[index] == graph.record(concept).n_train / n_train
        row = figures.get((layer, index), {})
        scored = tiny_study.graph.record(concept).scored
        np.testing.assert_equal(listed.auc[index], row["auc"] if scored else np.nan)
        np.testing.assert_equal(concept_figures(tiny_study, concept), row)
    assert listed.n_never_active == (listed.prevalence == 0).sum()


def test_a_layer_that_does_not_exist(tiny_study):
    with pytest.raises(ConfigError, match="no layer 9"):
        layer_catalogue(tiny_study, 9)
