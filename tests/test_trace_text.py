"""A trace as text: every active concept once, with its marks and its strongest parents."""

from __future__ import annotations

import dataclasses

from measured_graph import hand_facts
from test_trace import hand_trace

from cgraph.concept import ConceptId
from cgraph.trace import Absence
from cgraph.trace_text import trace_text


def test_lines_by_hand():
    absent = Absence(ConceptId(2, 2), 0.5, 0.25)
    trace = dataclasses.replace(
        hand_trace(explained=[0.5, 0.25, 0.125]), absences=((), (absent,), ())
    )
    lines = trace_text(trace, lambda c: "ball" if c == ConceptId(3, 0) else "").split("\n")
    assert lines[0] == "apple.png in study fruit"
    assert "layer 2: 2 active, explains 25%" in lines
    (first,) = (line for line in lines if "L1/1" in line and "parents" not in line)
    assert first == "    -2.000  L1/1"
    (ball,) = (line for line in lines if "L3/0 ball" in line)
    assert ball == ("     2.000  L3/0 ball  2 of 3 parents active: L2/0 (+3.00), L2/1 (+1.00)")
    (surprise,) = (line for line in lines if line.startswith("!"))
    assert "L3/1" in surprise
    (missing,) = (line for line in lines if line.startswith("?"))
    words = " ".join(missing.split())
    assert words == "? – L2/2 expected at 50%, 2.0 times its prevalence"


def test_an_unusual_image_is_called_so():
    text = trace_text(dataclasses.replace(hand_trace(), unusual=True), lambda c: "")
    assert "read the trace with care" in text.split("\n")[1]


def test_verdicts_stand_behind_weights():
    lines = trace_text(hand_trace(), lambda c: "", facts=hand_facts()).split("\n")
    (line,) = (line for line in lines if "L3/0" in line)
    assert line.endswith("L2/0 (+3.00; specific, effect +1.00, both), L2/1 (+1.00; not measured)")
    without = trace_text(hand_trace(), lambda c: "", facts=hand_facts("worth"))
    assert without == trace_text(hand_trace(), lambda c: "")


def test_what_the_graph_cannot_see_stands_under_its_layer():
    lines = trace_text(hand_trace(), lambda c: "", outside=["one.", "two.", "three."]).split("\n")
    place = next(n for n, line in enumerate(lines) if line.startswith("layer 2"))
    assert lines[place + 1] == "  two."
    assert "one." not in "\n".join(lines[place:])
