"""Images that show a witness: a path with all of its concepts active, contributions edge by edge.

The contribution of an edge in an image is its weight, if the parent is active. The strength of the
path in the image is the product over its edges of |contribution| / Σ |contributions| of all active
parents of the child: the share of what spoke for or against each step.
"""

from __future__ import annotations

import itertools

import numpy as np

from cgraph.config import HELD_OUT
from cgraph.graph_paths import GraphPath
from cgraph.policy_rules import Rule
from cgraph.policy_subject import Subject
from cgraph.policy_verdicts import Witness, WitnessImage

MOST_IMAGES = 6


def path_witness(subject: Subject, path: GraphPath, rule: Rule) -> Witness:
    """Return a path as a witness, with the held-out images in which it is strongest.

    Parameters
    ----------
    subject : Subject
    path : GraphPath
    rule : Rule
        That it breaks.
    """
    rows = subject.rows(HELD_OUT)
    concepts = path.concepts
    active = subject.columns(concepts, rows)
    whole = active.all(axis=1)
    strength = np.where(whole, 1.0, 0.0)
    for edge in path.edges if whole.any() else ():
        labels = subject.labels(edge.parent.layer, rows[whole])
        parents, _, weights = subject.graph.edges_into(
            np.array([edge.child.index]), edge.child.layer
        )
        sums = labels[:, parents] @ np.abs(weights.astype(float))
        strength[whole] *= abs(edge.weight) / sums
    best = np.argsort(-strength, kind="stable")[: min(MOST_IMAGES, int(whole.sum()))]
    shown = tuple(map(subject.shown, concepts))
    steps = [f"{one.id} → {other.id}" for one, other in itertools.pairwise(shown)]
    contributions = tuple(edge.weight for edge in path.edges)
    n_whole = int(whole.sum())
    share = n_whole / len(rows) if len(rows) else 0.0
    text = " → ".join(one.called for one in shown) + (
        f": strength {path.strength:.3g}; all of it is active in {n_whole} of {len(rows)} held-out "
        f"images ({share:.1%})."
    )
    return Witness(
        "path",
        text,
        shown,
        weights=contributions,
        shares=tuple(edge.share for edge in path.edges),
        strength=path.strength,
        columns=("strength in the image", *(f"contribution of {step}" for step in steps)),
        images=tuple(
            WitnessImage(
                subject.image_ids[rows[place]],
                int(rows[place]),
                (float(strength[place]), *contributions),
                f"the path carries {strength[place]:.2%} of what speaks at its steps",
            )
            for place in best
        ),
    )
