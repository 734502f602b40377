"""One concept in full: its curves, a threshold to move, and the images that it gets wrong."""

from __future__ import annotations

import dataclasses
from html import escape

import numpy as np
import streamlit as st

from cgraph.concept import ConceptId
from cgraph.errors import CgraphError
from cgraph.held_out import ConceptScores, HeldOutPair
from cgraph.metrics import F1_ALL_POSITIVE
from cgraph.study import Study
from cgraph.ui import frame, gallery, state, words
from cgraph.ui.charts import concept_curves
from cgraph.ui.components.figure import show_figure
from cgraph.ui.components.threshold import WrongImage, threshold_panel
from cgraph.ui.evaluated import held_out_pair
from cgraph.ui.frame import OpenStudy
from cgraph.ui.models import shelf
from cgraph.ui.pair_facts import PairFacts
from cgraph.ui.pair_table import csv_text
from cgraph.ui.terms import term
from cgraph.ui.thumbnails import exemplar_rows, thumbnail_uri
from cgraph.ui.views.concept_choice import concept_choice
from cgraph.ui.views.image_evidence import image_evidence
from cgraph.ui.views.take_away import csv_button, link

N_WRONG = 12
"""Most images of each kind that are shown."""

N_EXEMPLARS = 6
_GROUPS = 5
_THUMBNAIL_PX = 72

_THRESHOLD = "evaluation.threshold"
_QUERY = "threshold"
"""Query parameter with the threshold; the study's own without it."""


@st.fragment
def concept_evaluation(opened: OpenStudy, facts: PairFacts) -> None:
    """Show the list of concepts and the one that is chosen; only this runs again for a choice.

    Parameters
    ----------
    opened : OpenStudy
    facts : PairFacts
        Of the pair on show.
    """
    shelf.note_request()
    study = opened.study
    asked, _ = state.check(state.read()[0], study)
    if asked.layer is not None and asked.layer not in (1, facts.right):
        st.rerun()  # a concept of another layer was chosen: the whole page is about its pair
    concept = asked.concept if asked.concept and asked.concept.layer == facts.right else None
    if concept is None and (typical := facts.typical()) is not None:
        concept = ConceptId(facts.right, typical)
    st.html(
        "<h3 class='cg-section'>One concept in full</h3><p class='cg-quiet'>Which images of layer "
        f"{facts.right} have it was measured in the network; the probability is what the graph "
        f"predicts from layer {facts.left}</p>"
    )
    left, right = st.columns([0.25, 0.75], gap="medium")
    with left:
        concept_choice(study, facts, concept, on_concept=lambda text: choose_concept(study, text))
    with right, st.container(key="cg-panel"):
        if concept is None:
            st.info("No concept of this pair was scored, so there is none to show by itself.")
            return
        _heading(study, facts, concept)
        try:
            pair = held_out_pair(opened.entry, facts.right)
            scores = pair.concept(concept.index)
        except CgraphError as error:
            st.info(words.plain(str(error)))
            return
        image = asked.image
        # A threshold belongs to the concept that it was chosen for.
        threshold = _threshold_of_link() if asked.concept == concept else None
        _threshold(study, scores, image, threshold)
        _evidence(study, pair, scores, image)
        _curves(study, facts, scores)
        shown = dataclasses.replace(asked, layer=facts.right, concept=concept)
        with st.container(key="cg-onward", horizontal=True, gap="small"):
            frame.onward_links(shown, here="Evaluation")
            link(shown, {} if threshold is None else {_QUERY: f"{threshold:.6g}"})


def choose_concept(study: Study, text: str | None) -> None:
    """Choose a concept; for callbacks. A threshold in the link was that of another.

    Parameters
    ----------
    study : Study
    text : str or None
        The concept as people write it; nothing happens without one.
    """
    if text:
        state.write(state.changed(study, concept=ConceptId.parse(text)), {_QUERY: None})


def _heading(study: Study, facts: PairFacts, concept: ConceptId) -> None:
    name = escape(gallery.concept_name(study, concept), quote=True)
    title = f"<span>{name}</span> <small>{concept}</small>" if name else str(concept)
    exemplars = "".join(
        f"<img src='{thumbnail_uri(study, row, _THUMBNAIL_PX)}' alt=''>"
        for row in exemplar_rows(study, concept, N_EXEMPLARS)
    )
    st.html(
        f"<h3 class='cg-concept'>{title}</h3>"
        f"<p class='cg-quiet'>{term('exemplar', 'Exemplars')} of training:</p>"
        f"<div class='cg-exemplars' role='img' aria-label='Training images in which {concept} is "
        f"strongest'>{exemplars}</div>{_figures(study, facts, concept)}"
    )


def _figures(study: Study, facts: PairFacts, concept: ConceptId) -> str:
    """Return the stored figures of a concept with the world each is of and what chance gives."""
    record = study.graph.record(concept)
    places = [place for place, index in enumerate(facts.scored) if index == concept.index]
    if not places:
        why = "it is too rare or too common to be judged"
        return (
            f"<p class='cg-sentence'>It was not {term('scored', 'scored')}: {why} (active in "
            f"{words.count(record.n_train, 'training image')} and "
            f"{words.count(record.n_held_out, 'held-out image')}).</p>"
        )
    row = {name: values[places[0]] for name, values in facts.columns.items()}
    both, balanced, natural = (
        f"<span class='cg-world cg-{kind}'>{text}</span>"
        for kind, text in (
            ("both", "both worlds"),
            ("balanced", "balanced"),
            ("natural", "natural"),
        )
    )
    cells = [
        (term("auc"), words.thousandths(row["auc"]), "0.5 by chance", both),
        (
            term("f1", "F1"),
            words.thousandths(row["f1_balanced"]),
            f"{F1_ALL_POSITIVE:.3f} all positive",
            balanced,
        ),
        (term("threshold", "F1 at τ"), words.thousandths(row["f1_natural"]), "", natural),
        (
            term("average_precision"),
            words.thousandths(row["ap"]),
            f"{row['prevalence']:.3f} by chance",
            natural,
        ),
        ("AUC of its best parent alone", words.thousandths(row["auc_best_parent"]), "", both),
        (
            term("nearest_atom", "AUC of the nearest atom"),
            words.thousandths(row["auc_nearest"]),
            "",
            both,
        ),
        (term("parent", "parents"), f"{row['n_parents']:,}", "", ""),
        ("active in held-out images", words.percent(float(row["prevalence"])), "", natural),
    ]
    return (
        "<dl class='cg-figures cg-wide'>"
        + "".join(
            f"<div><dt>{label}</dt><dd><b>{value}</b> {escape(note)} {world}</dd></div>"
            for label, value, note, world in cells
        )
        + "</dl>"
    )


