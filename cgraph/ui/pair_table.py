"""The rows of the table over pairs of layers, beside the paper's."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cgraph.study import Study
from cgraph.trace_export import cell_text
from cgraph.ui import paper, words
from cgraph.ui.pair_facts import pair_facts

GROUPS = (
    ("both worlds", 2),
    ("balanced world", 3),
    ("natural world", 4),
    ("parents", 2),
    ("concepts", 1),
)
"""Heads over several columns, and over how many: the world that figures speak of."""

HEADS = (
    *("AUC", "median"),
    *("F1", "median", "average precision"),
    *("F1", "median", "average precision", "by chance"),
    *("mean", "median, most"),
    "scored / alive / all",
)
"""Heads of the columns, without that of the pair."""

PAPER_CELLS = (
    f"{paper.AUC_MEAN:.3f} ± {paper.AUC_STD:.3f}",
    f"{paper.AUC_MEDIAN:.3f}",
    f"{paper.F1_MEAN:.2f} ± {paper.F1_STD:.2f}",
    f"{paper.F1_MEDIAN:.2f}",
    *("–",) * 5,
    f"peaks {paper.PEAKS[0]}, {paper.PEAKS[1]}",
    "most below 100",
    f"{paper.N_CONCEPTS:,}",
)
"""What the paper tells, in the same columns; a dash where it tells nothing."""


@dataclass(frozen=True)
class Spread:
    """Mean, standard deviation (divided by the number) and median; NaN if nothing is known."""

    mean: float
    std: float
    median: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Spread:
        """Measure the values that are finite."""
        known = values[np.isfinite(values)]
        if not len(known):
            return cls(*(float("nan"),) * 3)
        return cls(float(known.mean()), float(known.std()), float(np.median(known)))


@dataclass(frozen=True)
class PairRow:
    """One pair of layers; all spreads are over its scored concepts.

    Attributes
    ----------
    right : int
        Layer of the predicted concepts.
    auc, f1_balanced, f1_natural, ap, ap_balanced, prevalence, parents : Spread
        `ap_balanced` is unknown until it was measured.
    parents_max : int
    n_scored, n_alive, n_concepts : int
    """

    right: int
    auc: Spread
    f1_balanced: Spread
    f1_natural: Spread
    ap: Spread
    ap_balanced: Spread
    prevalence: Spread
    parents: Spread
    parents_max: int
    n_scored: int
    n_alive: int
    n_concepts: int

    def with_balanced_precision(self, values: NDArray[np.float64]) -> PairRow:
        """Return the row with the average precision of the balanced world."""
        return dataclasses.replace(self, ap_balanced=Spread.of(values))

    def cells(self, *, waiting: bool) -> tuple[str, ...]:
        """Return the cells of the row, in the order of `HEADS`."""
        measured = _both(self.ap_balanced)
        return (
            _both(self.auc),
            _number(self.auc.median),
            _both(self.f1_balanced),
            _number(self.f1_balanced.median),
            "…" if waiting and np.isnan(self.ap_balanced.mean) else measured,
            _both(self.f1_natural),
            _number(self.f1_natural.median),
            _both(self.ap),
            _number(self.prevalence.mean),
            "–" if np.isnan(self.parents.mean) else f"{self.parents.mean:.1f}",
            "–"
            if np.isnan(self.parents.mean)
            else f"{self.parents.median:.0f}, {self.parents_max}",
            f"{self.n_scored:,} / {self.n_alive:,} / {self.n_concepts:,}",
        )


def pair_row(study: Study, right: int) -> PairRow:
    """Return the stored figures of one pair.

    Raises
    ------
    StudyError
        If the study's table of figures is missing or does not fit.
    """
    facts = pair_facts(study, right)
    columns = facts.columns
    parents = columns["n_parents"]
    return PairRow(
        right=right,
        auc=Spread.of(columns["auc"]),
        f1_balanced=Spread.of(columns["f1_balanced"]),
        f1_natural=Spread.of(columns["f1_natural"]),
        ap=Spread.of(columns["ap"]),
        ap_balanced=Spread.of(np.empty(0)),
        prevalence=Spread.of(columns["prevalence"]),
        parents=Spread.of(parents.astype(np.float64)),
        parents_max=int(parents.max(initial=0)),
        n_scored=len(facts.scored),
        n_alive=facts.n_alive,
        n_concepts=facts.n_concepts,
    )


def to_csv(rows: Iterable[PairRow]) -> str:
    """Return the table with one number a cell; the last row is the paper's."""
    names = ("auc", "f1_balanced", "f1_natural", "ap", "ap_balanced", "prevalence", "parents")
    counts = ("parents_max", "n_scored", "n_alive", "n_concepts")
    statistics = ("mean", "std", "median")
    head = ["source", "left", "right"]
    head += [f"{name}_{statistic}" for name in names for statistic in statistics] + [*counts]
    lines: list[list[object]] = []
    for row in rows:
        values = [getattr(getattr(row, n), s) for n in names for s in statistics]
        known = ["" if np.isnan(value) else value for value in values]
        counted = [getattr(row, name) for name in counts]
        lines.append(["this study", row.right - 1, row.right, *known, *counted])
    told = {
        ("auc", "mean"): paper.AUC_MEAN,
        ("auc", "std"): paper.AUC_STD,
        ("auc", "median"): paper.AUC_MEDIAN,
        ("f1_balanced", "mean"): paper.F1_MEAN,
        ("f1_balanced", "std"): paper.F1_STD,
        ("f1_balanced", "median"): paper.F1_MEDIAN,
    }
    theirs: list[object] = [told.get((n, s), "") for n in names for s in statistics]
    lines.append(["the paper", 11, 12, *theirs, "", "", "", paper.N_CONCEPTS])
    return csv_text(head, lines)


def csv_text(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return rows as CSV in which no text is taken for a formula by a spreadsheet program."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    for row in rows:
        writer.writerow(cell_text(cell) if isinstance(cell, str) else cell for cell in row)
    return buffer.getvalue()


def _number(value: float) -> str:
    return "–" if np.isnan(value) else words.thousandths(value)


def _both(spread: Spread) -> str:
    return "–" if np.isnan(spread.mean) else f"{spread.mean:.3f} ± {spread.std:.3f}"
