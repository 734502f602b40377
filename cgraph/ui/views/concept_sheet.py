"""One concept in full: what it shows, what it is called, what goes with it."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import streamlit as st

from cgraph.concept import ConceptId
from cgraph.exemplars import BANDS, Band
from cgraph.study import Study
from cgraph.study_graph import measured_concepts
from cgraph.study_names import marked
from cgraph.ui import words
from cgraph.ui.components.bar_chart import BarMark, bar_chart
from cgraph.ui.components.image_grid import GridImage, image_grid
from cgraph.ui.gallery import image_title
from cgraph.ui.outside_words import concept_rows
from cgraph.ui.sheet import N_EXEMPLARS, ConceptSheet, concept_sheet
from cgraph.ui.terms import MEASURED, PREDICTED, term
from cgraph.ui.thumbnails import thumbnail_uri
from cgraph.ui.views.attribute_figures import attribute_figures
from cgraph.ui.views.concept_naming import naming_form
from cgraph.ui.views.concept_panel import match_sentence
from cgraph.ui.views.sheet_lists import relation_tabs
from cgraph.ui.views.text_figures import text_figures

_BAND_WORDS = {
    "high": "strongest",
    "middle": "around the median",
    "low": "weakest that still count",
}


def show(
    study: Study,
    concept: ConceptId,
    *,
    on_concept: Callable[[str | None], None],
    on_image: Callable[[str], None],
    below: Callable[[], None],
) -> None:
    """Draw a concept in full.

    Parameters
    ----------
    study : Study
    concept : ConceptId
    on_concept, on_image : callable
        Called with the id of a concept, or of an image, that somebody chose.
    below : callable
        Draws what stands beneath the lists.
    """
    sheet = concept_sheet(study, concept)
    left, right = st.columns([0.58, 0.42], gap="large")
    with left, st.container(key="cg-sheet"):
        with st.container(key="cg-heading", horizontal=True, gap="medium"):
            st.html(_heading(sheet))
            _downloads(sheet)
        st.html(_figures(sheet))
        _exemplars(sheet, on_image)
        _histogram(sheet)
        attribute_figures(sheet)
    with right, st.container(key="cg-panel"):
        st.html(_section("Name"))
        _names(sheet)
        naming_form(study, concept)
        relation_tabs(sheet, on_concept)
        below()


def _section(title: str, mark: str = "") -> str:
    return f"<h3 class='cg-section'>{title} {mark}</h3>"


def _heading(sheet: ConceptSheet) -> str:
    concept, study = sheet.concept, sheet.study
    name = study.name_of(concept)
    about = f"study {escape(study.name)} · layer {concept.layer} of {study.n_layers}"
    title = f"{escape(marked(name))} <small>{concept}</small>" if name else str(concept)
    return f"<p class='cg-eyebrow'>{about}</p><h2 class='cg-title'>{title}</h2>"


def _figures(sheet: ConceptSheet) -> str:
    """Return what was measured and what is predicted, as two lists of terms."""
    prevalence = sheet.n_active / max(1, sheet.n_train)
    measured = [
        (
            term("prevalence", "Active in training"),
            words.percent(prevalence),
            f"of images ({sheet.n_active:,} of {sheet.n_train:,})",
        )
    ]
    measured += concept_rows(measured_concepts(sheet.study).of(sheet.concept))
    predicted = []
    figures = sheet.figures
    if sheet.concept.layer == 1:
        predicted.append(("Parents predict", "nothing", "(layer 1 has no layer before it)"))
    elif words.known(figures.get("auc")) and sheet.study.graph.record(sheet.concept).scored:
        predicted += [
            (term("auc", "AUC, held-out"), words.fraction(figures["auc"]), "(0.50 by chance)"),
            (
                term("average_precision", "Average precision"),
                words.fraction(figures["ap"]),
                f"({words.fraction(figures['prevalence'])} by chance)",
            ),
        ]
    else:
        predicted.append((term("auc", "AUC, held-out"), "not scored", "(too rare or too common)"))
    return (
        f"<div class='cg-two'><div>{MEASURED}{_terms(measured)}</div>"
        f"<div>{PREDICTED}{_terms(predicted)}</div></div>"
    )


def _terms(rows: list[tuple[str, str, str]]) -> str:
    cells = "".join(
        f"<dt>{label}</dt><dd><b>{escape(value)}</b> {escape(note)}</dd>"
        for label, value, note in rows
    )
    return f"<dl class='cg-figures'>{cells}</dl>"


def _exemplars(sheet: ConceptSheet, on_image: Callable[[str], None]) -> None:
    st.html(_section("What it shows", MEASURED))
    if not sheet.n_active:
        st.html(
            "<p class='cg-quiet'>No training image has this concept, so there is nothing to show "
            "for it.</p>"
        )
        return
    st.html(
        "<p class='cg-quiet'>Training images from three places of its activations; choose one to "
        "trace it.</p>"
    )
    for band in sheet.bands:
        if len(band.rows):
            _band(sheet, band, on_image)


def _band(sheet: ConceptSheet, band: Band, on_image: Callable[[str], None]) -> None:
    study, key = sheet.study, f"sheet.{band.name}"
    high, low = float(band.coefficients[0]), float(band.coefficients[-1])
    span = f"{high:.2f}" if len(band.rows) == 1 else f"{high:.2f} to {low:.2f}"
    span = span.replace("-", "−")
    st.html(
        f"<p class='cg-band'><b>{band.name.capitalize()}</b> {_BAND_WORDS[band.name]} · "
        f"{term('coefficient')} {span}</p>"
    )
    images = []
    for row, value in zip(band.rows.tolist(), band.coefficients.tolist(), strict=True):
        label = f"{image_title(study, row)[0]}, coefficient {value:.2f}"
        images.append(GridImage(study.image_ids[row], label, thumbnail_uri(study, row)))
    image_grid(
        images,
        label=f"{band.name.capitalize()} activation of {sheet.concept}",
        columns=N_EXEMPLARS,
        key=key,
        on_pick=lambda: on_image(st.session_state[key]["picked"]),
    )


def _histogram(sheet: ConceptSheet) -> None:
    if not sheet.n_active:
        return
    st.html(_section("How strongly it is active", MEASURED))
    silent = sheet.histogram.n_silent
    name = sheet.named(sheet.concept)
    called = f"{name}, {sheet.concept}" if name else str(sheet.concept)
    bar_chart(
        sheet.histogram.edges.tolist(),
        sheet.histogram.counts.tolist(),
        [
            BarMark(band.name, tuple(band.coefficients.tolist()))
            for band in sheet.bands
            if band.name in BANDS
        ],
        title=f"Activations of {called} in study {sheet.study.name}",
        across="coefficient; signs below: the images shown above",
        up="training images",
        note=f"{sheet.n_active:,} of {sheet.n_train:,} training images; silent in {silent:,}",
        csv=sheet.histogram_csv(),
        file_name=f"activations-{sheet.file_stem}",
        key="sheet.histogram",
    )
    st.html(
        f"<p class='cg-quiet'>Active in {sheet.n_active:,} training images, silent in "
        f"{silent:,} that are not drawn.</p>"
    )


def _names(sheet: ConceptSheet) -> None:
    """Say where the name comes from, what it would be otherwise, and what texts it is like."""
    naming, concept = sheet.study.naming, sheet.concept
    name, measured = naming.of(concept), naming.measured(concept)
    if name is None:
        sentences = ["It has no name: nothing that is known of the images matches it well."]
    else:
        sentences = [match_sentence(name)]
        if measured is not None and measured is not name:
            sentences.append(f"Its measured name is ‘{escape(marked(measured))}’.")
    st.html("".join(f"<p class='cg-sentence'>{sentence}</p>" for sentence in sentences))
    text_figures(sheet.study, concept)


def _downloads(sheet: ConceptSheet) -> None:
    with st.popover("Download", key="sheet.downloads"):
        for label, kind, made in (
            ("All of it as JSON", "json", sheet.to_json),
            ("Parents and children as CSV", "relations.csv", sheet.relations_csv),
            ("Co-active concepts as CSV", "co-active.csv", sheet.co_active_csv),
            ("Attributes as CSV", "attributes.csv", sheet.attributes_csv),
        ):
            st.download_button(
                label,
                lambda made=made: made().encode(),  # type: ignore[misc]
                file_name=f"concept-{sheet.file_stem}{'.' if kind == 'json' else '-'}{kind}",
                mime="application/json" if kind == "json" else "text/csv",
                on_click="ignore",
                width="stretch",
            )
        st.caption("The figure of the activations is saved as SVG, PNG or CSV below it.")
