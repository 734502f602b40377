"""How far answers agree, as a table of named figures."""

from __future__ import annotations

from collections.abc import Sequence

from cgraph.agreement import Agreement
from cgraph.ui import words
from cgraph.ui.terms import term

PREDICTED, MEASURED = "◇", "●"
"""Marks of what the graph predicts, and of what was measured in the network."""

CALLED = {
    "graph": f"{PREDICTED} graph",
    "network": f"{MEASURED} network, edited",
    "redrawn": f"{MEASURED} picture drawn again",
}
"""What each answer is called."""

_BAR_PX = 60


def agreement_table(pairs: Sequence[tuple[str, str, Sequence[Agreement]]]) -> str:
    """Return an HTML table with a row for each layer of each pair of answers.

    Parameters
    ----------
    pairs : sequence of (first, second, agreements)
        Keys of `CALLED`, and how far the two agree in some layers.
    """
    heads = [
        "layer",
        "changes",
        term("shared_change", "shared"),
        term("overlap"),
        term("by_chance"),
        term("confirmed"),
        term("foreseen"),
        term("rank_correlation"),
    ]
    bodies = [
        f"<tr><th scope='rowgroup' colspan='{len(heads)}'><b>{CALLED[one]} beside {CALLED[other]}"
        f"</b></th></tr>{''.join(map(_line, layers))}"
        for one, other, layers in pairs
    ]
    head = "".join(f"<th scope='col'>{label}</th>" for label in heads)
    return (
        f"<div class='cf-scroll'><table class='cf-table'><thead><tr>{head}</tr></thead><tbody>"
        f"{''.join(bodies)}</tbody></table></div>"
    )


def _line(a: Agreement) -> str:
    bar = f"<span class='cf-bar' style='width:{_BAR_PX * (a.overlap or 0):.0f}px'></span>"
    correlation = a.rank_correlation
    cells = [
        f"{a.n_first:,} and {a.n_second:,}",
        f"{a.n_shared:,}",
        f"{_share(a.overlap)} {bar}",
        *map(_share, (a.by_chance, a.confirmed, a.foreseen)),
        "–" if correlation is None else f"{correlation:.2f}".replace("-", "−"),
    ]
    return f"<tr><th scope='row'>{a.layer}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _share(share: float | None) -> str:
    return "–" if share is None else words.percent(share)
