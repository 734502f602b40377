"""Choices of a page that stand in its link, so that the link opens the same view again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from cgraph.ui import state, words
from cgraph.ui.state import HasConcepts


def in_link(name: str, allowed: Sequence[str], default: str) -> str:
    """Return what the link says, or what to show where it says nothing or nothing that is allowed.

    Parameters
    ----------
    name : str
        A query parameter of the page.
    allowed : sequence of str
    default : str
    """
    text = st.query_params.get(name)
    if text is None or text in allowed:
        return text or default
    st.warning(
        words.plain(
            f"The link asks for the {name} {text!r}, which is not there. There is: "
            f"{', '.join(allowed)}."
        )
    )
    return default


def keep(study: HasConcepts, key: str, name: str) -> None:
    """Put the value of a widget into the link; for its callback."""
    value = st.session_state[key]
    if value is not None:
        state.write(state.changed(study), {name: str(value)})


def pills(
    study: HasConcepts,
    label: str,
    name: str,
    options: Sequence[str],
    *,
    key: str,
    default: str | None = None,
    says: Callable[[str], str] = str,
    hidden: bool = False,
) -> str:
    """Show a few options of which the link decides one, and return it.

    Parameters
    ----------
    study : Study
    label : str
    name : str
        Query parameter.
    options : sequence of str
    key : str
    default : str, optional
        The first option if left out.
    says : callable
        Returns the words of an option.
    hidden : bool
        Whether the label is for screen readers alone.
    """
    value = in_link(name, options, default or options[0])
    # The link decides, also after the back button: the pills only show what it says.
    st.session_state[key] = value
    st.pills(
        label,
        options,
        format_func=says,
        key=key,
        required=True,
        on_change=keep,
        args=(study, key, name),
        label_visibility="collapsed" if hidden else "visible",
    )
    return value
