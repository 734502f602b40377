"""What another seed finds again, of every layer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cgraph.ui import words
from cgraph.ui.charts.figure import Figure
from cgraph.ui.charts.layer_curves import layer_curves

Columns = Mapping[str, NDArray[np.float64]]


def found_again_figure(study: str, columns: Columns, totals: Mapping[str, float]) -> Figure:
    """Return the shares of concepts and edges of every layer that are found again.

    Parameters
    ----------
    study : str
    columns : mapping of str to ndarray, shape (n_layers,)
        ``layer``, ``concepts``, ``edges`` and ``edges_bags``; NaN where there is nothing to find.
    totals : mapping of str to float
        The last three over all layers.
    """
    return layer_curves(
        "Found again with another seed",
        f"{study} and the same with another seed",
        columns["layer"].astype(int).tolist(),
        {
            "concepts": columns["concepts"].tolist(),
            "edges": columns["edges"].tolist(),
            "edges, same dictionary and other bags": columns["edges_bags"].tolist(),
        },
        file=f"{study}-found-again",
        summary=(
            f"Another seed finds {words.percent(totals['concepts'])} of the concepts again (cosine "
            f"above 0.9) and {words.percent(totals['edges'])} of the edges between matched "
            f"concepts; with the same dictionary and other bags "
            f"{words.percent(totals['edges_bags'])} of the edges come back."
        ),
    )


def cosine_figure(study: str, columns: Columns) -> Figure:
    """Return the median cosine of matched atoms, and the median overlap of their labels."""
    layers = columns["layer"].astype(int).tolist()
    cosines = columns["cosine"].tolist()
    known = [value for value in cosines if words.known(value)]
    return layer_curves(
        "How alike matched concepts are",
        f"{study} and the same with another seed",
        layers,
        {
            "median cosine of atoms": cosines,
            "median Jaccard index of labels": columns["jaccard"].tolist(),
        },
        file=f"{study}-matched-concepts",
        summary=(
            f"The median atom of a layer has a cosine of {min(known):.2f} to {max(known):.2f} with "
            "its match."
            if known
            else "No concept was matched."
        ),
        unit="median",
        written=words.fraction,
    )
