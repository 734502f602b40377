"""What the Evaluation page measures itself, kept for everybody: curves, matches, single concepts.

The first visit of a pair of layers costs some tenths of a second; the page draws what is stored
before it asks for any of this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from cgraph.config import HELD_OUT, TUNE
from cgraph.parent_question import PREVALENCE, ParentAnswer, ask_about_parents
from cgraph.study import Study
from cgraph.ui import resources
from cgraph.ui.pair_facts import pair_facts
from cgraph.ui.resources import StudyEntry

if TYPE_CHECKING:
    from cgraph.held_out import HeldOutPair
    from cgraph.pair_curves import PairCurves

AUC, MATCH = "AUC", "match"
"""Names of the figures that are held against the number of parents, beside `PREVALENCE`."""


@st.cache_resource(max_entries=24, show_spinner=False)
def held_out_pair(entry: StudyEntry, right: int) -> HeldOutPair:
    """Return the held-out inputs and labels of a pair of layers.

    Raises
    ------
    CgraphError
        If the study does not store what is needed.
    """
    from cgraph.held_out import HeldOutPair

    return HeldOutPair(resources.open_study(entry), right)


@st.cache_resource(max_entries=64, show_spinner=False)
def pair_curves(entry: StudyEntry, right: int) -> PairCurves:
    """Return the ROC curves of the scored concepts of a pair; see `held_out_pair`."""
    from cgraph.pair_curves import measure_curves

    facts = pair_facts(resources.open_study(entry), right)
    return measure_curves(held_out_pair(entry, right), facts.scored)


@st.cache_resource(max_entries=8, show_spinner=False)
def _attributes(entry: StudyEntry) -> Any:
    from cgraph.attributes import attribute_table

    study = resources.open_study(entry)
    return attribute_table([study.attributes(row) for row in range(len(study.image_ids))])


@st.cache_resource(max_entries=64, show_spinner=False)
def attribute_match(entry: StudyEntry, right: int) -> NDArray[np.float64] | None:
    """Return how well each scored concept matches its best attribute value, on held-out images.

    ``None`` if nothing is known of the images that could be matched.
    """
    from cgraph.naming import concept_matches

    study, table = resources.open_study(entry), _attributes(entry)
    if not table.columns:
        return None
    rows = study.rows(TUNE), study.rows(HELD_OUT)
    _, strengths = concept_matches(study.codes(right), table, *rows)
    return strengths[pair_facts(study, right).scored]


def parent_answer(
    study: Study, right: int, match: NDArray[np.float64] | None
) -> tuple[ParentAnswer, dict[str, NDArray[np.float64]]]:
    """Return what a pair answers to the paper's question, and the figures it is about."""
    columns = pair_facts(study, right).columns
    figures = {PREVALENCE: columns["prevalence"], AUC: columns["auc"]}
    if match is not None:
        figures[MATCH] = match
    return ask_about_parents(columns["n_parents"], figures), figures
