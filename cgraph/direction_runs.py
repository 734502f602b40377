"""Concepts taken out at one layer, the blocks up to another run for real: which images, what came.

For every pair of ideas and each way: the one idea is taken out of the class token at the lower
layer, at its own coefficient, in images that have both. Controls take out, with the same length,
other concepts that are active in the same image and have nothing to do with the idea that is
watched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cgraph.codes import Codes
from cgraph.followed import Followed
from cgraph.workbench import Arrays, Source, Workbench

MOST_PAIRS = 60
"""Pairs of ideas of one pair of layers, those that go together most."""

MIN_IMAGES, MOST_IMAGES = 8, 24
"""Held-out images that a pair needs, and that are run."""

N_CONTROLS = 2

UNRELATED = 0.1
"""Correlation up to which a concept has nothing to do with another."""

_IMAGES, _BATCH = 16, 32  # images of one call, and versions of an image that are run at once


@dataclass(frozen=True)
class Pair:
    """Two ideas at two layers, and the images in which both are active at the lower one.

    Attributes
    ----------
    lower, upper : int
        Layers.
    at_lower, at_upper : tuple of int
        Concepts of A and B.
    association : float
    rows : tuple of int
        Rows of the study.
    controls : ndarray of int, shape (2, n_rows, N_CONTROLS)
        What is taken out in place of A while B is watched, and in place of B while A is.
    """

    lower: int
    upper: int
    at_lower: tuple[int, int]
    at_upper: tuple[int, int]
    association: float
    rows: tuple[int, ...]
    controls: np.ndarray


def choose_pairs(
    followed: Followed, layers: tuple[int, int], codes: Codes, rows: np.ndarray, seed: int
) -> list[Pair]:
    """Choose pairs of ideas, their images and controls.

    Parameters
    ----------
    followed : Followed
    layers : tuple of int
        Lower and upper.
    codes : Codes
        Of all images at the lower layer.
    rows : ndarray of int
        Images to choose from.
    seed : int
    """
    labels = codes.take(rows).dense_labels()
    chosen: list[Pair] = []
    for places, association in zip(*followed.pairs(), strict=True):
        if len(chosen) == MOST_PAIRS:
            break
        at_lower, at_upper = followed.at_lower[places], followed.at_upper[places]
        rng = np.random.default_rng((seed, *layers, *map(int, at_lower)))
        images: list[int] = []
        controls: list[list[np.ndarray]] = []
        for image in rng.permutation(np.flatnonzero(labels[:, at_lower].all(axis=1))):
            active = np.setdiff1d(np.flatnonzero(labels[image]), at_lower)
            free = [
                active[abs(followed.across[active, watched]) <= UNRELATED]
                for watched in at_upper[::-1]
            ]
            if min(map(len, free)) < N_CONTROLS or len(images) == MOST_IMAGES:
                continue
            images.append(int(rows[image]))
            controls.append([rng.permutation(some)[:N_CONTROLS] for some in free])
        if len(images) >= MIN_IMAGES:
            (a, b), (a_up, b_up) = at_lower.tolist(), at_upper.tolist()
            swapped: np.ndarray = np.array(controls).swapaxes(0, 1)
            chosen.append(
                Pair(*layers, (a, b), (a_up, b_up), float(association), tuple(images), swapped)
            )
    return chosen


def moves_of(bench: Workbench, pairs: Sequence[Pair]) -> list[np.ndarray]:
    """Return what taking one idea out does to the other, beyond the controls.

    Parameters
    ----------
    bench : Workbench
    pairs : sequence of Pair
        Of the same two layers.

    Returns
    -------
    list of ndarray, shape (2, n_rows)
        For each pair and image how far the pre-activation of B at the upper layer falls when A is
        taken out at the lower one, less the mean of its controls; and of A when B is.
    """
    if not pairs:
        return []
    lower, upper = pairs[0].lower, pairs[0].upper
    targets = np.unique([index for pair in pairs for index in pair.at_upper])
    codes = bench.study.codes(lower)
    edits: dict[tuple[int, int, float], None] = {}
    wanted: list[list[list[list[tuple[int, int, float]]]]] = []
    for pair in pairs:
        ways = []
        for way in range(2):
            images = []
            for place, row in enumerate(pair.rows):
                active = dict(zip(*(values.tolist() for values in codes.row(row)), strict=True))
                own = active[pair.at_lower[way]]
                others = pair.controls[way, place].tolist()
                signed = [(other, float(np.copysign(own, active[other]))) for other in others]
                images.append([(row, *edit) for edit in [(pair.at_lower[way], own), *signed]])
            ways.append(images)
            edits |= dict.fromkeys(edit for image in images for edit in image)
        wanted.append(ways)
    drops = _run(bench, (lower, upper), sorted(edits), targets)
    column = {int(target): place for place, target in enumerate(targets)}
    found = []
    for pair, ways in zip(pairs, wanted, strict=True):
        beyond = np.empty((2, len(pair.rows)))
        for way, images in enumerate(ways):
            watched = column[pair.at_upper[1 - way]]
            for place, (own_edit, *control_edits) in enumerate(images):
                controls = np.mean([drops[edit][watched] for edit in control_edits])
                beyond[way, place] = drops[own_edit][watched] - controls
        found.append(beyond)
    return found


def _run(
    bench: Workbench,
    layers: tuple[int, int],
    edits: Sequence[tuple[int, int, float]],
    targets: np.ndarray,
) -> dict[tuple[int, int, float], np.ndarray]:
    rows = sorted({row for row, _, _ in edits})
    calls, groups = [], []
    for start in range(0, len(rows), _IMAGES):
        some = rows[start : start + _IMAGES]
        group = [edit for edit in edits if some[0] <= edit[0] <= some[-1]]
        places = np.searchsorted(some, [row for row, _, _ in group])
        atoms = np.array([atom for _, atom, _ in group])
        amounts = np.array([amount for _, _, amount in group])
        calls.append((*layers, tuple(some), places, atoms, amounts, targets))
        groups.append(group)
    found = bench.run("direction", taken_out, calls)
    return {
        edit: drop
        for group, arrays in zip(groups, found, strict=True)
        for edit, drop in zip(group, arrays["drop"], strict=True)
    }


def taken_out(
    source: Source,
    lower: int,
    upper: int,
    rows: tuple[int, ...],
    places: np.ndarray,
    atoms: np.ndarray,
    amounts: np.ndarray,
    targets: np.ndarray,
) -> Arrays:
    """Take concepts out of the tokens of one layer and run the blocks up to another.

    Parameters
    ----------
    source : Source
    lower, upper : int
        Layers.
    rows : tuple of int
        Images.
    places, atoms, amounts : ndarray, shape (n_edits,)
        Image of each edit, by its place in `rows`; atom; and how much of it is taken out.
    targets : ndarray of int, shape (n_targets,)
        Concepts of the upper layer that are watched.

    Returns
    -------
    dict of str to ndarray
        ``drop`` (n_edits, n_targets): how far their pre-activations fall, in units of the tokens.
    """
    from cgraph.block_inputs import BlockInputs

    model, dictionary = source.model, source.study.dictionary(upper)
    directions = source.study.dictionary(lower).atoms
    drop = np.empty((len(places), len(targets)))
    for place, row in enumerate(rows):
        kept = BlockInputs.of(model, source.pixels([row]))
        own = np.flatnonzero(places == place)
        for start in range(0, len(own), _BATCH):
            some = own[start : start + _BATCH]
            removed = np.zeros((len(some) + 1, model.d_model), np.float32)  # the first stays
            removed[1:] = amounts[some, None] * directions[atoms[some]]
            copies = kept.output(lower).repeat(len(removed), 1, 1)
            output = kept.run(lower + 1, model.add_to_tokens(copies, -removed), upper)
            values = dictionary.pre_activations(kept.read(output), targets)
            drop[some] = values[0] - values[1:]
    return {"drop": drop}
