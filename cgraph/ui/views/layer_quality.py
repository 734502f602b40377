"""How well the dictionary of every layer works: explained variance and dead atoms."""

from __future__ import annotations

import streamlit as st

from cgraph.errors import CgraphError
from cgraph.study import Study
from cgraph.ui import words
from cgraph.ui.charts import layers
from cgraph.ui.components.figure import show_figure
from cgraph.ui.pair_facts import layer_rows


def layer_quality(study: Study) -> None:
    """Show explained variance and dead atoms per layer.

    Parameters
    ----------
    study : Study
    """
    st.html(
        "<h3 class='cg-section'>The dictionary of every layer</h3><p class='cg-quiet'>Measured of "
        "tokens and their codes, before anything is predicted: explained variance on held-out "
        "images, dead atoms on training images</p>"
    )
    try:
        rows = layer_rows(study)
    except CgraphError as error:
        st.error(words.plain(f"The figures of the layers cannot be shown. {error}"))
        return
    if not rows:
        st.info("This study stores no figures of its layers. Build it again to have them.")
        return
    left, right = st.columns(2, gap="medium")
    with left:
        show_figure(layers.explained_figure(study.name, rows), key="evaluation.explained")
    with right:
        show_figure(layers.dead_figure(study.name, rows), key="evaluation.dead")
