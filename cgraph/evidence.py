"""Evidence on every edge: what its parent does to its child in the real network.

A concept's contribution is taken out of the class token of held-out images in which it is active,
and its usual amount put in where it is not; the next block runs for real, with the patch tokens as
they were, and the change of every child is measured at once, beside what other concepts and random
directions of the same size do. One number for each edge, its interval, where it comes from, and a
verdict; for each pair of layers a summary. The tables are `cgraph.truth_tables.EVIDENCE_SCHEMA` and
`EVIDENCE_PAIR_SCHEMA`; docs/methods.md says how to read them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from scipy.stats import spearmanr

from cgraph.class_row import NextBlock, run_again
from cgraph.config import HELD_OUT
from cgraph.evidence_design import (
    EDGE,
    N_OTHERS,
    N_OTHERS_WHOLE,
    N_RANDOM,
    N_RANDOM_WHOLE,
    N_TAKEN,
    N_TAKEN_WHOLE,
    Switches,
    Tests,
    switches_of,
    tests_of,
)
from cgraph.evidence_runs import COLUMNS, run_switches
from cgraph.evidence_statistics import Judged, control_share, judge
from cgraph.truth_tables import (
    BOTH_ORIGINS,
    CARRIED,
    COMPUTED,
    CONTRADICTED,
    EVIDENCE_PAIR_SCHEMA,
    EVIDENCE_SCHEMA,
    NO_EFFECT,
    NOT_MEASURED,
    SPECIFIC,
    SUPPORTED,
)
from cgraph.workbench import Workbench

_IMAGES = 32  # of a call
_SHUFFLES = 200
_LEAST_DEVIATION = 1e-6  # of a pre-activation that is the same in all images


def measure(bench: Workbench) -> dict[str, pa.Table]:
    """Measure the effect of every edge in the network.

    Parameters
    ----------
    bench : Workbench

    Returns
    -------
    dict of str to pyarrow.Table
        ``evidence``, a row for each edge in the order of the graph, and ``evidence-pairs``.

    Raises
    ------
    ImageError, ModelError
        If pictures or model cannot be had.
    """
    bench.need_pictures()
    study, layers = bench.study, range(2, bench.study.n_layers + 1)
    by_row = _runs_by_row(bench)
    n_taken = N_TAKEN if by_row else N_TAKEN_WHOLE
    effort = (bench.seed, N_OTHERS, N_RANDOM)
    if not by_row:
        effort = (bench.seed, N_OTHERS_WHOLE, N_RANDOM_WHOLE)
    deviations = []
    for layer in layers:
        pre = study.dictionary(layer).pre_activations(bench.tokens(HELD_OUT, layer))
        deviations.append(np.maximum(pre.std(axis=0), _LEAST_DEVIATION).astype(np.float32))
    plans = [switches_of(study, layer - 1, bench.seed, n_taken) for layer in layers]
    calls, owners = _calls(study.rows(HELD_OUT), plans, np.concatenate(deviations), effort)
    found = bench.run("evidence", run_switches, calls)
    edges, pairs = [], []
    for number, (layer, plan) in enumerate(zip(layers, plans, strict=True)):
        tests = tests_of(study, layer, bench.seed)
        rows = [part[str(layer)] for part in found]
        judged = judge(tests, _by_parent(tests, plan, owners[number], rows), (bench.seed, layer))
        edges.append(_edge_table(layer, tests, judged))
        whole = np.array([part[f"{layer}.whole"] for part in found]).reshape(-1, 4)
        pairs.append(_pair(layer, tests, judged, whole, bench.seed))
    return {
        "evidence": pa.concat_tables([EVIDENCE_SCHEMA.empty_table(), *edges]),
        "evidence-pairs": pa.Table.from_pylist(pairs, EVIDENCE_PAIR_SCHEMA),
    }


def _runs_by_row(bench: Workbench) -> bool:
    """Return whether the class token's row will do at every block, tried on one image."""
    found: list[bool] = []

    def visit(block: NextBlock) -> None:
        found.append(block.by_row)

    run_again(bench.model, bench.source.pixels(bench.study.rows(HELD_OUT)[:1]), visit)
    return all(found)


def _calls(
    rows: np.ndarray,
    plans: Sequence[Switches],
    deviations: np.ndarray,
    effort: tuple[int, int, int],
) -> tuple[list[tuple], list[np.ndarray]]:
    """Deal the switches of all layers to calls of some images each.

    Returns
    -------
    calls : list of tuple
        Arguments of `run_switches`.
    owners : list of ndarray
        For each layer the switches in the order in which the calls make them.
    """
    none = [np.zeros(0, np.int64)]
    images = np.unique(np.concatenate(none + [plan.place for plan in plans]))
    calls, owners = [], [[np.zeros(0, np.int64)] for _ in plans]
    for start in range(0, len(images), _IMAGES):
        chosen = images[start : start + _IMAGES]
        switches, coefficients = [np.zeros((0, 4), np.int64)], [np.zeros(0, np.float32)]
        for number, plan in enumerate(plans):
            mine = np.flatnonzero(np.isin(plan.place, chosen))
            mine = mine[np.argsort(plan.place[mine], kind="stable")]
            owners[number].append(mine)
            place = np.searchsorted(chosen, plan.place[mine])
            layer = np.full(len(mine), number + 2)
            switches.append(np.stack([layer, place, plan.atom[mine], plan.active[mine]], axis=1))
            coefficients.append(plan.coefficient[mine])
        arrays = rows[chosen], np.concatenate(switches), np.concatenate(coefficients)
        calls.append((*arrays, deviations, effort))
    return calls, [np.concatenate(parts) for parts in owners]


