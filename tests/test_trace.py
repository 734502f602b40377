"""Tests of traces: a graph computed by hand, enumeration of all paths, messages."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from graph_examples import concept_table, edge_table, hand_graph, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st

from cgraph.concept import ConceptId
from cgraph.errors import ConfigError, DataError, StudyError
from cgraph.graph import ConceptGraph
from cgraph.trace import Trace
from cgraph.trace_codes import trace_codes

HAND_CODES = [
    (np.array([2, 0, 1]), np.array([1.0, 0.5, -2.0])),
    (np.array([0, 1]), np.array([1.0, 3.0])),
    (np.array([0, 1]), np.array([2.0, 2.0])),
]
"""Every concept but L2/2 is active."""

NOTHING = (np.array([], dtype=np.int32), np.array([], dtype=np.float32))


def hand_trace(**options):
    options = {"image_id": "apple.png", "study": "fruit"} | options
    return trace_codes(hand_graph(), HAND_CODES, **options)


def ids(text):
    return tuple(ConceptId.parse(part) for part in text.split())


def edges_of(trace):
    return {f"{edge.parent} {edge.child}": edge for edge in trace.edges}


def random_trace(sizes, density, seed, share_active=0.8, **options):
    """Return a trace in a random graph, with random concepts active in each layer."""
    graph, weights = random_graph(sizes, density, seed)
    rng = np.random.default_rng(seed)
    codes = []
    for n in sizes:
        indices = np.flatnonzero(rng.random(n) < share_active)
        codes.append((indices, rng.uniform(0.1, 2, len(indices))))
    return trace_codes(graph, codes, image_id="x", study="random", **options), weights, codes


traces = st.builds(
    random_trace,
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    density=st.sampled_from([0.3, 0.7, 1.0]),
    seed=st.integers(0, 2**16),
)


def test_active_concepts_by_hand():
    trace = hand_trace()
    # By falling absolute coefficient, ties by index.
    order = [" ".join(str(active.concept) for active in layer) for layer in trace.layers]
    assert order == ["L1/1 L1/2 L1/0", "L2/1 L2/0", "L3/0 L3/1"]
    first = trace.active(ConceptId(1, 1))
    assert (first.coefficient, first.probability, first.prevalence) == (-2.0, None, 0.2)
    assert (first.n_parents_active, first.n_parents) == (0, 0)
    # Probabilities as in the tests of the graph: labels are 1 whatever the coefficient.
    for text, probability, n_active, n_all in [
        ("L2/0", 0.5, 3, 3),
        ("L2/1", 0.6224593, 1, 1),
        ("L3/0", 0.8807971, 2, 3),  # its parent L2/2 is not active
        ("L3/1", 0.1192029, 1, 1),
    ]:
        active = trace.active(ConceptId.parse(text))
        assert active.probability == pytest.approx(probability, rel=1e-6)
        assert (active.n_parents_active, active.n_parents) == (n_active, n_all)
    assert trace.active(ConceptId(3, 1)).prevalence == 0.7


def test_surprises_by_hand():
    # Prevalences of the hand graph: 0.2 for all but L3/1, which is 0.7.
    trace = hand_trace()
    assert trace.active(ConceptId(2, 0)).lift == pytest.approx(
        0.5 / trace.active(ConceptId(2, 0)).prevalence
    )
    assert not trace.active(ConceptId(2, 0)).is_surprise
    rare = trace.active(ConceptId(3, 1))
    assert rare.lift == pytest.approx(0.1192029 / 0.7, rel=1e-6)
    assert rare.is_surprise
    first = trace.active(ConceptId(1, 0))
    assert first.lift is None and not first.is_surprise  # nothing is expected of layer 1


def test_absences_by_hand():
    # Given L1/0 and L1/1, L2/0 has σ(-1 + 2 + 1 - 1) = σ(1) = .73 and L2/1 .62 (see above). Only
    # L2/1 is active, and so the likeliest one is absent.
    codes = [(np.array([0, 1]), np.ones(2)), (np.array([1]), np.ones(1)), NOTHING]
    trace = trace_codes(hand_graph(), codes, image_id="x", study="s")
    (absent,) = trace.absences[1]
    assert str(absent.concept) == "L2/0"
    assert absent.probability == pytest.approx(1 / (1 + math.exp(-1)))
    assert absent.prevalence == 0.4
    assert absent.lift == pytest.approx(absent.probability / 0.4)
    # In layer 1 nothing is expected; of layer 3 as many count as are active, and that is none.
    assert trace.absences[0] == trace.absences[2] == ()
    # With both active none is absent, and given nothing L2/0 has σ(-2) = .12, less than usual.
    codes[1] = (np.array([0, 1]), np.ones(2))
    assert trace_codes(hand_graph(), codes, image_id="x", study="s").absences[1] == ()
    codes[:2] = [NOTHING, (np.array([2]), np.ones(1))]
    assert trace_codes(hand_graph(), codes, image_id="x", study="s").absences[1] == ()


@given(traces)
def test_absences_are_what_a_free_choice_would_add(example):
    trace, _, _ = example
    for layer, absences in enumerate(trace.absences, start=1):
        active = {found.concept for found in trace.layers[layer - 1]}
        assert len(absences) <= len(active)
        assert not active & {absence.concept for absence in absences}
        if layer == 1:
            assert absences == ()
        for absence in absences:
            assert absence.probability > absence.prevalence
            likelier = [
                a
                for a in trace.layers[layer - 1]
                if a.probability and a.probability > absence.probability
            ]
            assert len(likelier) < len(active)
        assert list(absences) == sorted(absences, key=lambda a: (-a.probability, a.concept))


def test_contributions_and_shares_by_hand():
    edges = edges_of(hand_trace())
    # Labels: a contribution is the weight. Into L2/0 the positive ones add up to 2 + 1 = 3.
    expected = {
        "L1/0 L2/0": (2, 2 / 3),
        "L1/1 L2/0": (1, 1 / 3),
        "L1/2 L2/0": (-1, -1 / 3),
        "L1/1 L2/1": (4, 1),
        "L2/0 L3/0": (3, 3 / 4),
        "L2/1 L3/0": (1, 1 / 4),
        "L2/1 L3/1": (-2, 0),  # nothing speaks for L3/1
    }
    assert list(edges) == list(expected)  # sorted by child layer, child, parent
    for key, (weight, share) in expected.items():
        assert edges[key].weight == edges[key].contribution == weight
        assert edges[key].share == pytest.approx(share)


def test_codes_as_inputs_by_hand():
    trace = hand_trace(inputs="codes", input_scales=[2.0, 1.0])
    # Layer 1 over its scale 2: inputs 0.25, -1, 0.5. Contributions to L2/0: 0.5, -1, -0.5.
    edges = edges_of(trace)
    found = [edges[f"L1/{parent} L2/0"] for parent in range(3)]
    assert [edge.contribution for edge in found] == [0.5, -1, -0.5]
    assert [edge.share for edge in found] == [1, -2, -1]
    assert edges["L1/1 L2/1"].contribution == -4
    # L2/0: σ(-1 + 0.5 - 1 - 0.5 - 1) = σ(-3); layer 2 over 1: L3/0: σ(-2 + 3·1 + 1·3) = σ(4).
    assert trace.active(ConceptId(2, 0)).probability == pytest.approx(1 / (1 + math.exp(3)))
    assert trace.active(ConceptId(3, 0)).probability == pytest.approx(1 / (1 + math.exp(-4)))


def test_pre_activations_as_inputs_by_hand():
    # Only L1/0 and L2/0 are active, but every concept of layer 1 has an input: 2, 4, 6 over the
    # scale 2. Contributions to L2/0: 2·1, 1·2, -1·3; positive ones add up to 4.
    trace = trace_codes(
        hand_graph(),
        [(np.array([0]), np.array([1.0])), (np.array([0]), np.array([1.0])), NOTHING],
        image_id="x",
        study="s",
        inputs="pre-activations",
        input_scales=[2.0, 1.0],
        pre_activations=[np.array([2.0, 4.0, 6.0]), np.zeros(3)],
    )
    (edge,) = trace.edges
    assert (str(edge.parent), str(edge.child)) == ("L1/0", "L2/0")
    assert (edge.weight, edge.contribution, edge.share) == (2, 2, 0.5)
    # σ(1·(-1 + 2 + 2 - 3) - 1) = σ(-1)
    child = trace.active(ConceptId(2, 0))
    assert child.probability == pytest.approx(1 / (1 + math.e))
    assert (child.n_parents_active, child.n_parents) == (1, 3)
    assert trace.paths_to(ConceptId(2, 0)).share == 0.5


def test_paths_by_hand():
    trace = hand_trace()
    # Into L3/0: 0-0-0: 2/3·3/4 = 1/2; 1-0-0: 1/3·3/4 = 1/4; 1-1-0: 1·1/4 = 1/4. The tie between
    # the last two goes to the path whose concepts come first.
    found = trace.paths_to(ConceptId(3, 0))
    assert [path.concepts for path in found.paths] == [
        ids("L1/0 L2/0 L3/0"),
        ids("L1/1 L2/0 L3/0"),
        ids("L1/1 L2/1 L3/0"),
    ]
    assert [path.strength for path in found.paths] == pytest.approx([1 / 2, 1 / 4, 1 / 4])
    assert found.share == pytest.approx(1)
    # "This path carries 50 %."
    best = trace.paths_to(ConceptId(3, 0), n=1)
    assert len(best.paths) == 1
    assert best.share == pytest.approx(1 / 2)
    # A beam of one follows only L2/0, whose two paths carry 3/4.
    narrow = trace.paths_to(ConceptId(3, 0), beam=1)
    assert len(narrow.paths) == 2
    assert narrow.share == pytest.approx(3 / 4)


def test_the_beam_keeps_the_strongest():
    # Shares into L3/0: 1/4 from L2/0 and 3/4 from L2/1, each with one parent of its own.
    edges = [(1, 0, 0, 1.0, 1.0), (1, 1, 1, 1.0, 1.0), (2, 0, 0, 1.0, 1.0), (2, 1, 0, 3.0, 1.0)]
    graph = ConceptGraph.from_tables(concept_table([2, 2, 1]), edge_table(edges))
    codes = [([0, 1], [1.0, 1.0]), ([0, 1], [1.0, 1.0]), ([0], [1.0])]
    trace = trace_codes(graph, codes, image_id="x", study="s")
    (path,) = trace.paths_to(ConceptId(3, 0), beam=1).paths
    assert path.concepts == ids("L1/1 L2/1 L3/0")
    assert path.strength == 0.75


@pytest.mark.parametrize("concept", ["L3/1", "L1/0"])
def test_no_paths_where_no_parent_speaks_for_a_concept(concept):
    found = hand_trace().paths_to(ConceptId.parse(concept))
    assert found.paths == ()
    assert found.share == 0


def test_lit_edges_by_hand():
    trace = hand_trace()
    lit = [f"{edge.parent} {edge.child}" for edge in trace.lit_edges(ConceptId(2, 1))]
    assert lit == ["L1/1 L2/1", "L2/1 L3/0", "L2/1 L3/1"]
    # Downstream of L2/1 the contribution -2 is larger than 1.
    lit = [
        f"{edge.parent} {edge.child}" for edge in trace.lit_edges(ConceptId(2, 1), n_downstream=1)
    ]
    assert lit == ["L1/1 L2/1", "L2/1 L3/1"]
    lit = trace.lit_edges(ConceptId(3, 0), n=1)
    assert [f"{edge.parent} {edge.child}" for edge in lit] == ["L1/0 L2/0", "L2/0 L3/0"]


def test_strongest_edges_by_hand():
    edges, n_hidden = hand_trace().strongest_edges(3)
    # Contributions 4, 3, then 2 and -2: the tie goes to the child that comes first.
    assert [edge.contribution for edge in edges] == [4, 3, 2]
    assert n_hidden == 4
    assert hand_trace().strongest_edges(99)[1] == 0


def test_nothing_active():
    trace = trace_codes(hand_graph(), [NOTHING] * 3, image_id="x", study="s")
    assert trace.layers == ((), (), ())
    assert trace.edges == ()
    assert trace.strongest_edges(5) == ((), 0)


def test_a_layer_without_active_concepts_ends_the_paths():
    codes = [HAND_CODES[0], NOTHING, HAND_CODES[2]]
    trace = trace_codes(hand_graph(), codes, image_id="x", study="s")
    # L3/0 keeps its intercept -2 only: σ(-2).
    active = trace.active(ConceptId(3, 0))
    assert active.probability == pytest.approx(1 / (1 + math.exp(2)))
    assert (active.n_parents_active, active.n_parents) == (0, 3)
    assert trace.edges == ()
    assert trace.paths_to(ConceptId(3, 0)).paths == ()


def test_a_concept_without_a_predictor_has_no_probability():
    codes = [HAND_CODES[0], (np.array([2]), np.array([1.0])), HAND_CODES[2]]
    trace = trace_codes(hand_graph(), codes, image_id="x", study="s")
    assert trace.active(ConceptId(2, 2)).probability is None
    # A path starts at L2/2, which has no parents.
    assert trace.paths_to(ConceptId(3, 0)).paths[0].concepts == ids("L2/2 L3/0")
    assert trace.paths_to(ConceptId(3, 0)).share == 1


@settings(max_examples=80, deadline=None)
@given(made=traces)
def test_edges_agree_with_dense_matrices(made):
    trace, weights, codes = made
    expected = {}
    for layer, dense in enumerate(weights, start=2):
        for child in codes[layer - 1][0]:
            into = {p: float(dense[child, p]) for p in codes[layer - 2][0] if dense[child, p]}
            total = sum(weight for weight in into.values() if weight > 0)
            for parent, weight in into.items():
                key = f"L{layer - 1}/{parent} L{layer}/{child}"
                expected[key] = weight / total if total else 0
    found = edges_of(trace)
    assert found.keys() == expected.keys()
    assert {key: edge.share for key, edge in found.items()} == pytest.approx(expected)


def all_paths(edges, concept):
    """Enumerate every maximal path of positive shares into a concept, the slow clear way."""
    into = [edge for edge in edges if edge.child == concept and edge.share > 0]
    if not into:
        return {(concept,): 1.0}
    return {
        (*path, concept): strength * edge.share
        for edge in into
        for path, strength in all_paths(edges, edge.parent).items()
    }


@settings(max_examples=80, deadline=None)
@given(made=traces)
def test_a_wide_beam_finds_all_paths(made):
    trace = made[0]
    for layer in trace.layers:
        for concept in (active.concept for active in layer):
            expected = all_paths(trace.edges, concept)
            expected.pop((concept,), None)
            found = trace.paths_to(concept, beam=10_000, n=10_000)
            assert {path.concepts: path.strength for path in found.paths} == pytest.approx(expected)
            assert found.share == pytest.approx(1 if expected else 0)
            strengths = [path.strength for path in found.paths]
            assert strengths == sorted(strengths, reverse=True)
            three = trace.paths_to(concept, beam=10_000, n=3)
            assert three.paths == found.paths[:3]


@settings(max_examples=40, deadline=None)
@given(made=traces, beam=st.integers(1, 4))
def test_a_narrow_beam_finds_some_of_the_paths(made, beam):
    trace = made[0]
    for active in trace.layers[-1]:
        expected = all_paths(trace.edges, active.concept)
        found = trace.paths_to(active.concept, beam=beam)
        for path in found.paths:
            assert path.strength == pytest.approx(expected[path.concepts])
        assert len({path.concepts for path in found.paths}) == len(found.paths)
        assert found.share <= 1 + 1e-9


@settings(max_examples=40, deadline=None)
@given(made=traces, explained=st.booleans())
def test_json_round_trip(made, explained):
    trace = made[0]
    if explained:
        trace = dataclasses.replace(trace, explained=(0.5,) * len(trace.layers))
    text = json.dumps(trace.to_dict(), allow_nan=False)
    assert Trace.from_dict(json.loads(text)) == trace
    assert json.dumps(Trace.from_dict(json.loads(text)).to_dict()) == text


def test_json_by_hand():
    values = hand_trace(explained=np.array([0.5, 0.25, 0.125])).to_dict()
    names = ["schema", "study", "image_id", "layers", "edges", "explained", "unusual", "absences"]
    assert list(values) == names
    assert values["schema"] == 3
    assert values["layers"][0][0] == {
        "concept": "L1/1",
        "coefficient": -2.0,
        "probability": None,
        "prevalence": 0.2,
        "n_parents_active": 0,
        "n_parents": 0,
    }
    assert values["edges"][3] == {
        "parent": "L1/1",
        "child": "L2/1",
        "weight": 4.0,
        "contribution": 4.0,
        "share": 1.0,
    }
    assert values["explained"] == [0.5, 0.25, 0.125]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 1}, "schema 1; this version of cgraph reads schema 3"),
        ({"layers": [[{"concept": "x"}]]}, r"damaged \(ConfigError.*'x' is not a concept"),
        ({"edges": [{"parent": "L1/0"}]}, r"damaged \(KeyError: 'child'\)"),
        ({"layers": 3}, r"damaged \(TypeError"),
        ({"layers": [["L1/0"]]}, r"damaged \(TypeError"),
    ],
)
def test_damaged_json_is_refused(change, message):
    with pytest.raises(StudyError, match=f"{message}.*Trace the image again"):
        Trace.from_dict(hand_trace().to_dict() | change)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t.paths_to(ConceptId(2, 2)), r"L2/2 is not active.* in layer 2: L2/1, L2/0\."),
        (lambda t: t.lit_edges(ConceptId(4, 0)), "L4/0 is not in this trace.* 1 to 3"),
        (lambda t: t.active(ConceptId(0, 0)), "L0/0 is not in this trace"),
        (lambda t: t.paths_to(ConceptId(3, 0), beam=0), "beam is 0: it must be at least 1"),
        (lambda t: t.paths_to(ConceptId(3, 0), n=-1), "n is -1"),
        (lambda t: t.strongest_edges(0), "limit is 0"),
    ],
)
def test_what_is_not_in_the_trace_is_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call(hand_trace())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"inputs": "words"}, ConfigError, "inputs is 'words'. Allowed: labels, codes, pre-act"),
        ({"inputs": "codes"}, ConfigError, "'codes' needs input_scales, one for each layer but"),
        (
            {"inputs": "pre-activations", "input_scales": [1, 1]},
            ConfigError,
            "'pre-activations' needs pre_activations",
        ),
        ({"inputs": "codes", "input_scales": [1]}, DataError, "input_scales has 1 .* needs 2 or 3"),
        ({"inputs": "codes", "input_scales": [1, 0]}, DataError, "each must be a number above 0"),
        (
            {
                "inputs": "pre-activations",
                "input_scales": [1, 1, 1],
                "pre_activations": [np.zeros(3), np.zeros(2), np.zeros(2)],
            },
            DataError,
            r"pre-activations of layer 2 have shape \(2,\).*its 3 concepts",
        ),
        ({"explained": [0.5]}, DataError, "explained has 1 entries, one a layer; .* needs 3"),
    ],
)
def test_wrong_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        hand_trace(**options)


@pytest.mark.parametrize(
    ("codes", "error", "message"),
    [
        (HAND_CODES[:2], DataError, "codes_by_layer has 2 entries, .* needs 3"),
        ([([0, 3], [1.0, 1.0]), NOTHING, NOTHING], ConfigError, "no concept L1/3: layer 1 has"),
        ([NOTHING, NOTHING, ([-1], [1.0])], ConfigError, "no concept L3/-1"),
        ([([0, 0], [1.0, 1.0]), NOTHING, NOTHING], DataError, "Name each active concept once"),
        ([([0, 1], [1.0]), NOTHING, NOTHING], DataError, r"layer 1 names 2 .* shape \(1,\)"),
        ([NOTHING, ([0], [np.nan]), NOTHING], DataError, "layer 2 has a coefficient that is not"),
    ],
)
def test_wrong_codes_are_refused(codes, error, message):
    with pytest.raises(error, match=message):
        trace_codes(hand_graph(), codes, image_id="x", study="s")
