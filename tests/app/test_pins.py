"""Pinned concepts: adding, grouping, and the link that carries them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgraph.concept import ConceptId
from cgraph.errors import ConfigError
from cgraph.study import Study
from cgraph.ui.pins import LONGEST_LABEL, MOST_PINNED, NO_PINS, Pins, read_pins
from cgraph.ui.state import Selection, check, parse

A, B, C = ConceptId(3, 4), ConceptId(7, 60), ConceptId(12, 0)


def test_pinning_and_grouping() -> None:
    pins = NO_PINS.pin([A, B]).pin([C], "stripes")
    assert pins.concepts == (A, B, C) and len(pins) == 3
    assert A in pins and ConceptId(1, 1) not in pins
    assert pins.labels == {C: "stripes"} and pins.sets == {"stripes": (C,)}
    moved = pins.pin([A], "  stripes ")
    assert moved.sets == {"stripes": (C, A)} and moved.concepts == (B, C, A)
    assert moved.pin([C, A]).sets == {}
    assert moved.unpin([C, A, B]) == NO_PINS
    assert pins.pin([A]) .concepts == (B, A, C)  # fmt: skip


def test_the_form_in_a_link() -> None:
    pins = NO_PINS.pin([A]).pin([B, C], "dots, or; so: 100 %")
    assert pins.to_text() == "L3/4;dots%2C or%3B so%3A 100 %25:L7/60,L12/0"
    assert read_pins(pins.to_text()) == (pins, [])
    assert NO_PINS.to_text() == "" and read_pins("") == (NO_PINS, [])


@given(
    st.lists(
        st.tuples(
            st.builds(ConceptId, st.integers(1, 99), st.integers(0, 999)),
            st.text(max_size=LONGEST_LABEL),
        ),
        max_size=20,
    )
)
def test_pins_survive_the_link(pinned: list[tuple[ConceptId, str]]) -> None:
    pins = NO_PINS
    for concept, label in pinned:
        pins = pins.pin([concept], label)
    query = Selection(pins=pins).to_query()
    assert parse(query) == (Selection(pins=pins), [])
    assert sorted(pins.concepts) == sorted({concept for concept, _ in pinned})


@pytest.mark.parametrize(
    ("text", "kept", "remark"),
    [
        ("L3/4,what,L7/60", (A, B), "'what'. A concept is written such as L7/609"),
        ("<b>:L3/4", (A,), None),
        (";;,:,", (), None),
        ("L3/4,L3/4;again:L3/4", (A,), None),
    ],
)
def test_what_means_nothing_is_left_out(
    text: str, kept: tuple[ConceptId, ...], remark: str | None
) -> None:
    pins, remarks = read_pins(text)
    assert pins.concepts == kept
    assert len(remarks) == (remark is not None)
    assert remark is None or remark in remarks[0]


def test_no_more_than_fit() -> None:
    many = [ConceptId(1, i) for i in range(MOST_PINNED + 3)]
    pins, remarks = read_pins(",".join(map(str, many)))
    assert len(pins) == MOST_PINNED
    assert remarks == [f"The link pins 3 concepts more than the {MOST_PINNED} that fit."]
    with pytest.raises(ConfigError, match=f"{MOST_PINNED + 1} concepts would be pinned"):
        pins.pin([C])
    with pytest.raises(ConfigError, match="The label has 41 letters: at most 40 fit"):
        NO_PINS.pin([A], "x" * 41)


def test_pins_that_a_study_lacks_are_left_out(studies_folder: Path) -> None:
    study = Study.open(studies_folder / "planted")
    asked = Selection(pins=NO_PINS.pin([ConceptId(3, 4), ConceptId(3, 24)], "a"))
    kept, remarks = check(asked, study)
    assert kept == Selection("planted", pins=Pins((("a", (A,)),)))
    assert remarks == ["This study has no L3/24, which the link pins; it was left out."]
    asked = Selection(pins=NO_PINS.pin([ConceptId(13, 4), ConceptId(3, 24)]))
    kept, remarks = check(asked, study)
    assert not len(kept.pins) and "lacks 2 concepts that the link pins, such as L13/4" in remarks[0]