def _threshold(
    study: Study, scores: ConceptScores, image: str | None, threshold: float | None
) -> None:
    without, having = scores.most_confident_mistakes(N_WRONG)
    presets = [
        ("τ of the study", scores.threshold, "Predicted as often as it occurs on the tune images"),
        ("0.5 balanced", scores.half, "The paper's: likelier than not in the balanced world"),
    ]
    threshold_panel(
        scores.points,
        presets,
        [_wrong(study, scores, place) for place in without],
        [_wrong(study, scores, place) for place in having],
        key=_THRESHOLD,
        on_pick=lambda: _picked(study),
        on_threshold=lambda: _threshold_moved(study, scores.concept),
        threshold=threshold,
        selected=image,
    )


def _curves(study: Study, facts: PairFacts, scores: ConceptScores) -> None:
    from cgraph.metrics import auc, average_precision
    from cgraph.reliability import even_edges, reliability

    concept, points = scores.concept, scores.points
    name = gallery.concept_name(study, concept)
    called = f"{facts.study}, {f'{name} ({concept})' if name else concept}"
    file = f"{facts.study}-L{concept.layer}-{concept.index}"
    labels = scores.positive[:, None]
    area = float(auc(scores.scores[:, None], labels)[0])
    precision = float(average_precision(scores.scores[:, None], labels)[0])
    figures = []
    if points.n_pos and points.n_neg:
        figures = [
            concept_curves.roc_of_concept(called, file, points, area),
            concept_curves.precision_recall_of_concept(called, file, points, precision),
        ]
    else:
        st.info("All held-out images are alike in it, so it has no ROC or precision-recall curve.")
    # Groups of as many expected positives, and of as many expected negatives.
    p = scores.probabilities
    edges = np.union1d(even_edges(p, _GROUPS), 1 - even_edges(1 - p, _GROUPS)[::-1])
    found = reliability(scores.probabilities, scores.positive, edges)
    figures.append(concept_curves.calibration_of_concept(called, file, found))
    with st.container(key="cg-row-curves"):
        columns = st.columns(len(figures), gap="medium")
    for column, figure in zip(columns, figures, strict=True):
        with column:
            show_figure(figure, key=f"evaluation.concept{figure.file.removeprefix(file)}")
    csv_button(
        "Every held-out image as CSV",
        lambda: _images_csv(study, scores),
        f"{file}-held-out",
        key="evaluation.images.csv",
    )


def _images_csv(study: Study, scores: ConceptScores) -> bytes:
    """Return what was predicted and measured of every held-out image."""
    predicted = scores.probabilities >= scores.threshold
    rows = zip(
        [study.image_ids[row] for row in scores.rows],
        scores.scores.tolist(),
        scores.probabilities.tolist(),
        predicted.tolist(),
        scores.positive.tolist(),
        strict=True,
    )
    columns = ("image_id", "balanced_log_odds", "probability", "predicted_at_tau", "active")
    return csv_text(columns, rows).encode()


def _wrong(study: Study, scores: ConceptScores, place: int) -> WrongImage:
    row = int(scores.rows[place])
    return WrongImage(
        id=study.image_ids[row],
        label=gallery.image_title(study, row)[0],
        image=thumbnail_uri(study, row, _THUMBNAIL_PX),
        p=float(scores.probabilities[place]),
    )


def _picked(study: Study) -> None:
    if picked := st.session_state[_THRESHOLD].get("picked"):
        state.change(study, image=picked)


def _threshold_moved(study: Study, concept: ConceptId) -> None:
    value = st.session_state[_THRESHOLD].get("threshold")
    if isinstance(value, int | float):
        state.write(state.changed(study, concept=concept), {_QUERY: f"{value:.6g}"})


def _threshold_of_link() -> float | None:
    text = st.query_params.get(_QUERY)
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        st.warning(
            words.plain(
                f"The link asks for the threshold {text!r}. It must be a number between 0 and 1; "
                "the study's own is shown."
            )
        )
        return None
    return value


def _evidence(study: Study, pair: HeldOutPair, scores: ConceptScores, image: str | None) -> None:
    """Say why an image that was chosen is predicted as it is, if it is a held-out one."""
    if image is None:
        st.html("<p class='cg-quiet'>Choose one of these images to see what its parents say.</p>")
        return
    try:
        row = study.row(image)
    except CgraphError:
        return  # an upload, of which nothing was measured
    found = (scores.rows == row).nonzero()[0]
    if not len(found):
        st.html(
            "<p class='cg-quiet'>The image that is selected took part in the fits, so it is not "
            "judged here. Choose one of the images above to see what its parents say.</p>"
        )
    else:
        image_evidence(
            study, pair, scores, int(found[0]), on_concept=lambda text: choose_concept(study, text)
        )
