"""Images that show a witness: a path with all of its concepts active, contributions edge by edge.

Where an edge lowers, what lies behind it is seldom active together with what lies before it. So
where no image has all of a path, images are shown that do as the weights say: the first concept is
active, and each further one as the signs up to it foretell; where none does, those with most of it.

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
    whole = np.asarray(active.all(axis=1))
    n_whole = int(whole.sum())
    strength = np.zeros(len(rows))
    if n_whole:
        strength[whole] = 1.0
        for edge in path.edges:
            labels = subject.labels(edge.parent.layer, rows[whole])
            child = np.array([edge.child.index])
            parents, _, weights = subject.graph.edges_into(child, edge.child.layer)
            sums = labels[:, parents] @ np.abs(weights.astype(float))
            strength[whole] *= abs(edge.weight) / sums
    foretold = np.cumprod([1.0, *(np.sign(edge.weight) for edge in path.edges)]) > 0
    as_foretold = np.asarray((active == foretold).all(axis=1))
    n_active = active.sum(axis=1)
    order = np.lexsort((np.arange(len(rows)), -n_active, ~as_foretold, -strength))[:MOST_IMAGES]
    if n_whole:
        best = [place for place in order.tolist() if whole[place]]
    elif as_foretold.any():
        best = [place for place in order.tolist() if as_foretold[place]]
    else:
        best = [place for place in order.tolist() if n_active[place]]
    shown = tuple(map(subject.shown, concepts))
    steps = [f"{one.id} → {other.id}" for one, other in itertools.pairwise(shown)]
    share = n_whole / len(rows) if len(rows) else 0.0
    text = " → ".join(one.called for one in shown) + (
        f": strength {path.strength:.3g}; all of it is active in {n_whole} of {len(rows)} held-out "
        f"images ({share:.1%})."
    )
    images = []
    for place in best:
        parts = [
            edge.weight if on else 0.0
            for edge, on in zip(path.edges, active[place].tolist(), strict=False)
        ]
        carried = f"the path carries {strength[place]:.2%} of what speaks at its steps"
        some = f"{n_active[place]} of the {len(concepts)} concepts are active"
        if as_foretold[place]:
            some += ", as the weights say"
        images.append(
            WitnessImage(
                subject.image_ids[rows[place]],
                int(rows[place]),
                (float(strength[place]), *map(float, parts)),
                carried if n_whole else some,
            )
        )
    return Witness(
        "path",
        text,
        shown,
        weights=tuple(edge.weight for edge in path.edges),
        shares=tuple(edge.share for edge in path.edges),
        strength=path.strength,
        columns=("strength in the image", *(f"contribution of {step}" for step in steps)),
        images=tuple(images),
    )