def _by_parent(
    tests: Tests, plan: Switches, owners: np.ndarray, rows: list[np.ndarray]
) -> list[dict[str, np.ndarray]]:
    """Return what was kept of the switches of every parent, ``(n_switches, n_tests)`` a column."""
    n_tests = np.diff(tests.starts)
    lengths = n_tests[plan.atom[owners]]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    together = np.concatenate([np.empty((0, len(COLUMNS)), np.float32), *rows])
    found = []
    for parent, n in enumerate(n_tests.tolist()):
        mine = np.flatnonzero(plan.atom[owners] == parent)
        mine = mine[np.argsort(owners[mine])]  # in the order of the plan
        entries = starts[mine][:, None] + np.arange(n)
        values = together[entries].astype(np.float64)
        found.append({name: values[..., place] for place, name in enumerate(COLUMNS)})
    return found


def _edge_table(layer: int, tests: Tests, judged: Judged) -> pa.Table:
    """Return the rows of the edges of a pair, by child and parent."""
    edges = np.flatnonzero(tests.kind == EDGE)
    edges = edges[np.lexsort((tests.parent[edges], tests.child[edges]))]
    keys = {
        "parent_layer": np.full(len(edges), layer - 1),
        "parent": tests.parent[edges],
        "child_layer": np.full(len(edges), layer),
        "child": tests.child[edges],
    }
    columns = {**keys, **{name: values[edges] for name, values in judged.figures.items()}}
    columns["n_images"] = columns["n_images"].astype(np.int32)
    arrays = [pa.array(columns[field.name].tolist(), field.type) for field in EVIDENCE_SCHEMA]
    return pa.Table.from_arrays(arrays, schema=EVIDENCE_SCHEMA)


def _pair(layer: int, tests: Tests, judged: Judged, whole: np.ndarray, seed: int) -> dict:
    """Return the summary of a pair of layers."""
    edges, figures = tests.kind == EDGE, judged.figures
    positive = edges & (tests.weight > 0)
    measured = edges & (figures["verdict"] != NOT_MEASURED)

    def count(verdict: str, among: np.ndarray) -> int:
        return int((among & (figures["verdict"] == verdict)).sum())

    def from_origin(origin: str) -> int:
        return int((edges & (figures["origin"] == origin)).sum())

    n_controls, n_controls_supported = control_share(tests, judged)
    n_joint, lost, control_lost = whole[:, :3].sum(axis=0).tolist()
    up = figures["effect"] * tests.sign  # how far the child goes up with the parent
    rho, shuffled, high = _rank_correlation(tests.weight[measured], up[measured], [seed, layer, 3])
    return {
        "left": layer - 1,
        "right": layer,
        "n_edges": int(edges.sum()),
        "n_measured": int(measured.sum()),
        "n_specific": count(SPECIFIC, edges),
        "n_supported": count(SUPPORTED, edges),
        "n_no_effect": count(NO_EFFECT, edges),
        "n_contradicted": count(CONTRADICTED, edges),
        "n_positive": int((positive & measured).sum()),
        "n_positive_specific": count(SPECIFIC, positive),
        "n_positive_supported": count(SUPPORTED, positive),
        "n_positive_contradicted": count(CONTRADICTED, positive),
        "n_controls": n_controls,
        "n_controls_supported": n_controls_supported,
        "n_carried": from_origin(CARRIED),
        "n_computed": from_origin(COMPUTED),
        "n_both": from_origin(BOTH_ORIGINS),
        "weight_effect": rho,
        "weight_effect_shuffled": shuffled,
        "weight_effect_shuffled_high": high,
        "joint_lost": lost / n_joint if n_joint else float("nan"),
        "joint_control_lost": control_lost / n_joint if n_joint else float("nan"),
        "n_joint": int(n_joint),
        "max_error": float(whole[:, 3].max(initial=0)),
    }


def _rank_correlation(
    weights: np.ndarray, effects: np.ndarray, seed: list[int]
) -> tuple[float, float, float]:
    """Return Spearman's correlation, and its mean and 95 % point with the weights shuffled."""
    if len(weights) < 3 or np.ptp(weights) == 0 or np.ptp(effects) == 0:
        return float("nan"), float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    rho = float(spearmanr(weights, effects).statistic)
    ranks = np.argsort(np.argsort(weights)), np.argsort(np.argsort(effects))
    chance = [
        float(np.corrcoef(rng.permutation(ranks[0]), ranks[1])[0, 1]) for _ in range(_SHUFFLES)
    ]
    return rho, float(np.mean(chance)), float(np.quantile(chance, 0.95))
