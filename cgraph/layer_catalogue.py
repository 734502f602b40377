"""All concepts of one layer as columns, to be searched and sorted without touching an image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cgraph.concept import ConceptId
from cgraph.errors import ConfigError
from cgraph.given_names import GivenName
from cgraph.naming import ConceptName
from cgraph.store import as_array
from cgraph.study import Study
from cgraph.study_names import Name

Order = Literal["index", "name", "frequency", "auc", "parents"]
Kind = Literal["all", "named", "unnamed", "by hand"]

ORDERS: tuple[Order, ...] = get_args(Order)
"""What concepts can be sorted by."""

KINDS: tuple[Kind, ...] = get_args(Kind)
"""Which concepts can be listed."""


@dataclass(frozen=True)
class LayerCatalogue:
    """The concepts of a layer, by rising index.

    Attributes
    ----------
    layer : int
    names : tuple of Name or None
        What each concept is called.
    measured : tuple of Name or None
        What it would be called had nobody named it; it is searched as well.
    prevalence : ndarray of float64, shape (n_concepts,)
        Share of the training images in which it is active.
    auc : ndarray of float64, shape (n_concepts,)
        Held-out area of its predictor; NaN where it was not scored, and in layer 1.
    n_parents, n_children : ndarray of int64, shape (n_concepts,)
    """

    layer: int
    names: tuple[Name | None, ...]
    measured: tuple[Name | None, ...]
    prevalence: NDArray[np.float64]
    auc: NDArray[np.float64]
    n_parents: NDArray[np.int64]
    n_children: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def n_never_active(self) -> int:
        """Concepts that no training image has."""
        return int((self.prevalence == 0).sum())

    @cached_property
    def _texts(self) -> list[str]:
        """What is searched, in small letters: id, name, attribute and value."""
        pairs = zip(self.names, self.measured, strict=True)
        return [
            f"{ConceptId(self.layer, n)} {_searched(name)} {_searched(found)}".casefold()
            for n, (name, found) in enumerate(pairs)
        ]

    @cached_property
    def _by_name(self) -> NDArray[np.intp]:
        keys = [
            (name is None, name.text.casefold() if name else "", n)
            for n, name in enumerate(self.names)
        ]
        return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.intp)

    def find(
        self,
        text: str = "",
        *,
        kind: Kind = "all",
        order: Order = "index",
        falling: bool = False,
    ) -> NDArray[np.intp]:
        """Return the concepts that a search finds, sorted.

        Parameters
        ----------
        text : str
            Words that must all occur in a concept's id, names, attribute or value, in any case of
            letters. A whole id (``L7/609``) or index (``609``) finds that concept alone.
        kind : {'all', 'named', 'unnamed', 'by hand'}
        order : {'index', 'name', 'frequency', 'auc', 'parents'}
            Concepts without a name, or without a figure, come last either way; ties are by index.
        falling : bool
            From the largest, or from the last letter, on.

        Raises
        ------
        ConfigError
            If there is no such kind or order.
        """
        if order not in ORDERS or kind not in KINDS:
            raise ConfigError(
                f"Concepts cannot be listed by {order!r} and {kind!r}: sort by "
                f"{', '.join(ORDERS)}, and list {', '.join(KINDS)}."
            )
        sorted_ones = self._sorted(order, falling)
        return sorted_ones[self._matching(text, kind)[sorted_ones]]

    def _sorted(self, order: Order, falling: bool) -> NDArray[np.intp]:
        if order == "name":
            n_named = sum(name is not None for name in self.names)
            named, others = self._by_name[:n_named], self._by_name[n_named:]
            return np.concatenate([named[::-1] if falling else named, others])
        values = {
            "index": np.arange(len(self), dtype=float),
            "frequency": self.prevalence,
            "auc": self.auc,
            "parents": self.n_parents.astype(float),
        }[order]
        # NaN sorts last, of rising and of negated values alike.
        return np.argsort(-values if falling else values, kind="stable")

    def _matching(self, text: str, kind: Kind) -> NDArray[np.bool_]:
        words = text.replace("=", " ").casefold().split()  # colour=purple, as on the Graph page
        exact = _exact(text.strip(), self.layer, len(self))
        if exact is not None:
            found = np.arange(len(self)) == exact
        elif words:
            found = np.array([all(word in t for word in words) for t in self._texts], dtype=bool)
        else:
            found = np.ones(len(self), dtype=bool)
        if kind == "all":
            return found
        if kind == "by hand":
            return found & np.array([isinstance(name, GivenName) for name in self.names], bool)
        named = np.array([name is not None for name in self.names], dtype=bool)
        return found & (named if kind == "named" else ~named)


def _exact(text: str, layer: int, n: int) -> int | None:
    """Return the index that a text asks for, if it is an index or id of the layer."""
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text) if int(text) < n else None
    try:
        concept = ConceptId.parse(text.upper())
    except ConfigError:
        return None
    return concept.index if concept.layer == layer and concept.index < n else None


def _searched(name: Name | None) -> str:
    if isinstance(name, ConceptName):
        return " ".join([name.text, name.attribute, name.value, *(name.second or ())])
    return "" if name is None else name.text


def layer_catalogue(study: Study, layer: int) -> LayerCatalogue:
    """Collect what is known of the concepts of a layer.

    Raises
    ------
    ConfigError
        If there is no such layer.
    """
    graph = study.graph
    n = graph.n_concepts(layer)
    every = np.arange(n)
    n_parents = n_children = np.zeros(n, dtype=np.int64)
    if layer > 1:
        n_parents = np.bincount(graph.edges_into(every, layer)[1], minlength=n)
    if layer < study.n_layers:
        children = np.arange(graph.n_concepts(layer + 1))
        n_children = np.bincount(graph.edges_into(children, layer + 1)[0], minlength=n)
    concepts = [ConceptId(layer, index) for index in range(n)]
    return LayerCatalogue(
        layer=layer,
        names=tuple(study.name_of(concept) for concept in concepts),
        measured=tuple(study.naming.measured(concept) for concept in concepts),
        prevalence=graph.prevalence(layer),
        auc=_held_out_auc(study, layer, n),
        n_parents=n_parents,
        n_children=n_children,
    )


def _held_out_auc(study: Study, layer: int, n: int) -> NDArray[np.float64]:
    columns = _figures(study)[1]
    own = columns["layer"] == layer
    areas = np.full(n, np.nan)
    areas[columns["index"][own]] = columns["auc"][own]
    areas[~study.graph.column(layer, "scored")] = np.nan
    return areas


def concept_figures(study: Study, concept: ConceptId) -> dict[str, Any]:
    """Return the held-out figures of one concept; empty where there are none, as in layer 1."""
    table, columns = _figures(study)
    rows = np.flatnonzero((columns["layer"] == concept.layer) & (columns["index"] == concept.index))
    return table.slice(int(rows[0]), 1).to_pylist()[0] if len(rows) else {}


@lru_cache(maxsize=8)
def _figures(study: Study) -> tuple[pa.Table, dict[str, NDArray[Any]]]:
    """Return the held-out figures of all concepts, and the columns that rows are found by."""
    table = study.evaluation("concepts").combine_chunks()
    names = ("layer", "index", "auc")
    return table, {name: as_array(table.column(name).combine_chunks()) for name in names}
