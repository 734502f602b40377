"""A few numbers for the whole study: how far its graph tells the truth about the network.

Each is measured on held-out images, or absent.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from cgraph.store import as_array
from cgraph.truth_tables import ATTACK, DIRECT, JPEG, NOISE

FIRST_RIGHT = 3
"""Shares of edges are over the pairs from the second on, whose right layer this is: the class token
of layer 1 has seen too little for an effect."""


def truth_figures(
    table: Callable[[str], pa.Table | None], default_rule: str
) -> dict[str, float | int]:
    """Return the figures under ``truth`` of ``cgraph info --json``.

    Parameters
    ----------
    table : callable
        Returns a table of `cgraph.truth_tables.TABLES` by its name; None if it was not measured.
    default_rule : str
        The rule whose rollout is compared with the direct reference.

    Returns
    -------
    dict
        `edges_measured`, over all pairs. Of the measured edges of positive weight, from the second
        pair on: `edges_supported_share` (specific ones included), `edges_specific_share` and
        `edges_contradicted_share`; `controls_supported_share`, of non-edges put through the same
        test. `joint_removal_lost_share`: labels lost when all active parents are taken out, over
        the same pairs. `rollout_gap_to_direct`: mean AUC at the last layer, from layer 1, below
        that of the direct reference. `atoms_matched_share`: alive concepts found again by another
        seed. `flips_under_jpeg`, `flips_under_noise`, `flips_under_attack`: labels of the last
        layer that flip, the median over images, under JPEG of quality 75, noise of standard
        deviation 5 and an attack of 1 level of 255.
    """
    found: dict[str, float | int | None] = {
        **_of_evidence(table("evidence-pairs")),
        "rollout_gap_to_direct": _gap(table("rollout"), table("references"), default_rule),
        "atoms_matched_share": _matched(table("stable-concepts")),
        **_flips(table("flips")),
    }
    return {name: value for name, value in found.items() if value is not None}


def _columns(table: pa.Table) -> dict[str, np.ndarray]:
    return {
        name: as_array(table.column(name).combine_chunks())
        for name in table.column_names
        if not pa.types.is_string(table.schema.field(name).type)
    }


def _of_evidence(pairs: pa.Table | None) -> dict[str, float | int | None]:
    if pairs is None:
        return {}
    columns = _columns(pairs)
    late = columns["right"] >= FIRST_RIGHT

    def share(part: np.ndarray, whole: str) -> float | None:
        n = int(columns[whole][late].sum())
        return float(part[late].sum() / n) if n else None

    lost = columns["joint_lost"] * columns["n_joint"]
    supported = columns["n_positive_specific"] + columns["n_positive_supported"]
    return {
        "edges_measured": int(columns["n_measured"].sum()),
        "edges_supported_share": share(supported, "n_positive"),
        "edges_specific_share": share(columns["n_positive_specific"], "n_positive"),
        "edges_contradicted_share": share(columns["n_positive_contradicted"], "n_positive"),
        "controls_supported_share": share(columns["n_controls_supported"], "n_controls"),
        "joint_removal_lost_share": share(np.nan_to_num(lost), "n_joint"),
    }


def _gap(rollout: pa.Table | None, references: pa.Table | None, rule: str) -> float | None:
    if rollout is None or references is None:
        return None
    last = max(rollout.column("layer").to_pylist(), default=0)
    ours = [
        row["auc"]
        for row in rollout.to_pylist()
        if (row["start"], row["layer"], row["rule"], row["forced"]) == (1, last, rule, False)
        and row["probability"] == "calibrated"
    ]
    direct = [
        row["auc"]
        for row in references.to_pylist()
        if (row["start"], row["layer"], row["reference"]) == (1, last, DIRECT)
    ]
    if not ours or not direct or not np.isfinite([ours[0], direct[0]]).all():
        return None
    return float(direct[0] - ours[0])


def _matched(concepts: pa.Table | None) -> float | None:
    if concepts is None:
        return None
    columns = _columns(concepts)
    alive = columns["match"] >= 0
    return float(columns["found_again"][alive].mean()) if alive.any() else None


def _flips(flips: pa.Table | None) -> dict[str, float | int | None]:
    if flips is None:
        return {}
    rows = flips.to_pylist()
    last = max((row["layer"] for row in rows), default=0)
    median = {
        (row["perturbation"], row["size"]): row["median"] for row in rows if row["layer"] == last
    }
    wanted = {"jpeg": (JPEG, 75), "noise": (NOISE, 5), "attack": (ATTACK, 1)}
    return {f"flips_under_{name}": median.get(key) for name, key in wanted.items()}
