"""What the Graph page knows of its study, its link and its concepts; no image stands behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cgraph.concept import ConceptId
from cgraph.concept_search import Named
from cgraph.edge_filter import ANY, CONCEPTS, EDGES, EdgeFilter
from cgraph.edge_index import BOTH, LOWERS, RAISES
from cgraph.errors import ConfigError
from cgraph.graph import ConceptGraph
from cgraph.study import Study
from cgraph.study_graph import StudyGraph
from cgraph.subgraph import Subgraph
from cgraph.truth_tables import SUPPORTED
from cgraph.ui import gallery, words
from cgraph.ui.drawing import Looks
from cgraph.ui.graph_query import AROUND, PAIR, PATHS, PINNED, GraphQuery
from cgraph.ui.state import Selection


@dataclass(frozen=True)
class Shown:
    """Everything that the views of the page work on.

    Attributes
    ----------
    of : StudyGraph
    selection : Selection
        What the link selects, as far as the study has it.
    query : GraphQuery
        What else the link asks for.
    graph : ConceptGraph
        With the edges that the filter keeps.
    """

    of: StudyGraph
    selection: Selection
    query: GraphQuery
    graph: ConceptGraph

    @property
    def study(self) -> Study:
        """The study on show."""
        return self.of.study

    @property
    def view(self) -> str:
        """The view on show: the link's, or what suits its selection."""
        return self.query.view or (AROUND if self.selection.concept else PAIR)

    @cached_property
    def pair(self) -> int:
        """Child layer of the pair on show."""
        layer = self.query.pair or self.selection.layer or self.graph.n_layers
        return min(max(layer, 2), self.graph.n_layers)

    @cached_property
    def concept(self) -> ConceptId | None:
        """The selected concept; without one what the view has to offer first."""
        if self.selection.concept is not None or self.graph.n_layers < 2:
            return self.selection.concept
        if self.view == PINNED and len(self.selection.pins):
            return self.selection.pins.concepts[0]
        if self.view == PATHS and (end := self._one_end) is not None:
            return end
        edges = self.graph.layer_edges(self.pair)
        if not len(edges.weights):
            return None
        return ConceptId(self.pair, int(edges.children[np.abs(edges.weights).argmax()]))

    @property
    def _one_end(self) -> ConceptId | None:
        """The concept at an end of the link's paths, if one is a single concept."""
        for text in (self.query.targets, self.query.sources):
            try:
                concept = ConceptId.parse(text.upper())
                self.of.graph.concept_row(concept)
            except ConfigError:
                continue
            return concept
        return None

    @property
    def endpoints(self) -> tuple[str, str]:
        """Where paths begin and end: the link's sets, or from layer 1 to the selected concept."""
        asked = self.query.sources, self.query.targets
        if any(asked) or self.concept is None:
            return asked
        # Into a concept of layer 1 nothing leads: then the paths from it to the last layer.
        if self.concept.layer == 1:
            return str(self.concept), f"L{self.graph.n_layers}"
        return "L1", str(self.concept)

    @cached_property
    def named(self) -> Named:
        """What finds concepts by their names."""
        return self.of.named

    @cached_property
    def looks(self) -> Looks:
        """How concepts look."""
        return gallery.looks(self.study)

    def called(self, concept: ConceptId) -> str:
        """Return name and id, or the id alone."""
        return self.of.called(concept)

    def lines(self, concept: ConceptId) -> list[str]:
        """Return what is said of a concept wherever it is drawn."""
        row = self.of.graph.concept_row(concept)
        lines = [f"active in {words.percent(self.of.prevalence[row])} of training images"]
        auc = self.of.auc[row]
        if words.known(auc):
            lines.append(f"AUC {words.fraction(auc)} on held-out images")
        elif concept.layer > 1:
            lines.append("not scored: too rare or too common")
        if label := self.selection.pins.labels.get(concept):
            lines.append(f"pinned in group {label}")
        elif concept in self.selection.pins:
            lines.append("pinned")
        return lines

    @cached_property
    def caption(self) -> str:
        """Line above a saved figure."""
        filters = " · ".join(filter_words(self.query.wanted))
        return f"study {self.study.name}" + (f" · {filters}" if filters else "")

    def file_name(self, what: str) -> str:
        """Return the name of a file, without its ending."""
        text = f"graph-{self.study.name}-{what}"
        return "".join(sign if sign.isalnum() else "-" for sign in text)[:80].strip("-")


@dataclass(frozen=True)
class Exported:
    """What a view shows, for a file.

    Attributes
    ----------
    part : callable
        Returns it; made only when somebody wants the file.
    name : str
        Name of the file without its ending.
    what : str
        What it holds, in words.
    """

    part: Callable[[], Subgraph]
    name: str
    what: str


_SIGN_WORDS = {BOTH: "", RAISES: "raises only", LOWERS: "lowers only"}

_AGAIN_WORDS = {
    ANY: "",
    CONCEPTS: "between concepts found again",
    EDGES: "edges found again",
}


def filter_words(wanted: EdgeFilter) -> list[str]:
    """Say what a filter keeps, a few words for each setting that leaves something out."""
    said = [_SIGN_WORDS[wanted.sign]]
    if wanted.min_weight:
        said.append(f"weight at least {wanted.min_weight:g}")
    if wanted.min_auc:
        said.append(f"AUC at least {wanted.min_auc:g}")
    if wanted.min_prevalence or wanted.max_prevalence < 1:
        bounds = words.span([wanted.min_prevalence, wanted.max_prevalence])
        said.append(f"active in {bounds} of images")
    if wanted.min_selection_rate:
        said.append(f"in at least {words.percent(wanted.min_selection_rate)} of the bags")
    if wanted.evidence != ANY:
        better = " or better" if wanted.evidence == SUPPORTED else ""
        said.append(f"evidence: {wanted.evidence}{better}")
    if wanted.origin != ANY:
        said.append(f"effect {wanted.origin}")
    said.append(_AGAIN_WORDS[wanted.found_again])
    return [text for text in said if text]


def list_of(called: Sequence[str], most: int = 3) -> str:
    """Return some names in a row, and how many more there are."""
    head = ", ".join(called[:most])
    more = len(called) - most
    return f"{head} and {more:,} more" if more > 0 else head
