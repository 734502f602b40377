"""Exact flip radii over several layers, by mixed-integer programming.

For the rule ``max`` the graph is a network of thresholds, and the least number of flips that
changes a concept the optimum of a mixed-integer linear programme: a binary v says of each flippable
concept, and of each concept between, whether its label *switches*. Only the cone of influence takes
part, the ancestors of the target, and of these only what `cgraph.bounds` leaves undecided for the
budget at hand: one flip fewer than the best set that search has found (`cgraph.flip_radius`).

Let D_g = Σ_c δ_gc v_c be how far the score of concept g moves towards its other label, with δ_gc
the move that a switch of parent c makes; ``need`` the least D_g with which g may switch, ``sure``
that with which it must, and D⁻ ≤ D_g ≤ D⁺. Then

    v_g = 1 → D_g ≥ need:    D_g − (need − D⁻) v_g ≥ D⁻
    v_g = 0 → D_g ≤ sure:    D_g − (D⁺ − sure) v_g ≤ sure
    no switch uncharged:     v_g ≤ Σ_c min(1, max(δ_gc, 0) / need) v_c

with v = 1 for the target and Σ v over the flips minimised. The third follows from the first and
tightens its relaxation (`cgraph.bounds_charges`). Between ``need`` and ``sure`` lie the margins of
`cgraph.bounds_layers`, and 10⁻⁶ of D⁺ − D⁻ for the tolerances of the solver, HiGHS: so no set of
flips is lost, and lower bounds hold as far as that solver is right. Flips that the programme finds
count only once a rollout confirms them; others are cut off, and it is solved again.

Not covered, and refused: several layers by the rules ``probabilities`` and ``refitted``, whose
sigmoids are not linear. For those `cgraph.flip_radius.radius` gives lower and upper bounds.
"""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from cgraph.bounds import label_bounds
from cgraph.bounds_layers import BoundLayer, Inputs, bound_layer
from cgraph.bounds_question import UNDECIDED, check_budget, flippable_mask
from cgraph.concept import ConceptId
from cgraph.edits import Probability, Rule
from cgraph.errors import ConfigError
from cgraph.flip_radius import FlipRadius, flip_edit, radius
from cgraph.flip_search import Prober
from cgraph.graph import ConceptGraph

EXACT, NEVER_CHANGES, BEYOND = "exact", "never", "beyond the budget"
TIME_LIMIT, TOO_LARGE, UNSETTLED = "time limit", "too large", "unsettled"

_TOLERANCE = 1e-6  # of HiGHS: for rows, and for whole numbers
_MOST_REPEATS = 50


@dataclass(frozen=True)
class ExactRadius(FlipRadius):
    """A radius as the programme leaves it; lower and upper bound are the best of all methods.

    Attributes
    ----------
    status : str
        ``exact``: the bounds meet. ``never``: proven that no flips change the label. ``beyond the
        budget``: no flips within the budget that was asked for do. ``time limit``: the time was up,
        and the bounds are what was reached. ``too large``: there were more variables than allowed,
        and nothing was solved. ``unsettled``: the solver gave up; `message` says why.
    message : str
        What the solver said last; empty where it was not asked.
    n_variables : int
        Binary variables of the programme; 0 where none was needed.
    seconds : float
        Taken in all.
    """

    status: str = UNSETTLED
    message: str = ""
    n_variables: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class _Programme:
    """Rows and variables; the variables of flips come first."""

    flips: np.ndarray
    n_variables: int
    matrix: sparse.csr_array
    low: np.ndarray
    high: np.ndarray


def solve(
    graph: ConceptGraph,
    labels: np.ndarray,
    start: int,
    concept: ConceptId,
    flippable: np.ndarray | None = None,
    *,
    rule: Rule = "max",
    budget: int | None = None,
    time_limit: float = 60.0,
    most_variables: int = 20_000,
    most_rollouts: int = 20_000,
    seed: int = 0,
    inputs: Inputs = None,
    probability: Probability = "calibrated",
) -> ExactRadius:
    """Return the radius of one concept, exact unless the time is up.

    Parameters
    ----------
    graph, labels, start, concept, flippable, rule, most_rollouts, seed, inputs, probability
        As for `cgraph.flip_radius.radius`, which is asked first.
    budget : int, optional
        Flips beyond so many are not looked for; any number if left out.
    time_limit : float
        Seconds that the solver may take.
    most_variables : int
        A larger programme is not solved.

    Returns
    -------
    ExactRadius

    Raises
    ------
    ConfigError
        As `radius`; if the time limit is not above 0, or the rule is not covered.
    DataError
        As `radius`.
    """
    if not (isinstance(time_limit, int | float) and 0 < time_limit < math.inf):
        raise ConfigError(f"The time limit is {time_limit!r}: give seconds, more than 0.")
    if rule != "max" and concept.layer > start + 1:
        raise ConfigError(
            f"Exact answers over several layers cover the rule max, and {rule} was asked for. It "
            "passes probabilities on, and sigmoids are not linear. Use the bounds of "
            "`cgraph.flip_radius.radius`, or the rule max."
        )
    began = time.monotonic()
    check_budget(budget, None)
    found = radius(
        graph, labels, start, concept, flippable, rule=rule, most=min(3, budget or 3),
        most_rollouts=most_rollouts, seed=seed, inputs=inputs, probability=probability,
    )  # fmt: skip
    work = _Work(
        graph, np.array(labels, dtype=bool).ravel(), start, concept,
        flippable_mask(graph, start, flippable), budget, inputs,
        "balanced" if probability == "balanced" else "calibrated",
    )  # fmt: skip
    answer = _settled(work, found, time_limit, most_variables, most_rollouts)
    return dataclasses.replace(answer, seconds=time.monotonic() - began)


