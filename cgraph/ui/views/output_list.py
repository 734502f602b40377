"""What the model says of an image in the end, and what the graph predicts of it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import streamlit as st

from cgraph.output_readings import OutputState
from cgraph.ui import words
from cgraph.ui.terms import MEASURED, PREDICTED


def output_list(states: Sequence[OutputState]) -> None:
    """Show the outputs of an image, a row each; nothing of a study without any.

    Parameters
    ----------
    states : sequence of OutputState
    """
    if not states:
        return
    rows = "".join(_row(state) for state in states)
    st.html(
        "<div class='cg-scroll'><table class='cg-table cg-words'><thead><tr>"
        f"<th scope='col'>output</th><th scope='col'>the model says {MEASURED}</th>"
        f"<th scope='col'>the graph expects {PREDICTED}</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _row(state: OutputState) -> str:
    said = "on" if state.label else "off"
    expected = "no prediction"
    if state.probability is not None:
        expected = (
            f"{'on' if state.predicted else 'off'}, at {words.percent(state.probability)}; usually "
            f"{words.percent(state.prevalence)}"
        )
    return (
        f"<tr><th scope='row'>{escape(state.node.written)}</th>"
        f"<td>{said}: {escape(state.node.meaning)}, here {state.value:.3f}</td>"
        f"<td>{expected}</td></tr>"
    )
