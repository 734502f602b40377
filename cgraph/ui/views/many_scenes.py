"""How often graph, edited network and redrawn picture agree, over many scenes or images."""

from __future__ import annotations

import csv
import io

import streamlit as st

from cgraph.agreement import Agreement
from cgraph.concept import ConceptId
from cgraph.edits import RolloutSettings
from cgraph.errors import CgraphError
from cgraph.redrawing import ManyScenes, is_drawn, many_scenes
from cgraph.study import Study
from cgraph.ui import words
from cgraph.ui.answers import Question
from cgraph.ui.edit_link import EditView
from cgraph.ui.edit_proposal import editing_layer
from cgraph.ui.models import shelf
from cgraph.ui.resources import StudyEntry
from cgraph.ui.terms import term
from cgraph.ui.views.agreement_table import CALLED, agreement_table

_N = "cf.many.n"
_SEED = "cf.many.seed"
_LAYER = "cf.many.layer"
_ASKED = "cf.many.asked"

MOST_SCENES = 512

COLUMNS = (
    "first", "second", "layer", "n_scenes", "n_first", "n_second", "n_shared", "n_opposed",
    "confirmed", "foreseen", "overlap", "by_chance", "rank_correlation",
)  # fmt: skip
"""Columns of the table as CSV."""


@st.cache_resource(max_entries=32, show_spinner=False)
def _many(
    entry: StudyEntry, layer: int, n_scenes: int, seed: int, settings: RolloutSettings,
    _study: Study,
) -> ManyScenes:  # fmt: skip
    bar = st.progress(0.0, "Drawing scenes and running them through the network …")

    def told(done: int, wanted: int) -> None:
        bar.progress(done / wanted, f"{done} of {wanted} scenes")

    try:
        model = shelf.get(entry, _study)
        return many_scenes(
            _study, model, layer, n_scenes=n_scenes, seed=seed, settings=settings, on_progress=told
        )
    finally:
        bar.empty()


def many_scenes_view(asking: Question, view: EditView, selected: ConceptId | None) -> None:
    """Show how often the three answers agree over many scenes."""
    study = asking.study
    if not is_drawn(study):
        st.html(
            "<p class='cg-quiet'>The images of this study were not drawn, so none of them can be "
            "drawn again with one thing changed. How far the graph and the network agree on this "
            "edit over a whole image set is measured by <code>cgraph edit</code>: save the edit "
            "above and run</p>"
        )
        st.code(
            f"cgraph edit edit-{study.name}.json --images FOLDER --study STUDY --out changes.csv",
            language="bash",
            wrap_lines=True,
        )
        return
    edited = asking.edit.layers[0] if asking.edit.layers else editing_layer(study)
    layer = min(edited, study.n_layers - 1)
    st.html(
        "<p class='cg-quiet'>Held-out scenes, each with one attribute changed at random. In the "
        "graph and in the network the concepts named after the old value are switched off and "
        "those named after the new one on; beside it the scene is drawn again. Nothing here "
        "depends on the edit above but its layer and rule.</p>"
    )
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        chosen = st.number_input("Layer", 1, study.n_layers - 1, layer, key=_LAYER, width=110)
        n = st.number_input("Scenes", 1, MOST_SCENES, 64, 16, key=_N, width=130)
        seed = st.number_input("Seed", 0, 10**9, 0, key=_SEED, width=130)
        settings = RolloutSettings(
            asking.settings.rule, None, view.settings.n_draws, view.settings.seed, view.settings.k,
            view.settings.probability,
        )  # fmt: skip
        wanted = (study.name, int(chosen), int(n), int(seed), settings)
        if st.button("Measure", type="primary", key="cf.many.run"):
            st.session_state[_ASKED] = wanted
    if st.session_state.get(_ASKED) != wanted:
        st.html("<p class='cg-quiet'>Press Measure: a hundred scenes take some seconds.</p>")
        return
    try:
        found = _many(asking.opened.entry, *wanted[1:], study)
    except CgraphError as error:
        st.error(words.plain(str(error)))
        return
    st.html(_sentence(found) + agreement_table(_by_pair(found)))
    st.download_button(
        "Table as CSV",
        lambda: to_csv(found).encode(),
        file_name=f"agreement-{study.name}-layer-{found.layer}.csv",
        mime="text/csv",
        on_click="ignore",
        type="tertiary",
        key="cf.many.csv",
    )


def _by_pair(found: ManyScenes) -> list[tuple[str, str, list[Agreement]]]:
    pairs: dict[tuple[str, str], list[Agreement]] = {}
    for one, other, a in found.table():
        pairs.setdefault((one, other), []).append(a)
    return [(one, other, layers) for (one, other), layers in pairs.items()]


def _sentence(found: ManyScenes) -> str:
    pairs = [(one, other, layers[0]) for one, other, layers in _by_pair(found)]
    parts = [
        f"{CALLED[one]} and {CALLED[other]} share <b>{words.percent(a.overlap)}</b> "
        f"({words.percent(a.by_chance)} {term('by_chance')})"
        for one, other, a in pairs
        if a.overlap is not None
    ]
    passed = f"; {words.count(found.n_without_edit, 'scene')} had no named concept to switch"
    layer = found.states["graph"].first
    return (
        f"<p class='cg-sentence'>{words.count(len(found.rows), 'scene')}"
        f"{passed if found.n_without_edit else ''}. Of the changes that either has in layer "
        f"{layer}, {', '.join(parts) or 'there are none'}.</p>"
    )


def to_csv(found: ManyScenes) -> str:
    """Return the table as CSV; a figure that is not known is empty."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one, other, a in found.table():
        writer.writerow(
            (one, other, a.layer, a.n_images, a.n_first, a.n_second, a.n_shared, a.n_opposed,
             a.confirmed, a.foreseen, a.overlap, a.by_chance, a.rank_correlation)
        )  # fmt: skip
    return buffer.getvalue()
