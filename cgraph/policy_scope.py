"""What a verdict speaks of, and the measured distance between graph and network beside it."""

from __future__ import annotations

from cgraph.concept_sets import ResolvedSet
from cgraph.policy_rules import Rule
from cgraph.policy_subject import Subject
from cgraph.policy_verdicts import GRAPH, IMAGES, NETWORK, Figure
from cgraph.truth_tables import DIRECT

_DISTANCES = {
    "edges_supported_share": "edges of positive weight whose effect the network shows",
    "controls_supported_share": "non-edges that pass the same test",
    "joint_removal_lost_share": "labels lost when all active parents are taken out",
    "atoms_matched_share": "concepts that another seed finds again",
}
# Figures of `cgraph.truth_figures` that say how far graph and network are apart.


def distance(subject: Subject, source: ResolvedSet, target: ResolvedSet) -> tuple[Figure, ...]:
    """Return how far graph and network are apart, as `cgraph evaluate` measured it.

    For the whole graph, and for rollouts from the first layer of A to the last of B; an output is
    as far as the last layer. Empty where nothing was measured.
    """
    study = subject.study
    if study is None:
        return ()
    found = [
        Figure(name, float(study.truth[name]), label, "share")
        for name, label in _DISTANCES.items()
        if name in study.truth
    ]
    start, layer = source.layers[0], min(target.layers[-1], subject.n_layers)
    rollout, references = study.measured("rollout"), study.measured("references")
    rule = subject.rolled(start, False).settings.rule if rollout is not None else ""
    for row in rollout.to_pylist() if rollout is not None else ():
        wanted = (row["start"], row["layer"], row["rule"]) == (start, layer, rule)
        if wanted and row["probability"] == "calibrated" and not row["forced"]:
            label = f"AUC of labels rolled out from layer {start} to {layer}"
            found.append(Figure("rollout_auc", row["auc"], label))
    for row in references.to_pylist() if references is not None else ():
        if (row["start"], row["layer"], row["reference"]) == (start, layer, DIRECT):
            label = f"AUC of the best direct model from layer {start} to {layer}"
            found.append(Figure("direct_auc", row["auc"], label))
    return tuple(found)


def from_outside(subject: Subject, target: ResolvedSet) -> float | None:
    """Return the share of B's layers that comes from outside the graph, the largest of them.

    None if it was not measured of all of them. Of outputs it is that of the last layer.
    """
    layers = {min(layer, subject.n_layers) for layer in target.layers}
    if not layers <= set(subject.leakage):
        return None
    return max(subject.leakage[layer].from_patches for layer in layers)


def scope_of(
    subject: Subject,
    rule: Rule,
    target: ResolvedSet,
    speaks_of: tuple[str, ...],
    distances: tuple[Figure, ...],
) -> str:
    """Return in sentences what a verdict speaks of, and what it does not."""
    parts = []
    if GRAPH in speaks_of:
        what = {
            "no-path": "its edges, which are weights of sparse predictors",
            "through": "its edges, which are weights of sparse predictors",
            "influence": "labels rolled out along its edges",
            "flips": "labels rolled out along its edges by the rule max",
        }.get(rule.kind, "its edges")
        parts.append(f"This speaks of the graph: of {what}, not of the network itself.")
        if distances:
            measured = "; ".join(f"{one.label}: {one.text}" for one in distances)
            parts.append(f"Measured distance between the two: {measured}.")
        else:
            parts.append(
                "How far graph and network are apart was not measured: run `cgraph evaluate`."
            )
        outside = from_outside(subject, target)
        if outside is not None:
            parts.append(
                f"Of the layer of {rule.target}, {outside:.0%} comes from the patches, which the "
                "graph does not see."
            )
        if rule.evidence and any(map(subject.is_output, target.concepts)):
            parts.append("Edges into outputs carry no evidence and always count.")
    if NETWORK in speaks_of:
        parts.append(
            "This speaks of the real network: concepts were taken out of its tokens and the "
            "blocks after them run, on the images named; of other images it says nothing."
        )
    if IMAGES in speaks_of:
        parts.append(
            "This speaks of the labels that the network gave the images of the study; of other "
            "images it says nothing."
        )
    return " ".join(parts)
