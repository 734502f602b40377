"""What the graph of a study cannot see of a layer, in numbers and in a sentence.

A trace, a rollout or a counterfactual follows class tokens alone. What a layer's class token takes
from the patches, and what its code leaves out of it, are outside; `cgraph evaluate` measures them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from cgraph.study import Study


@dataclass(frozen=True)
class Outside:
    """What the graph cannot see of one layer.

    Attributes
    ----------
    layer : int
    from_patches : float
        Share of the class token that comes from the patches, in [0, 1]; NaN where the study's
        tokens are no class tokens and are made of patches altogether.
    labels_from_patches : float
        Share of active concepts that are lost when the patches before are their mean.
    left_out : float
        Share of the token's variance that its code leaves out.
    auc_graph, auc_token : float
        How well the graph, and the raw token of the layer before, foretell the layer's concepts;
        NaN at layer 1.
    """

    layer: int
    from_patches: float
    labels_from_patches: float
    left_out: float
    auc_graph: float
    auc_token: float

    def sentence(self) -> str:
        """Return what a person should know who relies on this layer."""
        left_out = f"its code leaves {self.left_out:.0%} of it out"
        if math.isnan(self.from_patches):
            return (
                f"Layer {self.layer} has no class token: what is read is made of the patches, "
                f"which the graph does not see one by one; {left_out}."
            )
        return (
            f"Of layer {self.layer}'s class token {self.from_patches:.0%} comes from the patches, "
            f"which the graph does not see; {left_out}."
        )


def outside(study: Study) -> tuple[Outside, ...] | None:
    """Return what the graph cannot see of each layer, 1 to L; None if it was not measured."""
    table = study.measured("leakage")
    if table is None:
        return None
    return tuple(
        Outside(
            row["layer"],
            row["outside"],
            row["labels_from_patches"],
            row["left_out"],
            row["auc_graph"],
            row["auc_token"],
        )
        for row in sorted(table.to_pylist(), key=lambda row: row["layer"])
    )


def outside_layer(study: Study, layer: int) -> Outside | None:
    """Return what the graph cannot see of one layer; None if it was not measured."""
    found = outside(study)
    return None if found is None else found[layer - 1]


def caveat(study: Study, layers: Iterable[int]) -> str | None:
    """Return a sentence for a result that runs through some layers; None if not measured.

    The layer whose token has most from outside speaks for all.

    Parameters
    ----------
    study : Study
    layers : iterable of int
        Layers whose concepts the graph foretells.
    """
    found = outside(study)
    wanted = set(layers)
    chosen = [one for one in found or () if one.layer in wanted]
    if not chosen:
        return None
    most = max(chosen, key=lambda one: -1.0 if math.isnan(one.from_patches) else one.from_patches)
    return most.sentence()
