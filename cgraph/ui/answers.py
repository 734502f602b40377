"""The three answers of the Counterfactual page, each computed once and kept.

The graph's answer needs no model. The network's and that of the picture redrawn need the picture
and the model, which may still be loading: then they say so, and the page asks again.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import streamlit as st
from PIL.Image import Image

from cgraph.agreement import Agreement, agreement
from cgraph.concept import ConceptId
from cgraph.counterfactual import (
    Answer,
    Cause,
    causes,
    dense_labels,
    graph_answer,
    passed_on,
    rolled_through,
    settled,
)
from cgraph.edits import REFITTED_RULE, Edit, RolloutSettings
from cgraph.errors import CgraphError, ImageError, ModelError
from cgraph.graph import ConceptGraph
from cgraph.intervention import NetworkRun
from cgraph.study import Study
from cgraph.ui import uploads
from cgraph.ui.edit_link import EditView
from cgraph.ui.frame import OpenStudy
from cgraph.ui.models import shelf
from cgraph.ui.resources import StudyEntry
from cgraph.ui.traced import TracedImage

LOADING = "loading"
"""Why there is no answer yet: the model is still being loaded."""


MODEL_PROBLEM = "cf.model-problem"
"""Key in the session: by study, why its model could not be loaded."""


@dataclass(frozen=True)
class Measured:
    """An answer of the network, or why there is none.

    Attributes
    ----------
    answer : Answer or None
    problem : str
        `LOADING`, a sentence, or empty where there is an answer.
    """

    answer: Answer | None
    problem: str = ""


@dataclass(frozen=True)
class Question:
    """What is asked: an image or none, an edit, and how it is rolled out.

    Attributes
    ----------
    opened : OpenStudy
    traced : TracedImage or None
        None for an empty slate.
    edit : Edit
    settings : RolloutSettings
        They name their rule.
    redraw : str or None
    """

    opened: OpenStudy
    traced: TracedImage | None
    edit: Edit
    settings: RolloutSettings
    redraw: str | None = None

    @property
    def study(self) -> Study:
        """The study on show."""
        return self.opened.study

    @property
    def start(self) -> int:
        """The layer whose labels are given."""
        return self.settings.start_of(self.edit, self.study.n_layers)

    @property
    def image_key(self) -> str:
        """What stands for the image in caches."""
        return "" if self.traced is None else self.traced.image_id

    @cached_property
    def given(self) -> list[list[ConceptId]]:
        """Active concepts of the image in every layer."""
        if self.traced is None:
            return [[] for _ in range(self.study.n_layers)]
        return [[active.concept for active in layer] for layer in self.traced.trace.layers]

    @cached_property
    def graph(self) -> Answer:
        """What the graph predicts."""
        start = self.start
        active = [concept.index for concept in self.given[start - 1]]
        labels = dense_labels(self.study.graph, start, active)
        key = int(hashlib.sha256(self.image_key.encode()).hexdigest()[:12], 16)
        if self.traced is not None and self.traced.row is not None:
            key = self.traced.row
        graph, inputs = self._through
        return graph_answer(graph, labels, self.edit, self.settings, key=key, inputs=inputs)

    @property
    def _through(self) -> tuple[ConceptGraph, list[np.ndarray] | None]:
        """The graph that labels run through, and what active concepts pass on."""
        if self.settings.rule != REFITTED_RULE:
            return self.study.graph, _inputs(self.study)
        return rolled_through(self.study, self.settings, self.start)

    def beside(self, other: Edit) -> tuple[Question, Question]:
        """Return this question and that of another edit, both from the earlier start layer."""
        # An edit that sets nothing asks for no start layer of its own.
        edits = [edit for edit in (self.edit, other) if len(edit)] or [other]
        starts = (self.settings.start_of(edit, self.study.n_layers) for edit in edits)
        settings = dataclasses.replace(self.settings, start=min(starts))
        one, two = (
            dataclasses.replace(self, edit=edit, settings=settings) for edit in (self.edit, other)
        )
        return one, two

    def causes(self, concept: ConceptId) -> tuple[Cause, ...]:
        """Return what moved a concept in the graph."""
        if not self.graph.states.has_layer(concept.layer):
            return ()
        graph, inputs = self._through
        return causes(graph, self.graph, concept, inputs=inputs)

    @cached_property
    def network(self) -> Measured:
        """What was measured in the network with the same edit."""
        if self.traced is None:
            return Measured(None, "Without an image there is nothing to run through the network.")
        try:
            if shelf.find(self.opened.entry) is None:
                return Measured(None, self._not_loaded())
            before = _run(self.opened.entry, self.image_key, "", "", self)
            after = _run(self.opened.entry, self.image_key, self.edit.to_text(), "", self)
        except CgraphError as error:
            return Measured(None, str(error))
        from cgraph.counterfactual import network_answer

        return Measured(network_answer(self.study, self.edit, before, after))

    @cached_property
    def redrawn(self) -> Measured:
        """What was measured of the picture drawn again."""
        if self.traced is None or self.traced.row is None or self.redraw is None:
            return Measured(None, "Say above what is changed in the picture.")
        try:
            if shelf.find(self.opened.entry) is None:
                return Measured(None, self._not_loaded())
            before = _run(self.opened.entry, self.image_key, "", "", self)
            after = _run(self.opened.entry, self.image_key, "", self.redraw, self)
        except CgraphError as error:
            return Measured(None, str(error))
        from cgraph.counterfactual import redrawn_answer

        return Measured(redrawn_answer(self.study, before, after))

    def _not_loaded(self) -> str:
        """Say why the model is not there: it is loading, or it never will be.

        Raises
        ------
        ModelError
            If the model's folder is not found.
        """
        from cgraph import tracing

        if self.traced is not None and self.traced.row is not None:
            from cgraph.picture_source import refuse_planted

            refuse_planted(self.study)
        tracing.model_folder(self.study)
        if problem := st.session_state.get(MODEL_PROBLEM, {}).get(self.opened.entry):
            raise ModelError(problem)
        return LOADING

    def picture(self, redraw: str = "") -> Image:
        """Return the picture that goes through the network.

        Raises
        ------
        ImageError
            If it cannot be had.
        """
        from cgraph.picture_source import picture

        if self.traced is None:
            raise ValueError("an empty slate has no picture")
        if self.traced.row is None:
            upload = uploads.find(self.traced.image_id)
            if upload is None:
                raise ImageError("The uploaded picture is gone. Upload it again.")
            return upload.image
        if redraw:
            from cgraph.redrawing import SceneChange, scene_of
            from cgraph.scene_drawing import draw

            return draw(SceneChange.parse(redraw).apply(scene_of(self.study, self.traced.row)))
        return picture(self.study, self.traced.row)

    def pixels(self, redraw: str = "") -> np.ndarray:
        """Return the picture as the network takes it."""
        model = shelf.get(self.opened.entry, self.study)
        return model.preprocess([self.picture(redraw)])

    def runs(self) -> tuple[NetworkRun, NetworkRun]:
        """Return the network's runs before and after the edit; the model must be loaded."""
        entry, key = self.opened.entry, self.image_key
        return _run(entry, key, "", "", self), _run(entry, key, self.edit.to_text(), "", self)

    def agreement(self, one: Answer, other: Answer, layer: int) -> Agreement:
        """Compare two answers in a layer, without what was set by hand."""
        by_hand = np.zeros((1, self.study.graph.n_concepts(layer)), dtype=bool)
        by_hand[0, [concept.index for concept in self.edit.of_layer(layer)]] = True
        return agreement(one.states, other.states, layer, left_out=by_hand)


