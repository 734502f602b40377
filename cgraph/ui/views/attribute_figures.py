"""How well a concept stands for each attribute of the images, as a table."""

from __future__ import annotations

from html import escape

import streamlit as st

from cgraph.attribute_match import AttributeMatch
from cgraph.config import HELD_OUT
from cgraph.naming import least_correlation
from cgraph.ui import words
from cgraph.ui.sheet import ConceptSheet
from cgraph.ui.terms import MEASURED, term

N_SHOWN = 10

_ALL = "sheet.all-attributes"


def attribute_figures(sheet: ConceptSheet) -> None:
    """Show the table of attributes.

    Parameters
    ----------
    sheet : ConceptSheet
    """
    st.html(f"<h3 class='cg-section'>What is known of its images {MEASURED}</h3>")
    found = sheet.attributes
    if not found:
        st.html(
            "<p class='cg-quiet'>Nothing that enough images share is known of this image set, so "
            "there is nothing to compare the concept with.</p>"
        )
        return
    if all(match.share == 0 for match in found):
        st.html(
            "<p class='cg-quiet'>It is active in no held-out image that anything is known of, so "
            "there is nothing to compare.</p>"
        )
        return
    everything = len(found) <= N_SHOWN or bool(st.session_state.get(_ALL))
    shown = found if everything else found[:N_SHOWN]
    st.html(
        f"<p class='cg-quiet'>{len(shown)} of {len(found)} values, the strongest "
        f"{term('correlation')} first, on {term('held_out')} images. The AUC says how well the "
        "coefficient ranks images with the value above those without (0.50 by chance). By chance "
        f"the best of {len(found)} values would hardly reach a correlation of "
        f"{words.fraction(_chance(sheet))}.</p>"
        "<div class='cg-scroll' tabindex='0' role='group' aria-label='Table of attributes'>"
        f"{_table(shown)}</div>"
    )
    if len(found) > N_SHOWN:
        st.toggle(f"Show all {len(found)}", key=_ALL)


def _chance(sheet: ConceptSheet) -> float:
    n_images = len(sheet.study.rows(HELD_OUT))
    return min(1.0, least_correlation(0.0, n_images, len(sheet.attributes)))


def _table(matches: tuple[AttributeMatch, ...]) -> str:
    rows = "".join(
        f"<tr><td>{escape(match.attribute)}</td><th scope='row'>{escape(match.value)}</th>"
        f"<td>{_bar(match.correlation)}</td><td>{words.fraction(match.auc)}</td>"
        f"<td>{words.percent(match.share)}</td><td>{match.n_images:,}</td></tr>"
        for match in matches
    )
    return (
        "<table class='cg-matches'><thead><tr><th>attribute</th><th>value</th>"
        "<th>correlation</th><th>AUC</th><th>active in</th><th>images</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )


def _bar(value: float) -> str:
    """Return a signed figure with a bar: orange and solid above 0, blue and striped below."""
    side = "cg-more" if value >= 0 else "cg-less"
    return (
        f"<span class='cg-bar {side}'><i style='width:{min(100, abs(100 * value)):.0f}%'></i>"
        f"</span>{words.signed(value)}"
    )
