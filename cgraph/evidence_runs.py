"""The interventions for the evidence of edges, made on some images, and what they do to children.

One call runs some images through the network and stops at every block: there each switch of the
layer before is made, with its controls, and the block is run again on each changed token. What is
kept of a switch is a row of numbers for every test of its parent; see `COLUMNS`.

Effects are how far the child's pre-activation is higher *with* the parent than without, whether it
was taken out or put in, over the child's standard deviation. The part that the residual stream
carries is what the same change would do to the child if the block passed it on as it is: found by
adding it to the token after the block, whatever the encoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cgraph.class_row import NextBlock, run_again
from cgraph.dictionary import Dictionary
from cgraph.evidence_design import Tests, tests_of
from cgraph.study import Study
from cgraph.workbench import Arrays, Source

COLUMNS = (
    "effect",
    "carried",
    "other",  # mean effect of other atoms in the same state, not linked to the child
    "other_variance",  # of their effects; NaN of fewer than two
    "random",  # mean effect of random directions
    "beyond",  # what the block adds, over what it adds to matched atoms
    "n_matched",
    "could_flip",  # whether the child's label can flip as foretold
    "flipped",
    "other_flipped",  # share of the other atoms that make it flip
)
"""What is kept of a switch for each test. NaN where there are no other, or no matched, atoms."""

CALIPER = 0.05
"""Matched atoms: carried to the child as much as the parent, within so many deviations."""

CHECKED = 2
"""Images of a call for which the class token's row is held against the whole block."""


@dataclass(frozen=True)
class _Layer:
    """What switches of one layer need, on one call's images."""

    number: int  # of the children
    tests: Tests
    parents: Dictionary
    children: Dictionary
    deviations: np.ndarray  # of the children's pre-activations
    alive: np.ndarray  # atoms that training images have
    others: int
    randoms: int
    seed: int


def run_switches(
    source: Source,
    rows: np.ndarray,
    switches: np.ndarray,
    coefficients: np.ndarray,
    deviations: np.ndarray,
    effort: tuple[int, int, int],
) -> Arrays:
    """Make the switches of some images, at all layers.

    Parameters
    ----------
    source : Source
    rows : ndarray of int64, shape (n_images,)
        Images, as rows of the study; one batch.
    switches : ndarray of int64, shape (n_switches, 4)
        Layer of the children, place in `rows`, atom, and whether it is active there; sorted by
        layer and place.
    coefficients : ndarray of float32, shape (n_switches,)
    deviations : ndarray of float32
        Standard deviation of the pre-activation of all concepts of layers 2 … L, in this order.
    effort : tuple of int
        Seed, number of other atoms and of random directions.

    Returns
    -------
    dict
        For every layer l from the second on ``"l"``, shape ``(n_rows, len(COLUMNS))`` of float32:
        a row for each test of the parent of each switch, in the order of both; and ``"l.whole"``:
        images with joint removals, labels lost by them, labels lost by equal-norm removals of
        other atoms, and the largest error of the class token's row.
    """
    study, found = source.study, {}
    sizes = np.cumsum([0, *(study.graph.n_concepts(n) for n in range(2, study.n_layers + 1))])

    def visit(block: NextBlock) -> None:
        number = block.layer
        layer = _Layer(
            number,
            tests_of(study, number, effort[0]),
            study.dictionary(number - 1),
            study.dictionary(number),
            deviations[sizes[number - 2] : sizes[number - 1]],
            np.flatnonzero(study.training_codes(number - 1).counts()),
            effort[1],
            effort[2],
            effort[0],
        )
        own = switches[:, 0] == number
        of_image = [np.flatnonzero(own & (switches[:, 1] == n)) for n in range(len(rows))]
        kept, joint, error = [np.empty((0, len(COLUMNS)), np.float32)], np.zeros(3), 0.0
        for place, row in enumerate(rows.tolist()):
            image = _Image(study, layer, block, place, row)
            if len(of_image[place]):
                chosen = of_image[place]
                kept += image.switched(switches[chosen], coefficients[chosen])
            joint += image.jointly()
            if place < CHECKED and block.by_row:
                error = max(error, image.error())
        found[str(number)] = np.concatenate(kept)
        found[f"{number}.whole"] = np.array([*joint, error])

    run_again(source.model, source.pixels(rows), visit)
    return found


