"""Tests of the names of concepts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgraph.concept import ConceptId
from cgraph.errors import ConfigError


@given(
    layer=st.integers(1, 9999),
    index=st.integers(0, 999_999_999),
    kind=st.sampled_from(["class", "patch"]),
)
def test_every_id_is_read_back_as_written(layer, index, kind):
    concept = ConceptId(layer, index, kind)
    assert ConceptId.parse(str(concept)) == concept


@pytest.mark.parametrize(
    ("text", "concept"),
    [
        ("L7/609", ConceptId(7, 609)),
        (" L12/0\n", ConceptId(12, 0)),
        ("P3/12", ConceptId(3, 12, "patch")),
    ],
)
def test_written_forms(text, concept):
    assert ConceptId.parse(text) == concept
    assert str(concept) == text.strip()


@pytest.mark.parametrize(
    "text",
    ["", "L7", "L7/", "7/609", "l7/609", "L7/609x", "L0/3", "L7/-1", "L7.0/3", "X7/609", "L7/6 09"],
)
def test_other_forms_are_refused(text):
    with pytest.raises(ConfigError, match=r"is not a concept\. Write .* such as L7/609"):
        ConceptId.parse(text)


def test_ids_sort_by_layer_then_index():
    ids = [ConceptId(2, 0), ConceptId(1, 10), ConceptId(1, 9), ConceptId(10, 0)]
    assert [str(concept) for concept in sorted(ids)] == ["L1/9", "L1/10", "L2/0", "L10/0"]


def test_equal_ids_are_one_key():
    assert len({ConceptId(1, 2), ConceptId(1, 2, "class"), ConceptId(1, 2, "patch")}) == 2
