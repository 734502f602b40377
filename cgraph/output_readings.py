"""What the whole model says of pictures, read as the outputs of a study; also after an edit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from cgraph.output_nodes import OutputNode
from cgraph.output_tables import TOP_CLASS

if TYPE_CHECKING:
    from PIL.Image import Image

    from cgraph.output_nodes import OutputNodes
    from cgraph.outputs import Output
    from cgraph.study import Study
    from cgraph.vit import VisionModel


def contrasts(
    nodes: Sequence[tuple[str, tuple[str, ...]]],
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the texts that values are made of, and how.

    Parameters
    ----------
    nodes : sequence of (str, tuple of str)
        The text of each output, and those that it is held against.

    Returns
    -------
    texts : tuple of str
        Each once.
    weights : ndarray of float32, shape (n_texts, n_outputs)
        Likeness to the texts times this is the value: the likeness to the text, less the mean of
        those that it is held against.
    """
    texts = tuple(dict.fromkeys(one for text, against in nodes for one in (text, *against)))
    weights = np.zeros((len(texts), len(nodes)), dtype=np.float32)
    for place, (text, against) in enumerate(nodes):
        weights[texts.index(text), place] += 1
        for other in against:
            weights[texts.index(other), place] -= np.float32(1 / len(against))
    return texts, weights


def read_outputs_of(
    output: Output,
    nodes: Sequence[OutputNode],
    pixels: np.ndarray,
    added: Mapping[int, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Run the whole model on pictures and say which outputs are on.

    Parameters
    ----------
    output : Output
        Of `cgraph.outputs.load_output`.
    nodes : sequence of OutputNode
        All of classes, or all of texts.
    pixels : ndarray of float32, shape (n, *pixel_shape)
        What `VisionModel.preprocess` returned.
    added : mapping of int to ndarray, shape (n, d_model), optional
        What is added to the tokens after some layers, as in `Output.scores`: an intervention.

    Returns
    -------
    labels : ndarray of bool, shape (n, n_outputs)
    values : ndarray of float32, shape (n, n_outputs)
    """
    if nodes[0].class_index >= 0:
        scores = output.scores(pixels, added)
        places = np.array([node.class_index for node in nodes])
        values, likeliest = scores[:, places], scores.argmax(axis=1)[:, None] == places
    else:
        texts, weights = contrasts([(node.text, node.against) for node in nodes])
        values = output.scores(pixels, added, texts) @ weights
        likeliest = np.zeros(values.shape, dtype=bool)
    reached = [
        likeliest[:, place] if node.rule == TOP_CLASS else values[:, place] >= node.threshold
        for place, node in enumerate(nodes)
    ]
    return np.stack(reached, axis=1), values


@dataclass(frozen=True)
class OutputState:
    """One output of one image: what the model said, and what the graph predicts.

    Attributes
    ----------
    node : OutputNode
    label : bool
        Whether the model says it.
    value : float
        Probability or likeness.
    probability : float or None
        That the labels of layer L give it, calibrated; None where no predictor was fitted, or what
        it takes is not stored.
    prevalence : float
        Share of the training images in which it is on.
    predicted : bool or None
        Whether the probability reaches the threshold τ.
    """

    node: OutputNode
    label: bool
    value: float
    probability: float | None
    prevalence: float
    predicted: bool | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        others = {name: value for name, value in vars(self).items() if name != "node"}
        return {"output": self.node.written, "meaning": self.node.meaning, **others}

    @property
    def sentence(self) -> str:
        """Both in words."""
        said = "on" if self.label else "off"
        if self.probability is None:
            foretold = "no prediction"
        else:
            foretold = f"predicted at {self.probability:.0%}, usually {self.prevalence:.0%}"
        return f"{self.node.written}: {said} ({self.node.meaning}: {self.value:.4g}); {foretold}"


def output_states(
    study: Study, inputs: np.ndarray | None, labels: np.ndarray, values: np.ndarray
) -> list[OutputState]:
    """Put together what is measured and what is predicted of one image.

    Parameters
    ----------
    study : Study
        With outputs.
    inputs : ndarray of float, shape (n_concepts,), or None
        What the concepts of layer L pass on: labels, or what the study's predictors take. None
        where that is not known, and nothing predicted.
    labels, values : ndarray, shape (n_outputs,)
        What the model said.
    """
    outputs = study.outputs
    assert outputs is not None  # the caller has looked
    graph, layer = outputs.extended(study.graph), outputs.layer
    thresholds, prevalence = graph.column(layer, "threshold"), graph.prevalence(layer)
    fitted = graph.column(layer, "fitted") & (inputs is not None)
    probability = np.full(len(outputs), np.nan)
    if inputs is not None:
        active = np.flatnonzero(inputs)
        probability = graph.probability(layer, active, inputs[active])
    return [
        OutputState(
            node,
            bool(labels[place]),
            float(values[place]),
            float(probability[place]) if fitted[place] else None,
            float(prevalence[place]),
            bool(probability[place] >= thresholds[place]) if fitted[place] else None,
        )
        for place, node in enumerate(outputs.nodes)
    ]


def outputs_of_picture(study: Study, model: VisionModel, picture: Image) -> list[OutputState]:
    """Return the outputs of a picture that is run through the model; none of a study without.

    Parameters
    ----------
    study : Study
    model : VisionModel
        Of the study. The whole model around it is loaded, and kept for the next picture.
    picture : PIL.Image.Image
        RGB.

    Raises
    ------
    ModelError
        If the whole model cannot be loaded.
    """
    if study.outputs is None:
        return []
    pixels = model.preprocess([picture])
    labels, values = read_outputs_of(_whole(model), study.outputs.nodes, pixels)
    token = model.class_tokens(pixels)[-1]
    return output_states(study, last_inputs(study, token), labels[0], values[0])


@lru_cache(maxsize=2)
def _whole(model: VisionModel) -> Output:
    from cgraph.outputs import load_output

    found = load_output(model)
    assert found is not None  # or the study would have no outputs
    return found


def outputs_of_row(study: Study, row: int) -> list[OutputState]:
    """Return the outputs of an image of the study, by what is stored; none of a study without.

    Pre-activations are not stored, so that nothing is predicted where predictors take them.
    """
    outputs: OutputNodes | None = study.outputs
    if outputs is None:
        return []
    kind = study.manifest.graph["inputs"]
    inputs = None
    if kind != "pre-activations":
        indices, coefficients = study.codes(study.n_layers).row(row)
        inputs = np.zeros(study.graph.n_concepts(study.n_layers))
        inputs[indices] = 1.0 if kind == "labels" else coefficients
    return output_states(study, inputs, outputs.labels[row], outputs.values[row])


def last_inputs(study: Study, token: np.ndarray) -> np.ndarray:
    """Return what concepts of layer L pass on to the outputs, ``(n_concepts,)``.

    Parameters
    ----------
    study : Study
    token : ndarray of float32, shape (1, d_model)
        Of layer L.
    """
    dictionary, kind = study.dictionary(study.n_layers), study.manifest.graph["inputs"]
    if kind == "pre-activations":
        return dictionary.pre_activations(token)[0]
    return dictionary.encode(token).to_csr(binary=kind == "labels").toarray()[0]
