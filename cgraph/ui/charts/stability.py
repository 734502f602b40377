"""What another seed finds again, of every layer, beside what chance would find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cgraph.ui import words
from cgraph.ui.charts.figure import Figure
from cgraph.ui.charts.layer_curves import layer_curves

Row = Mapping[str, Any]

ROTATED, TOKENS = "atoms turned at random", "training tokens in their place"


def share(part: float, whole: float) -> float:
    """Return a share; NaN of nothing."""
    return part / whole if whole else float("nan")


def concepts_figure(study: str, rows: Sequence[Row]) -> Figure:
    """Return the share of concepts of every layer that are found again.

    Parameters
    ----------
    study : str
    rows : sequence of mapping
        Of ``truth/stable-layers.arrow``.
    """
    again, rotated, tokens = (_total(rows, name) for name in _FOUND)
    alive = _total(rows, "n_alive")
    return _figure(
        study,
        "Concepts found again",
        "concepts-again",
        rows,
        {
            "found again": [share(row["n_found_again"], row["n_alive"]) for row in rows],
            ROTATED: [share(row["n_found_rotated"], row["n_alive"]) for row in rows],
            TOKENS: [share(row["n_found_tokens"], row["n_alive"]) for row in rows],
        },
        against=TOKENS,
        summary=(
            f"Another seed finds {words.percent(share(again, alive))} of "
            f"{words.count(int(alive), 'concept')} again, with a cosine above 0.9; atoms turned at "
            f"random would match {words.percent(share(rotated, alive))}, training tokens in their "
            f"place {words.percent(share(tokens, alive))}."
        ),
    )


_FOUND = ("n_found_again", "n_found_rotated", "n_found_tokens")


def likeness_figure(study: str, rows: Sequence[Row]) -> Figure:
    """Return how alike the atoms of matched concepts are, and the images that they are in."""
    cosines = [row["cosine"] for row in rows]
    known = [value for value in cosines if words.known(value)]
    return _figure(
        study,
        "How alike matched concepts are",
        "matched-concepts",
        rows,
        {
            "cosine of atoms": cosines,
            "Jaccard index of labels": [row["jaccard"] for row in rows],
            "cosine, atoms turned at random": [row["cosine_rotated"] for row in rows],
            "Jaccard index by chance": [row["jaccard_chance"] for row in rows],
        },
        against="Jaccard index by chance",
        summary=(
            f"The median atom of a layer has a cosine of {min(known):.2f} to {max(known):.2f} with "
            "its match."
            if known
            else "No concept was matched."
        ),
        unit="median",
    )


def edges_figure(study: str, rows: Sequence[Row]) -> Figure:
    """Return the shares of edges into every layer that are found again."""
    rows = [row for row in rows if row["n_edges"]] or rows
    again, matched, bags, n, chance = (
        _total(rows, name)
        for name in (
            *("n_edges_found_again", "n_edges_matched", "n_edges_found_bags", "n_edges"),
            "n_edges_chance",
        )
    )
    return _figure(
        study,
        "Edges found again",
        "edges-again",
        rows,
        {
            "same dictionary, other bags": [
                share(row["n_edges_found_bags"], row["n_edges"]) for row in rows
            ],
            "another seed, of those with both ends": [
                share(row["n_edges_found_again"], row["n_edges_matched"]) for row in rows
            ],
            "edges laid at random": [
                share(row["n_edges_chance"], row["n_edges_matched"]) for row in rows
            ],
        },
        against="edges laid at random",
        summary=(
            f"With the same dictionary and other bags {words.percent(share(bags, n))} of the edges "
            f"come back. {words.count(int(matched), 'edge')} of {int(n):,} have both ends found "
            f"again by another seed, and {words.percent(share(again, matched))} of these are edges "
            f"there, too; laid at random, {words.percent(share(chance, matched))} would be."
        ),
    )


def _total(rows: Sequence[Row], name: str) -> float:
    return float(sum(row[name] for row in rows if words.known(row[name])))


def _figure(
    study: str,
    title: str,
    file: str,
    rows: Sequence[Row],
    columns: Mapping[str, Sequence[float]],
    *,
    against: str,
    summary: str,
    unit: str = "share",
) -> Figure:
    return layer_curves(
        title,
        f"{study} and the same with another seed",
        [row["layer"] for row in rows],
        columns,
        file=f"{study}-{file}",
        summary=summary,
        against=against,
        unit=unit,
        written=words.percent if unit == "share" else words.fraction,
    )