@dataclass(frozen=True)
class _Work:
    graph: ConceptGraph
    labels: np.ndarray
    start: int
    concept: ConceptId
    flippable: np.ndarray
    budget: int | None
    inputs: Inputs
    kind: Probability

    def layer(self, layer: int) -> BoundLayer:
        return bound_layer(self.graph, layer, self.kind, self.inputs)


def _settled(
    work: _Work, found: FlipRadius, time_limit: float, most_variables: int, most_rollouts: int
) -> ExactRadius:
    """Improve the bounds until they meet, the time is up, or nothing more can be done."""
    best = ExactRadius(**{f.name: getattr(found, f.name) for f in dataclasses.fields(FlipRadius)})
    if found.never:
        return dataclasses.replace(best, status=NEVER_CHANGES)
    if found.exact:
        return dataclasses.replace(best, status=EXACT)
    assert found.lower is not None  # `never` says otherwise
    n_flippable = int(work.flippable.sum())
    most = n_flippable if found.upper is None else found.upper - 1
    most = most if work.budget is None else min(most, work.budget)
    programme = None if most < found.lower else _programme(work, most, found.lower)
    if programme is None:
        return _none_within(best, most, n_flippable)
    best = dataclasses.replace(best, n_variables=programme.n_variables)
    if programme.n_variables > most_variables:
        return dataclasses.replace(best, status=TOO_LARGE)
    prober = Prober(
        work.graph, work.labels, work.start, work.concept, "max", work.kind, work.inputs,
        _MOST_REPEATS,
    )  # fmt: skip
    ends = time.monotonic() + time_limit
    for _ in range(_MOST_REPEATS):
        result = _milp(programme, max(ends - time.monotonic(), 0.01))
        best = dataclasses.replace(best, message=str(result.message))
        if result.status == 2:
            return _none_within(best, most, n_flippable)
        bound = result.mip_dual_bound
        if bound is not None and math.isfinite(bound):
            lower = max(best.lower or 1, math.ceil(bound - _TOLERANCE))
            best = dataclasses.replace(best, lower=min(lower, most + 1))
        if result.x is not None:
            chosen = programme.flips[result.x[: len(programme.flips)] > 0.5]
            indices = tuple(map(int, chosen))
            changed, _ = prober.changes([indices])
            if changed[0]:
                flips = flip_edit(work.labels, work.start, indices)
                best = dataclasses.replace(best, upper=len(indices), indices=indices, flips=flips)
                if best.exact:
                    return dataclasses.replace(best, status=EXACT)
            else:
                programme = _without(programme, chosen)
        if result.status == 1 or time.monotonic() >= ends:
            return dataclasses.replace(best, status=TIME_LIMIT)
        if result.status != 0:
            break
    return dataclasses.replace(best, status=UNSETTLED)


def _none_within(best: ExactRadius, most: int, n_flippable: int) -> ExactRadius:
    """Return the answer where no set of at most so many flips changes the label."""
    if best.upper is not None and best.upper <= most + 1:
        return dataclasses.replace(best, lower=best.upper, status=EXACT)
    if best.upper is None and most >= n_flippable:
        return dataclasses.replace(best, lower=None, status=NEVER_CHANGES)
    return dataclasses.replace(best, lower=max(best.lower or 1, most + 1), status=BEYOND)


def _milp(programme: _Programme, seconds: float) -> Any:
    from scipy.optimize import Bounds, LinearConstraint, milp

    costs = np.zeros(programme.n_variables)
    costs[: len(programme.flips)] = 1
    return milp(
        costs,
        integrality=np.ones(programme.n_variables),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(programme.matrix, programme.low, programme.high),
        options={"time_limit": seconds, "mip_rel_gap": 0.0},
    )


def _without(programme: _Programme, chosen: np.ndarray) -> _Programme:
    """Cut off one set of flips, and no other."""
    row = np.zeros(programme.n_variables)
    own = np.isin(programme.flips, chosen)
    row[: len(own)] = np.where(own, -1.0, 1.0)
    return dataclasses.replace(
        programme,
        matrix=sparse.csr_array(sparse.vstack([programme.matrix, row[None]])),
        low=np.append(programme.low, 1.0 - own.sum()),
        high=np.append(programme.high, np.inf),
    )


