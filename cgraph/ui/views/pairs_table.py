"""All pairs of layers in one table, the paper's own row beside them, and what differs."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cgraph.errors import CgraphError
from cgraph.metrics import F1_ALL_POSITIVE
from cgraph.ui import pair_table, paper, words
from cgraph.ui.evaluated import pair_curves
from cgraph.ui.frame import OpenStudy
from cgraph.ui.pair_table import PairRow
from cgraph.ui.views.take_away import csv_button


def pairs_table(opened: OpenStudy, right: int) -> Callable[[], None]:
    """Show the table from what is stored, and return what adds the measured column.

    Parameters
    ----------
    opened : OpenStudy
    right : int
        Right layer of the pair on show, which is marked.
    """
    study = opened.study
    st.html(
        "<h3 class='cg-section'>All pairs of layers, and the paper</h3><p class='cg-quiet'>Mean ± "
        "one standard deviation over the scored concepts, then the median. Calling everything "
        f"positive gives a balanced F1 of {F1_ALL_POSITIVE:.3f}, guessing a balanced average "
        "precision of 0.5. A dash: the paper does not say. Nor does it say which world its F1 is "
        "of; most likely it is the balanced one, as its fits are.</p>"
    )
    place = st.empty()
    try:
        rows = [pair_table.pair_row(study, layer) for layer in range(2, study.n_layers + 1)]
    except CgraphError as error:
        st.error(words.plain(f"The table cannot be shown. {error}"))
        return lambda: None
    with place:
        st.html(_table(rows, right, waiting=True))
    with st.container(horizontal=True, gap="small"):
        csv_button(
            "Table as CSV",
            lambda: pair_table.to_csv(_measured(opened, rows)[0]).encode(),
            f"{study.name}-pairs",
            key="evaluation.pairs.csv",
        )
    said = st.empty()
    _differences(opened)

    def fill() -> None:
        measured, problem = _measured(opened, rows, said=said)
        said.empty()
        with place:
            st.html(_table(measured, right, waiting=False, problem=problem))

    return fill


def _measured(
    opened: OpenStudy, rows: list[PairRow], said: DeltaGenerator | None = None
) -> tuple[list[PairRow], str]:
    """Add what only the scores tell, and why it is missing if it is."""
    found = []
    for place, row in enumerate(rows):
        if said is not None:
            # It also lets a click through: Streamlit looks for one whenever something is sent.
            note = f"Average precision in the balanced world: pair {place + 1} of {len(rows)} …"
            said.html(f"<p class='cg-quiet'>{note}</p>")
        try:
            curves = pair_curves(opened.entry, row.right)
        except CgraphError as error:
            return rows, str(error)
        found.append(row.with_balanced_precision(curves.ap_balanced))
    return found, ""


def _table(rows: list[PairRow], here: int, *, waiting: bool, problem: str = "") -> str:
    groups = "".join(
        f"<th scope='colgroup' colspan='{n}'>{escape(title)}</th>" for title, n in pair_table.GROUPS
    )
    heads = "".join(f"<th scope='col'>{escape(text)}</th>" for text in pair_table.HEADS)
    lines = [
        _line(
            row.cells(waiting=waiting),
            f"{row.right - 1} → {row.right}",
            "cg-here" if row.right == here else "",
        )
        for row in rows
    ]
    lines.append(_line(pair_table.PAPER_CELLS, f"the paper, {paper.PAIR}", "cg-paper"))
    note = f"<p class='cg-quiet'>{escape(problem)}</p>" if problem else ""
    return (
        f"<div class='cg-scroll' tabindex='0' role='group' aria-label='Table of all pairs'>"
        f"<table class='cg-table'><thead><tr><td></td>{groups}</tr>"
        f"<tr><th scope='col'>layers</th>{heads}</tr></thead><tbody>{''.join(lines)}</tbody>"
        f"</table></div>{note}"
    )


def _line(cells: tuple[str, ...], lead: str, name: str = "") -> str:
    here = " aria-current='true'" if name == "cg-here" else ""
    return (
        f"<tr class='{name}'{here}><th scope='row'>{escape(lead)}</th>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
    )


def _differences(opened: OpenStudy) -> None:
    rows = paper.differences(opened.study)
    with st.expander("What differs between the paper and this study"):
        body = "".join(
            f"<tr><th scope='row'>{escape(what)}</th><td>{escape(theirs)}</td>"
            f"<td>{escape(ours)}</td></tr>"
            for what, theirs, ours in rows
        )
        st.html(
            "<div class='cg-scroll'><table class='cg-table cg-words'><thead><tr><td></td>"
            f"<th scope='col'>the paper</th><th scope='col'>{escape(opened.study.name)}</th></tr>"
            f"</thead><tbody>{body}</tbody></table></div>"
        )
        csv_button(
            "Differences as CSV",
            lambda: pair_table.csv_text(("what", "paper", opened.study.name), rows).encode(),
            f"{opened.study.name}-and-the-paper",
            key="evaluation.differences.csv",
        )
