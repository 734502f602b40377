"""Edits: what they hold, their short form, their JSON, and what is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgraph.concept import ConceptId
from cgraph.edits import MOST_CHANGES, MOST_DRAWS, RULES, Edit, RolloutSettings, SavedEdit
from cgraph.errors import ConfigError

CONCEPTS = st.builds(ConceptId, st.integers(1, 12), st.integers(0, 99))
EDITS = st.dictionaries(CONCEPTS, st.booleans(), max_size=8).map(
    lambda labels: Edit(
        tuple(c for c, on in labels.items() if on), tuple(c for c, on in labels.items() if not on)
    )
)


def ids(*texts: str) -> tuple[ConceptId, ...]:
    return tuple(map(ConceptId.parse, texts))


def test_an_edit_sorts_its_concepts_and_knows_their_layers():
    edit = Edit(ids("L9/1", "L3/2", "L9/1"), ids("L4/0"))
    assert edit.on == ids("L3/2", "L9/1")
    assert edit.layers == (3, 4, 9)
    assert len(edit) == 3
    assert edit.label(ConceptId(4, 0)) is False
    assert edit.label(ConceptId(3, 2)) is True
    assert edit.label(ConceptId(3, 3)) is None
    assert edit.of_layer(9) == Edit(ids("L9/1"))
    assert edit.to_text() == "L3/2,-L4/0,L9/1"


def test_setting_one_concept_leaves_the_others():
    edit = Edit(ids("L3/2")).with_label(ConceptId(4, 0), False)
    assert edit == Edit(ids("L3/2"), ids("L4/0"))
    assert edit.with_label(ConceptId(3, 2), False) == Edit((), ids("L3/2", "L4/0"))
    assert edit.with_label(ConceptId(3, 2), None) == Edit((), ids("L4/0"))


@given(EDITS)
def test_the_short_form_is_read_again(edit):
    assert Edit.parse(edit.to_text()) == edit


@given(EDITS, st.sampled_from(RULES), st.integers(1, 50), st.integers(0, 10**12 - 1))
def test_json_is_read_again(edit, rule, n_draws, seed):
    saved = SavedEdit(edit, RolloutSettings(rule, None, n_draws, seed), "demo", "0.colour.green")
    assert SavedEdit.from_json(saved.to_json()) == saved


def test_a_short_file_is_enough():
    saved = SavedEdit.from_json('{"cgraph_edit": 1, "off": ["L8/3"]}')
    assert saved == SavedEdit(Edit((), ids("L8/3")))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ("[", "not readable JSON"),
        ("[]", "is no edit"),
        ({"on": []}, "is no edit"),
        ({"cgraph_edit": 2}, "has schema 2; this version of cgraph reads schema 1"),
        ({"cgraph_edit": 1, "of": ["L1/1"]}, "There is no 'of' in the edit. Allowed: cgraph_edit"),
        ({"cgraph_edit": 1, "on": "L1/1"}, "give a list such as"),
        ({"cgraph_edit": 1, "on": [3]}, "give a list such as"),
        ({"cgraph_edit": 1, "on": ["seven"]}, "'seven' is not a concept"),
        ({"cgraph_edit": 1, "on": ["L1/1"], "off": ["L1/1"]}, "switches L1/1 on and off"),
        ({"cgraph_edit": 1, "rollout": 3}, "rollout is 3"),
        ({"cgraph_edit": 1, "rollout": {"rule": "min"}}, "rule is 'min'. Allowed: max, top-k"),
        ({"cgraph_edit": 1, "rollout": {"n_draws": 0}}, "n_draws is 0"),
        ({"cgraph_edit": 1, "rollout": {"n_draws": MOST_DRAWS + 1}}, "at most 1000"),
        ({"cgraph_edit": 1, "rollout": {"seed": 1.5}}, "seed is 1.5"),
        ({"cgraph_edit": 1, "rollout": {"seed": 10**12}}, "at most 999999999999"),
        ({"cgraph_edit": 1, "rollout": {"start": True}}, "start is True"),
        ({"cgraph_edit": 1, "rollout": {"probability": "halved"}}, "calibrated, prior, balanced"),
        (
            {"cgraph_edit": 1, "rollout": {"rule": "refitted", "probability": "prior"}},
            "passes calibrated probabilities on, and prior ones",
        ),
        ({"cgraph_edit": 1, "study": 3}, "study of the edit is 3"),
    ],
)
def test_what_is_no_edit_is_refused(values, sentence):
    text = values if isinstance(values, str) else json.dumps(values)
    with pytest.raises(ConfigError) as refusal:
        SavedEdit.from_json(text)
    assert sentence in str(refusal.value)


def test_too_many_concepts_are_refused():
    with pytest.raises(ConfigError, match=f"at most {MOST_CHANGES}"):
        Edit(tuple(ConceptId(1, index) for index in range(MOST_CHANGES + 1)))


def test_the_start_layer_follows_the_edit_unless_it_is_given():
    edit = Edit(ids("L7/0"), ids("L5/0"))
    assert RolloutSettings().start_of(edit, 12) == 5
    assert RolloutSettings(start=3).start_of(edit, 12) == 3
    assert RolloutSettings().start_of(Edit(), 12) == 1
    with pytest.raises(ConfigError, match="start layer is 6 and the edit sets L5/0 before it"):
        RolloutSettings(start=6).start_of(edit, 12)
    with pytest.raises(ConfigError, match="start layer is 13: this model has 1 to 12"):
        RolloutSettings(start=13).start_of(Edit(), 12)