def _programme(work: _Work, most: int, least: int) -> _Programme | None:
    """Write the programme for at most so many flips; None where bounds say that none are enough."""
    target = work.concept
    bounds = label_bounds(
        work.graph, work.start, work.labels, budget=most, flippable=work.flippable,
        until=target.layer, inputs=work.inputs, probability=work.kind,
    )  # fmt: skip
    if bounds.of_layer(target.layer)[0, target.index] != UNDECIDED:
        return None
    base = label_bounds(
        work.graph, work.start, work.labels, until=target.layer, inputs=work.inputs,
        probability=work.kind,
    )  # fmt: skip
    wanted = {target.layer: np.array([target.index])}
    for number in range(target.layer, work.start, -1):
        parents = np.unique(work.graph.edges_into(wanted[number], number)[0])
        undecided = bounds.of_layer(number - 1)[0, parents] == UNDECIDED
        wanted[number - 1] = parents[undecided]
    # The target's own switch is certain, and so no variable.
    first, places = 0, {}
    for number in range(work.start, target.layer):
        places[number] = first + np.arange(len(wanted[number]))
        first += len(wanted[number])
    rows: list[sparse.coo_array] = []
    low: list[np.ndarray] = []
    high: list[np.ndarray] = []
    for number in range(work.start + 1, target.layer + 1):
        before, after = (base.of_layer(n)[0] == 1 for n in (number - 1, number))
        part = _rows_of_layer(
            work, number, wanted, (before, after), places[number - 1], places.get(number), first,
            most if number == work.start + 1 else None,
        )  # fmt: skip
        rows += part[0]
        low += part[1]
        high += part[2]
    n_flips = len(wanted[work.start])
    count = sparse.coo_array(
        (np.ones(n_flips), (np.zeros(n_flips, dtype=int), places[work.start])), shape=(1, first)
    )
    matrix = sparse.csr_array(sparse.vstack([*rows, count]))
    return _Programme(
        wanted[work.start], first, matrix,
        np.concatenate([*low, [float(least)]]), np.concatenate([*high, [float(most)]]),
    )  # fmt: skip


def _rows_of_layer(
    work: _Work,
    number: int,
    wanted: dict[int, np.ndarray],
    labels: tuple[np.ndarray, np.ndarray],
    parent_places: np.ndarray,
    own_places: np.ndarray | None,
    n_variables: int,
    most: int | None,
) -> tuple[list[sparse.coo_array], list[np.ndarray], list[np.ndarray]]:
    """Return the three rows of each concept of a layer; those that say nothing are left out."""
    layer, children, (before, after) = work.layer(number), wanted[number], labels
    score = layer.matrix @ before.astype(np.float64) + layer.bias
    on = after[children]
    moves = layer.matrix[children][:, wanted[number - 1]].tocoo()
    towards = np.where(on, -1.0, 1.0)[moves.row]
    delta = moves.data * towards * np.where(before[wanted[number - 1]], -1.0, 1.0)[moves.col]
    n = len(children)
    highest = np.bincount(moves.row, np.maximum(delta, 0), n)
    lowest = np.bincount(moves.row, np.minimum(delta, 0), n)
    if most is not None:  # of flips only the largest few count
        from cgraph.bounds_kernels import top_gains

        up, down = (np.empty((1, layer.n_children)) for _ in range(2))
        top_gains(
            layer.starts, layer.parents, layer.weights, work.labels[None].astype(np.int8),
            work.flippable, most, up, down,
        )  # fmt: skip
        highest = np.where(on, down[0, children], up[0, children])
        lowest = -np.where(on, up[0, children], down[0, children])
    slack = layer.margin[children] + _TOLERANCE * (1 + highest - lowest)
    at = score[children]
    need = np.where(on, at - layer.on_from[children], layer.off_to[children] - at) - slack
    sure = np.where(on, at - layer.off_to[children], layer.on_from[children] - at) + slack
    rows, low, high = [], [], []

    def add(chosen: np.ndarray, values: np.ndarray, own: np.ndarray, least: Any, top: Any) -> None:
        """Add a row for each chosen concept: its moves, and its own switch times `own`."""
        kept = chosen[moves.row]
        at_row = np.cumsum(chosen) - 1
        data, row, column = values[kept], at_row[moves.row[kept]], parent_places[moves.col[kept]]
        least, top = (np.broadcast_to(side, n)[chosen].astype(float) for side in (least, top))
        if own_places is None:  # the target's switch is 1
            least, top = least - own[chosen], top - own[chosen]
        else:
            data = np.concatenate([data, own[chosen]])
            row = np.concatenate([row, at_row[chosen]])
            column = np.concatenate([column, own_places[chosen]])
        shape = int(chosen.sum()), n_variables
        rows.append(sparse.coo_array((data, (row, column)), shape=shape))
        low.append(least)
        high.append(top)

    finite = np.isfinite(need)
    add(finite & (need > lowest), delta, -(need - lowest), lowest, np.inf)
    if own_places is not None:
        add(np.isfinite(sure) & (sure < highest), delta, -(highest - sure), -np.inf, sure)
    shares = np.minimum(1.0, np.maximum(delta, 0) / np.maximum(need, 1e-12)[moves.row])
    add(finite & (need > 0), shares, -np.ones(n), 0.0, np.inf)
    return rows, low, high
