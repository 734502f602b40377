"""Several images side by side: what they share in each layer, and where they part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from cgraph.concept import ConceptId
from cgraph.errors import ConfigError
from cgraph.trace import Trace


@dataclass(frozen=True)
class LayerComparison:
    """One layer of several images.

    Attributes
    ----------
    layer : int
        1..L.
    shared : tuple of ConceptId
        Active in several images: those of the most images first, then those with the largest
        coefficients of their images.
    members : tuple of tuple of int
        For each shared concept the places of the images in which it is active, from 0.
    apart : tuple of tuple of ConceptId
        For each image the concepts of no other, by falling absolute coefficient.
    overlap : float
        Of the concepts active in either of two images the share active in both (Jaccard index),
        averaged over all pairs; two images in which none is active count 1.
    """

    layer: int
    shared: tuple[ConceptId, ...]
    members: tuple[tuple[int, ...], ...]
    apart: tuple[tuple[ConceptId, ...], ...]
    overlap: float


@dataclass(frozen=True)
class Comparison:
    """Several images in one graph.

    Attributes
    ----------
    layers : tuple of LayerComparison
        Of layers 1..L.
    """

    layers: tuple[LayerComparison, ...]

    @property
    def most_alike(self) -> LayerComparison:
        """The layer with the largest overlap, the deepest of several."""
        return max(self.layers, key=lambda layer: (layer.overlap, layer.layer))

    @property
    def most_apart(self) -> LayerComparison:
        """The layer with the smallest overlap, the first of several."""
        return min(self.layers, key=lambda layer: (layer.overlap, layer.layer))


def compare(traces: Sequence[Trace]) -> Comparison:
    """Compare the active concepts of images, layer by layer.

    Parameters
    ----------
    traces : sequence of Trace
        At least two, all of one study.

    Returns
    -------
    Comparison

    Raises
    ------
    ConfigError
        If there are fewer than two traces, or they are of different studies.
    """
    if len(traces) < 2:
        raise ConfigError(f"{len(traces)} image was given: compare at least two.")
    studies = {(trace.study, len(trace.layers)) for trace in traces}
    if len(studies) > 1:
        names = ", ".join(sorted({trace.study for trace in traces}))
        raise ConfigError(
            f"The images were traced in different studies ({names}), whose concepts have nothing "
            "to do with one another. Trace them in one study."
        )
    n_layers = len(traces[0].layers)
    return Comparison(tuple(_compare_layer(traces, layer) for layer in range(1, n_layers + 1)))


def _compare_layer(traces: Sequence[Trace], layer: int) -> LayerComparison:
    actives = [trace.layers[layer - 1] for trace in traces]
    members: dict[ConceptId, list[int]] = defaultdict(list)
    strength: dict[ConceptId, float] = defaultdict(float)
    for place, of_image in enumerate(actives):
        # Coefficients of two images compare only after division by the largest of each.
        largest = max((abs(active.coefficient) for active in of_image), default=1.0) or 1.0
        for active in of_image:
            members[active.concept].append(place)
            strength[active.concept] += abs(active.coefficient) / largest
    shared = sorted(
        (concept for concept, places in members.items() if len(places) > 1),
        key=lambda concept: (-len(members[concept]), -strength[concept], concept),
    )
    return LayerComparison(
        layer=layer,
        shared=tuple(shared),
        members=tuple(tuple(members[concept]) for concept in shared),
        apart=tuple(
            tuple(active.concept for active in of_image if len(members[active.concept]) == 1)
            for of_image in actives
        ),
        overlap=fmean(
            _overlap({active.concept for active in one}, {active.concept for active in other})
            for one, other in combinations(actives, 2)
        ),
    )


def _overlap(one: set[ConceptId], other: set[ConceptId]) -> float:
    either = one | other
    return len(one & other) / len(either) if either else 1.0