def question(opened: OpenStudy, traced: TracedImage | None, view: EditView, layer: int) -> Question:
    """Return what a view asks.

    As long as nothing is set by hand and no start layer was chosen, the graph starts at the layer
    that is looked at, so that what can be switched there is what the image has.
    """
    edit, settings = view.edit or Edit(), settled(opened.study, view.settings)
    if not len(edit) and settings.start is None:
        settings = dataclasses.replace(settings, start=layer)
    return Question(opened, traced, edit, settings, view.redraw)


@st.cache_resource(max_entries=8, show_spinner=False)
def _inputs_of(entry_key: tuple[str, int], _study: Study) -> list[np.ndarray] | None:
    return passed_on(_study)


def _inputs(study: Study) -> list[np.ndarray] | None:
    if study.manifest.graph["inputs"] == "labels":
        return None
    return _inputs_of((study.name, id(study)), study)


@st.cache_resource(max_entries=128, show_spinner=False)
def _run(
    entry: StudyEntry, image_key: str, edit: str, redraw: str, _question: Question
) -> NetworkRun:
    """Run one picture through the network: as it is, edited, or drawn again."""
    from cgraph import intervention

    study = _question.study
    model = shelf.get(entry, study)
    return intervention.run(study, model, _question.pixels(redraw), Edit.parse(edit))
