"""Rules about paths: by hand, and against every path that networkx finds."""

from __future__ import annotations

import itertools
import math

import networkx as nx
import numpy as np
import pytest
from graph_examples import to_networkx
from hypothesis import given, settings
from hypothesis import strategies as st
from measured_graph import hand_facts
from policy_examples import ids, policy, random_subject, subject

from cgraph.concept_sets import resolve
from cgraph.policy import check
from cgraph.policy_clock import Clock
from cgraph.policy_draws import Draws, draw_sets
from cgraph.policy_paths import check_paths, paths_in_draws

SIZES = [4, 4, 4, 3]


def verdict(of, rule, **sets):
    """Check one rule on sets given by ids, without random sets."""
    return check(of, policy([{"from": "a", "to": "b"} | rule], sets, draws=0)).verdicts[0]


def figure(of, name):
    return next(one.value for one in of.figures if one.name == name)


# The hand-computed graph: L1/1 -> L2/1 -> L3/1, L2/2 has no parents, L3/1 only L2/1.


def test_no_path_by_hand():
    of = subject()
    found = verdict(of, {"kind": "no-path"}, a="L1/0", b="L3/1")
    assert (found.outcome, found.speaks_of) == ("holds", ("graph",))
    assert "No path leads from a to b." in found.headline
    assert found.prediction is not None
    broken = verdict(of, {"kind": "no-path"}, a="L1/0 L1/1", b="L3/1")
    assert broken.outcome == "violated" and broken.prediction is None
    witness = broken.witnesses[0]
    assert [one.id for one in witness.concepts] == ["L1/1", "L2/1", "L3/1"]
    assert witness.weights == (4.0, -2.0)
    # L2/1 and L3/1 have one parent each.
    assert witness.strength == pytest.approx(1.0)
    assert figure(broken, "connected_share") == pytest.approx(0.5)


def test_limits_by_hand():
    of = subject()
    sets = {"a": "L1/0 L1/2", "b": "L3/0"}
    # L1/0 -> L2/0 (2 of 4) -> L3/0 (3 of 6): strength 1/4. L1/2 -> L2/0 (1 of 4): 1/8.
    found = verdict(of, {"kind": "no-path"}, **sets)
    assert [w.strength for w in found.witnesses] == pytest.approx([1 / 4, 1 / 8])
    for limit, outcome in (
        ({"min_weight": 2.0}, "violated"),
        ({"min_weight": 2.1}, "holds"),
        ({"min_strength": 0.25}, "violated"),
        ({"min_strength": 0.26}, "holds"),
        ({"max_length": 2}, "violated"),
        ({"max_length": 1}, "holds"),
    ):
        found = verdict(of, {"kind": "no-path"} | limit, **sets)
        assert found.outcome == outcome, limit
    # What was looked at stays in sight though the limit hides it.
    found = verdict(of, {"kind": "no-path", "min_strength": 0.26}, **sets)
    assert figure(found, "strongest_path") == pytest.approx(0.25)


def test_through_by_hand():
    of = subject()
    for via, outcome in (("L2/0 L2/1", "holds"), ("L2/2", "violated"), ("L2/1", "violated")):
        found = verdict(of, {"kind": "through", "via": "m"}, a="L1/1", b="L3/0", m=via)
        assert found.outcome == outcome
    assert [c.id for c in found.witnesses[0].concepts] == ["L1/1", "L2/0", "L3/0"]
    nothing = verdict(of, {"kind": "through", "via": "m"}, a="L1/0", b="L3/1", m="L2/0")
    assert nothing.outcome == "holds" and "at all" in nothing.headline


def test_evidence_by_hand():
    # Verdicts: L1/0->L2/0 specific, L1/1->L2/0 supported, L1/1->L2/1 no effect,
    # L2/0->L3/0 specific, L2/1->L3/0 not measured, L2/1->L3/1 supported.
    of = subject(facts=hand_facts())
    for evidence, a, b, outcome in (
        ("supported", "L1/0", "L3/0", "violated"),
        ("specific", "L1/0", "L3/0", "violated"),
        ("specific", "L1/1", "L3/0", "holds"),
        ("supported", "L1/1", "L3/1", "holds"),  # its first edge has no effect
        ("computed", "L1/1", "L2/0", "violated"),
        ("computed", "L1/0", "L3/0", "holds"),  # its first edge is carried
        ("supported", "L2/1", "L3/0", "inconclusive"),  # the only edge was not measured
    ):
        found = verdict(of, {"kind": "no-path", "evidence": evidence}, a=a, b=b)
        assert found.outcome == outcome, (evidence, a, b)
    assert "L2/1 → L3/0 runs through edges that were not measured" in found.reason
    both = {"kind": "no-path", "evidence": ["computed", "specific"]}
    assert verdict(of, both, a="L1/1", b="L2/0").outcome == "holds"