class _Image:
    """One image at one block."""

    def __init__(self, study: Study, layer: _Layer, block: NextBlock, place: int, row: int) -> None:
        self.layer, self.block, self.place, self.row = layer, block, place, row
        self.atoms, self.own = study.codes(layer.number - 1).row(row)
        self.after = block.after[place]
        self.before = layer.children.pre_activations(self.after[None])[0]
        self.labels = layer.children.encode(self.after[None]).dense_labels()[0]

    def switched(self, switches: np.ndarray, coefficients: np.ndarray) -> list[np.ndarray]:
        """Return the rows of `COLUMNS` of each switch."""
        layer, groups, added = self.layer, [], []
        for (_, _, atom, active), coefficient in zip(
            switches.tolist(), coefficients.tolist(), strict=True
        ):
            rng = np.random.default_rng([layer.seed, layer.number, self.row, atom])
            pool = self.atoms if active else np.setdiff1d(layer.alive, self.atoms)
            others = rng.permutation(pool[pool != atom])[: layer.others]
            random = rng.standard_normal((layer.randoms, layer.parents.d_model))
            random /= np.linalg.norm(random, axis=1, keepdims=True)
            vectors = np.concatenate([layer.parents.atoms[[atom, *others]], random])
            step = -1.0 if active else 1.0
            groups.append((atom, step, others))
            added.append((step * coefficient * vectors).astype(np.float32))
        together = np.concatenate(added)
        tokens = self.block.rerun(self.place, together)
        children = layer.children
        change = children.pre_activations(tokens) - self.before
        carried = children.pre_activations(self.after + together) - self.before
        labels = children.encode(tokens).dense_labels()
        found, start = [], 0
        for (atom, step, others), part in zip(groups, added, strict=True):
            rows = slice(start, start + len(part))
            scale = step / layer.deviations
            found.append(
                _columns(
                    layer.tests,
                    atom,
                    others,
                    step,
                    (change[rows] * scale, carried[rows] * scale),
                    (self.labels, labels[rows]),
                )
            )
            start += len(part)
        return found

    def jointly(self) -> np.ndarray:
        """Take all active parents out of the token, for every active child.

        Returns
        -------
        ndarray, shape (3,)
            Children that have an active parent and an active non-parent; labels lost without the
            parents; labels lost without the non-parents, at equal norm.
        """
        layer = self.layer
        parts = self.own[:, None] * layer.parents.atoms[self.atoms]
        added, children = [], []
        for child in np.flatnonzero(self.labels).tolist():
            parents = parts[layer.tests.raises[self.atoms, child]].sum(axis=0)
            others = parts[~layer.tests.linked[self.atoms, child]].sum(axis=0)
            lengths = np.linalg.norm(parents), np.linalg.norm(others)
            if min(lengths) > 0:
                added += [-parents, -others * (lengths[0] / lengths[1])]
                children.append(child)
        if not children:
            return np.zeros(3)
        tokens = self.block.rerun(self.place, np.asarray(added, np.float32))
        labels = layer.children.encode(tokens).dense_labels()
        each = np.arange(len(children))
        lost = ~labels[2 * each, children], ~labels[2 * each + 1, children]
        return np.array([len(children), lost[0].sum(), lost[1].sum()], dtype=float)

    def error(self) -> float:
        """Return how far the class token's row is from the whole block, changed and unchanged."""
        none = np.zeros((1, self.layer.parents.d_model), np.float32)
        parts = -self.own[:1, None] * self.layer.parents.atoms[self.atoms[:1]]
        added = np.concatenate([none, parts])
        row, whole = (run(self.place, added) for run in (self.block.rerun, self.block.whole))
        return float(np.abs(row - whole).max())


def _columns(
    tests: Tests,
    atom: int,
    others: np.ndarray,
    step: float,
    moves: tuple[np.ndarray, np.ndarray],
    labels: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """Return the rows of one switch; effects and labels are of the atom, others, and random."""
    own = tests.of(atom)
    child, sign = tests.child[own], tests.sign[own]
    effect, carried = (values[:, child] for values in moves)
    before, after = labels[0][child], labels[1][:, child]
    n_others = len(others)
    unlinked = ~tests.linked[others][:, child]
    other, added = effect[1 : 1 + n_others], (effect - carried)[: 1 + n_others]
    near = unlinked & (np.abs(carried[1 : 1 + n_others] - carried[0]) <= CALIPER)

    def share(values: np.ndarray, among: np.ndarray) -> np.ndarray:
        n = among.sum(axis=0)
        with np.errstate(invalid="ignore"):
            return np.where(n > 0, (values * among).sum(axis=0) / n, np.nan)

    mean = share(other, unlinked)
    falls = (step < 0) == (sign > 0)
    flips = np.where(falls, before & ~after, ~before & after)
    return np.stack(
        [
            effect[0],
            carried[0],
            mean,
            np.where(unlinked.sum(axis=0) > 1, share((other - mean) ** 2, unlinked), np.nan),
            effect[1 + n_others :].mean(axis=0),
            share(added[0] - added[1:], near),
            near.sum(axis=0),
            np.where(falls, before, ~before),
            flips[0],
            share(flips[1 : 1 + n_others], unlinked),
        ],
        axis=1,
    ).astype(np.float32)
