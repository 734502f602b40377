"""The Evaluation page: how well concepts are predicted, and whether the graph tells the truth.

The first view is a pair of layers, the paper's question, one concept, all pairs, all layers. What
is stored is drawn first; what has to be measured is filled in afterwards, and kept.
"""

from __future__ import annotations

import streamlit as st

from cgraph.config import HELD_OUT
from cgraph.errors import CgraphError
from cgraph.study import Study
from cgraph.ui import state, words
from cgraph.ui.charts import histograms
from cgraph.ui.charts.roc_picture import roc_figure
from cgraph.ui.components.figure import figure_engine, show_figure
from cgraph.ui.evaluated import pair_curves
from cgraph.ui.frame import OpenStudy
from cgraph.ui.link_choice import pills
from cgraph.ui.pair_facts import PairFacts, pair_facts
from cgraph.ui.terms import MEASURED, PREDICTED, term
from cgraph.ui.views.concept_evaluation import concept_evaluation
from cgraph.ui.views.layer_quality import layer_quality
from cgraph.ui.views.pairs_table import pairs_table
from cgraph.ui.views.parent_question import parent_question
from cgraph.ui.views.take_away import csv_button
from cgraph.ui.views.truth import truth

_PAIR = "evaluation.pair"

_VIEW = "evaluation.view"
TRUTH = "truth"
_VIEWS = {"pairs": "Pair by pair", TRUTH: "Does the graph tell the truth?"}
"""Views of the page by what the link calls them."""

WORLDS = (
    "<span class='cg-world cg-balanced'>balanced world</span> half of the images have the "
    "concept, as in the paper's fits; <span class='cg-world cg-natural'>natural world</span> as "
    "many have it as really do; <span class='cg-world cg-both'>the same in both worlds</span> the "
    "figure does not depend on it."
)


def show(opened: OpenStudy) -> None:
    """Draw the page.

    Parameters
    ----------
    opened : OpenStudy
    """
    study = opened.study
    figure_engine()
    view = pills(
        study, "View", "view", list(_VIEWS), key=_VIEW, says=_VIEWS.__getitem__, hidden=True
    )
    if view == TRUTH:
        _about_truth(study)
        truth(opened)
        return
    _introduction(study)
    if study.n_layers < 2:
        st.info("This study has one layer, so nothing is predicted and nothing can be evaluated.")
        layer_quality(study)
        return
    right = _pair_choice(opened)
    try:
        facts = pair_facts(study, right)
    except CgraphError as error:
        st.error(words.plain(f"The figures of this study cannot be shown. {error}"))
        return
    roc_place = _pair_figures(facts)
    fill_question = parent_question(opened, facts)
    concept_evaluation(opened, facts)
    fill_table = pairs_table(opened, right)
    layer_quality(study)
    # From here on nothing is stored: measured once, while the page can be read already.
    with roc_place:
        _roc(opened, facts)
    fill_question()
    fill_table()


def _introduction(study: Study) -> None:
    n = len(study.rows(HELD_OUT))
    st.html(
        f"<p class='cg-facts'>study {study.name} · every figure is of "
        f"{words.count(n, 'held-out image')}, which took part in no fit and no choice</p>"
        f"<p class='cg-sentence cg-worlds'>Two worlds are never mixed: {WORLDS}</p>"
    )


def _about_truth(study: Study) -> None:
    n = len(study.rows(HELD_OUT))
    st.html(
        f"<p class='cg-facts'>study {study.name} · every figure is of "
        f"{words.count(n, 'held-out image')}, which took part in no fit and no choice · "
        f"{PREDICTED} is worked out from labels, {MEASURED} by running the model</p>"
    )


def _pair_choice(opened: OpenStudy) -> int:
    """Show the pairs of layers and return the right layer of the one that is looked at."""
    study, asked = opened.study, opened.selection.layer
    layers = list(range(2, study.n_layers + 1))
    right = asked if asked in layers else 2 if asked == 1 else layers[-1]
    if asked == 1:
        st.info(
            "Layer 1 is the first, so nothing predicts its concepts. The pair 1 → 2 is shown, "
            "in which they are the parents."
        )
    # The link decides, also after the back button: the pills only show what it says.
    st.session_state[_PAIR] = right
    st.pills(
        "Layers",
        layers,
        format_func=lambda layer: f"{layer - 1} → {layer}",
        key=_PAIR,
        required=True,
        on_change=lambda: state.change(study, layer=st.session_state[_PAIR] or right, concept=None),
    )
    return right


def _pair_figures(facts: PairFacts) -> st.delta_generator.DeltaGenerator:
    """Draw what is stored of a pair, and return the place of its ROC curves."""
    n = len(facts.scored)
    st.html(
        f"<h3 class='cg-section'>Layers {facts.left} → {facts.right}</h3>"
        f"<p class='cg-quiet'>{n:,} {term('scored', 'scored')} of {facts.n_alive:,} alive of "
        f"{words.count(facts.n_concepts, 'concept')}; figures and averages are of the scored ones"
        "</p>"
    )
    if not n:
        st.info(
            "No concept of this pair was scored: each needs 40 training and 10 held-out images in "
            "which it is active, and a prevalence below 60 %. Build the study from more images, or "
            "with fewer concepts a layer."
        )
        return st.empty()
    left, right = st.columns([0.42, 0.58], gap="medium")
    with left:
        roc_place = st.empty()
        with roc_place.container(key="cg-roc-wait"):
            st.html(f"<p class='cg-quiet cg-wait'>Measuring the ROC curves of {n:,} concepts …</p>")
    with right:
        from cgraph.peaks import find_peaks

        peaks = find_peaks(facts.columns["n_parents"])
        show_figure(histograms.parents_figure(facts, peaks), key="evaluation.parents")
        st.html(f"<p class='cg-quiet'>{term('peak', 'How peaks are found')}</p>")
        figures = (
            histograms.auc_figure(facts),
            histograms.f1_balanced_figure(facts),
            histograms.f1_natural_figure(facts),
        )
        with st.container(key="cg-row-histograms"):
            columns = st.columns(len(figures), gap="small")
        for column, figure in zip(columns, figures, strict=True):
            with column:
                show_figure(figure, key=f"evaluation{figure.file.removeprefix(facts.file)}")
    return roc_place


def _roc(opened: OpenStudy, facts: PairFacts) -> None:
    """Draw all ROC curves in the place that was kept for them."""
    if not len(facts.scored):
        return
    with st.container(key="cg-roc"):
        try:
            curves = pair_curves(opened.entry, facts.right)
        except CgraphError as error:
            st.info(words.plain(f"The ROC curves cannot be shown. {error}"))
            return
        show_figure(roc_figure(facts, curves), key="evaluation.roc")
        csv_button(
            "Every curve as CSV",
            lambda: _curves_csv(opened, facts),
            f"{facts.file}-roc-curves",
            key="evaluation.curves",
        )


def _curves_csv(opened: OpenStudy, facts: PairFacts) -> bytes:
    """Return the ROC curve of every scored concept at 101 rates, one row a concept."""
    from cgraph.pair_curves import curves_on
    from cgraph.ui.evaluated import held_out_pair

    n_points = 101
    found = curves_on(held_out_pair(opened.entry, facts.right), facts.scored, n_points)
    head = ",".join(["concept", *(f"tpr_at_{place / 100:.2f}" for place in range(n_points))])
    lines = [
        ",".join([name, *(f"{value:.5f}" for value in row)])
        for name, row in zip(facts.ids, found, strict=True)
    ]
    return "\n".join([head, *lines, ""]).encode()