def test_evidence_that_nobody_measured():
    found = verdict(subject(), {"kind": "no-path", "evidence": "supported"}, a="L1/0", b="L3/0")
    assert found.outcome == "inconclusive"
    assert "cgraph evaluate STUDY --only evidence" in found.reason
    # Where there is no edge at all, none is missing.
    found = verdict(subject(), {"kind": "no-path", "evidence": "supported"}, a="L1/0", b="L3/1")
    assert found.outcome == "holds"


def test_direction_by_hand():
    (l10, l11, l20, l31) = ids("L1/0 L1/1 L2/0 L3/1")
    rule = {"kind": "no-path", "evidence": "direction"}
    moves = {(l10, l20): True, (l11, l31): False}
    of = subject(directions=moves)
    found = verdict(of, rule, a="L1/0", b="L3/0")
    assert found.outcome == "violated"  # L1/0 -> L2/0 was confirmed on the way
    assert [c.id for c in found.witnesses[0].concepts] == ["L1/0", "L2/0", "L3/0"]
    assert verdict(of, rule, a="L1/1", b="L3/1").outcome == "holds"  # tested, and nothing moved
    untested = verdict(of, rule, a="L1/1", b="L3/0")
    assert untested.outcome == "inconclusive" and "1 of 1 connected pairs" in untested.reason
    assert verdict(of, rule, a="L1/0", b="L3/1").outcome == "holds"  # no path at all
    nothing = verdict(subject(), rule, a="L1/0", b="L3/0")
    assert "cgraph evaluate STUDY --only direction" in nothing.reason


def test_images_that_show_a_path():
    labels = {layer: np.zeros((8, n), dtype=bool) for layer, n in ((1, 3), (2, 3), (3, 2))}
    labels[1][[3, 7], 0] = True
    labels[2][[3, 7], 0] = True
    labels[3][[3, 7], 0] = True
    labels[1][3, 1] = True  # L1/1 speaks for L2/0, too: 2 of 3 remain for L1/0
    labels[1][7, 2] = labels[2][7, 2] = True  # 2 of 3 again, and 3 of 5 for L2/0
    found = verdict(subject(labels=labels), {"kind": "no-path"}, a="L1/0", b="L3/0")
    images = found.witnesses[0].images
    assert [(image.row, image.image_id) for image in images] == [(3, "image-003"), (7, "image-007")]
    assert images[0].values == pytest.approx((2 / 3, 2.0, 3.0))
    assert images[1].values == pytest.approx((2 / 3 * 3 / 5, 2.0, 3.0))
    assert "active in 2 of 2 held-out images" in found.witnesses[0].text


def every_path(of, a, b):
    """Return every path between the sets with its strength, along edges of either sign."""
    net = to_networkx(of.graph, "both")
    found = {}
    for source, target in itertools.product(a, b):
        for path in nx.all_simple_paths(net, source, target):
            shares = [net.edges[ends]["share"] for ends in itertools.pairwise(path)]
            found[tuple(path)] = math.prod(shares)
    return found


def weights(of, path):
    return [
        abs(of.graph.weight_matrix(child.layer).toarray()[child.index, parent.index])
        for parent, child in itertools.pairwise(path)
    ]


@st.composite
def cases(draw):
    of = random_subject(SIZES, draw(st.sampled_from([0.15, 0.3, 0.6])), draw(st.integers(0, 999)))
    concepts = [
        c
        for layer, n in enumerate(SIZES, 1)
        for c in ids(" ".join(f"L{layer}/{i}" for i in range(n)))
    ]
    order = draw(st.permutations(concepts))
    a, b, m = order[: draw(st.integers(1, 3))], order[3 : draw(st.integers(4, 6))], order[6:9]
    limits = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "max_length": st.integers(1, 3),
                "min_weight": st.sampled_from([0.3, 0.8]),
                "min_strength": st.sampled_from([0.05, 0.3]),
                "evidence": st.just("direction"),
            },
        )
    )
    pairs = [(c, d) for c in concepts for d in concepts if c.layer < d.layer]
    moves = draw(st.dictionaries(st.sampled_from(pairs), st.booleans(), max_size=25))
    return of, a, b, m if draw(st.booleans()) else [], limits, moves


@given(cases())
@settings(max_examples=150, deadline=None)
def test_against_every_path(case):
    of, a, b, via, limits, moves = case
    if min(c.layer for c in a) >= max(c.layer for c in b):
        return
    of = subject(of.graph, None, directions=moves)
    kind = {"kind": "through", "via": "m"} if via else {"kind": "no-path"}
    sets = {"a": " ".join(map(str, a)), "b": " ".join(map(str, b))}
    if via:
        sets["m"] = " ".join(map(str, via))
    found = verdict(of, kind | limits, **sets)
    directed = "evidence" in limits
    counted = {}
    for path, strength in every_path(of, a, b).items():
        if set(path) & set(via) or len(path) - 1 > limits.get("max_length", 9):
            continue
        if min(weights(of, path)) < limits.get("min_weight", 0):
            continue
        counted[path] = strength
    confirmed = {
        path: strength
        for path, strength in counted.items()
        if not directed or any(moves.get((c, d)) for c, d in itertools.combinations(path, 2))
    }
    least = limits.get("min_strength", 0)
    strong = {path for path, strength in confirmed.items() if strength >= least}
    # Two ways of multiplying may differ in the last bit; nothing here lies so near a limit.
    assert found.outcome == (
        "violated"
        if strong
        else "inconclusive"
        if directed
        and any(s >= least and (path[0], path[-1]) not in moves for path, s in counted.items())
        else "holds"
    )
    assert figure(found, "strongest_path") == pytest.approx(max(confirmed.values(), default=0))
    if strong:
        best = found.witnesses[0]
        shown = tuple(c for one in best.concepts for c in ids(one.id))
        assert shown in strong and best.strength == pytest.approx(max(confirmed.values()))


@given(cases())
@settings(max_examples=60, deadline=None)
def test_random_sets_are_judged_like_a_rules_own(case):
    of, a, b, via, limits, moves = case
    if min(c.layer for c in a) >= max(c.layer for c in b):
        return
    of = subject(of.graph, None, directions=moves)
    kind = {"kind": "through", "via": "m"} if via else {"kind": "no-path"}
    sets = {"a": " ".join(map(str, a)), "b": " ".join(map(str, b)), "m": " ".join(map(str, via))}
    written = policy(
        [{"from": "a", "to": "b"} | kind | limits], {k: v for k, v in sets.items() if v}
    )
    rule = written.rules[0]
    resolved = resolve(of, written)
    own = [resolved[name] for name in rule.set_names]
    clock = Clock(60)
    # The draws are the rule's own sets, so that both ways must say the same.
    members = tuple(
        {layer: np.array([[c.index for c in one.of_layer(layer)]] * 3) for layer in one.layers}
        for one in own
    )
    broken, strength = paths_in_draws(of, rule, Draws(3, members), clock)
    finding = check_paths(of, rule, own, clock)
    assert broken.tolist() == [finding.outcome == "violated"] * 3
    assert strength == pytest.approx([finding.observed] * 3)


def test_random_sets_are_alike_and_seeded():
    of = random_subject([40, 40, 40], 0.2, 1)
    written = policy(
        [{"kind": "no-path", "from": "a", "to": "b"}],
        {"a": "L1/0 L1/1 L2/3", "b": "L3/4"},
    )
    resolved = resolve(of, written)
    own = [resolved["a"], resolved["b"]]
    draws = draw_sets(of, own, 60, 0, "rule")
    again = draw_sets(of, own, 60, 0, "rule")
    other = draw_sets(of, own, 60, 1, "rule")
    assert all(draws.sets_of(k) == again.sets_of(k) for k in range(60))
    assert any(draws.sets_of(k) != other.sets_of(k) for k in range(60))
    real = {*own[0].concepts, *own[1].concepts}
    for draw in range(60):
        a, b = draws.sets_of(draw)
        assert [c.layer for c in a] == [1, 1, 2] and [c.layer for c in b] == [3]
        assert len({*a, *b}) == 4 and not {*a, *b} & real
    assert len({draws.sets_of(k) for k in range(60)}) > 30


def test_random_sets_keep_the_prevalence():
    from graph_examples import concept_table, edge_table

    from cgraph.graph import ConceptGraph

    n_train = np.concatenate([np.repeat([2, 50], 40), [10]])
    concepts = concept_table([80, 1], n_train=n_train)
    of = subject(ConceptGraph.from_tables(concepts, edge_table([(1, 0, 0, 1.0, 1.0)])))
    written = policy(
        [{"kind": "no-path", "from": "a", "to": "b"}], {"a": "L1/0 L1/79", "b": "L2/0"}
    )
    resolved = resolve(of, written)
    draws = draw_sets(of, [resolved["a"]], 50, 0, "rule")
    for draw in range(50):
        rare, common = draws.sets_of(draw)[0]
        assert rare.index < 40 <= common.index


def test_too_few_concepts_for_random_sets_are_told():
    rule = {"kind": "no-path", "from": "a", "to": "b"}
    report = check(subject(), policy([rule], {"a": "L1/1", "b": "L3/0 L3/1"}))
    baseline = report.verdicts[0].baselines[0]
    assert baseline.draws == 200 and "could be drawn too" in baseline.note
    assert "In layer 3" in baseline.note
