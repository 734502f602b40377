"""Traces of a study's own images, and of images that it has never seen.

A stored image needs no model: its codes are in the study. A new image goes through the model, the
dictionaries and the graph.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL.Image import Image

from cgraph.config import Inputs
from cgraph.errors import ModelError, StudyError
from cgraph.graph import ConceptGraph
from cgraph.manifest import BUILD_RECORD
from cgraph.novelty import Usual
from cgraph.object_paths import is_remote
from cgraph.signals import explained_share
from cgraph.store import read_json
from cgraph.study import Study
from cgraph.trace import Trace
from cgraph.trace_codes import surprises, trace_codes

if TYPE_CHECKING:
    from cgraph.codes import Codes
    from cgraph.dictionary import Dictionary
    from cgraph.vit import VisionModel

MODEL_VARIABLE = "CGRAPH_MODEL_DIR"
"""Environment variable with the folder of a study's model, where it has moved."""


def trace_row(study: Study, row: int) -> Trace:
    """Trace an image of the study by its stored codes.

    Parameters
    ----------
    study : Study
    row : int
        Place of the image in `study.image_ids`.

    Raises
    ------
    StudyError
        If the study's predictors take pre-activations, which are not stored.
    """
    kind = study.manifest.graph["inputs"]
    if kind == "pre-activations":
        raise StudyError(
            f"The predictors of {study.name!r} take pre-activations, which are not stored with "
            "images. Trace the image file in place of the stored image."
        )
    codes = [study.codes(layer).row(row) for layer in range(1, study.n_layers + 1)]
    return trace_codes(
        study.graph,
        codes,
        image_id=study.image_ids[row],
        study=study.name,
        inputs=kind,
        input_scales=study.manifest.graph["input_scales"],
    )


def trace_image(study: Study, model: VisionModel, image: Image, image_id: str) -> Trace:
    """Trace an image through the model, the dictionaries and the graph.

    Parameters
    ----------
    study : Study
    model : VisionModel
        The model that the study was built with; `load_model` returns it.
    image : PIL.Image.Image
        RGB, as `cgraph.images.load_image` returns it.
    image_id : str
        What to call the image.
    """
    tokens = model.class_tokens(model.preprocess([image]))[:, 0]
    dictionaries = [study.dictionary(layer) for layer in range(1, study.n_layers + 1)]
    return trace_tokens(
        study.graph,
        dictionaries,
        tokens,
        [d.encode(token) for d, token in zip(dictionaries, tokens[:, None], strict=True)],
        image_id=image_id,
        study=study.name,
        inputs=study.manifest.graph["inputs"],
        input_scales=study.manifest.graph["input_scales"],
        usual=study.usual,
    )


def trace_tokens(
    graph: ConceptGraph,
    dictionaries: Sequence[Dictionary],
    tokens: np.ndarray,
    codes: Sequence[Codes],
    *,
    image_id: str,
    study: str,
    inputs: Inputs,
    input_scales: Sequence[float],
    usual: Usual,
) -> Trace:
    """Trace one image by its class tokens.

    Parameters
    ----------
    graph : ConceptGraph
    dictionaries : sequence of Dictionary
        Of layers 1..L.
    tokens : ndarray of float32, shape (n_layers, d_model)
    codes : sequence of Codes
        Of layers 1..L, one row each: what the dictionaries make of the tokens.
    image_id, study : str
        What the trace is of.
    inputs, input_scales
        As for `trace_codes`.
    usual : Usual
        By which it is judged whether the study has seen such images.
    """
    explained, pre_activations = [], []
    for token, dictionary, code in zip(tokens[:, None], dictionaries, codes, strict=True):
        pre_activations.append(dictionary.pre_activations(token)[0])
        decoded = dictionary.decode(code)
        explained.append(float(explained_share(token, decoded, dictionary.mean)[0]))
    trace = trace_codes(
        graph,
        [code.row(0) for code in codes],
        image_id=image_id,
        study=study,
        explained=explained,
        inputs=inputs,
        input_scales=input_scales,
        pre_activations=pre_activations,
    )
    unusual = usual.is_unusual(tokens, explained, surprises(trace))
    return dataclasses.replace(trace, unusual=unusual)


def model_folder(study: Study) -> Path:
    """Return where the model of a study lies.

    The folder ``model`` inside the study is taken first, then the one named by the environment
    variable `CGRAPH_MODEL_DIR`, then the one the study was built from.

    Raises
    ------
    ModelError
        If none of them is there; the message says where it was looked for.
    """
    candidates = [study.path / "model"]
    if os.environ.get(MODEL_VARIABLE):
        candidates.append(Path(os.environ[MODEL_VARIABLE]))
    with suppress(StudyError, KeyError, TypeError):
        candidates.append(study.path / read_json(study.path / BUILD_RECORD)["sources"]["model"])
    for folder in candidates:
        if not is_remote(folder) and folder.is_dir():  # weights are read from a disk
            return folder
    model, fetch = study.manifest.model, ""
    if "commit" in model:
        from cgraph.model_source import cached_model

        fetched = cached_model(model["id"], model["commit"])
        if fetched is not None:
            return fetched
        fetch = (
            f" `hf download {model['id']} --revision {model['commit']}` fetches it from the hub."
        )
    raise ModelError(
        f"The model {study.manifest.model['id']!r} of study {study.name!r} was not found. Looked "
        f"for: {', '.join(str(folder) for folder in dict.fromkeys(candidates))}. Set "
        f"{MODEL_VARIABLE} to its folder. New images, the answer of the network and names by text "
        f"need it; everything else works without.{fetch}"
    )


def missing_model(study: Study) -> str:
    """Return the sentence that says where the model of a study was looked for in vain, or nothing.

    Parameters
    ----------
    study : Study
    """
    try:
        model_folder(study)
    except ModelError as error:
        return str(error)
    return ""


def load_model(study: Study) -> VisionModel:
    """Load the model that a study was built with.

    Raises
    ------
    ModelError
        If it is not found, or its weights are not those the study was built with.
    """
    folder = model_folder(study)
    from cgraph.vit import VisionModel, setting_of

    known = study.manifest.model
    model = VisionModel.load(
        folder,
        device="cpu" if study.config.device == "cpu" else "auto",  # the builder's may be absent
        precision=known.get("precision", "float32"),
        token=setting_of(study.manifest.token),
    )
    if model.weights_hash != study.manifest.model["weights_sha256"]:
        raise ModelError(
            f"The weights in {folder} are not those that study {study.name!r} was built with. Set "
            f"{MODEL_VARIABLE} to the folder of {study.manifest.model['id']!r}."
        )
    prepared = study.manifest.model.get("preprocessing_sha256", model.preprocessing_hash)
    if model.preprocessing_hash != prepared:
        raise ModelError(
            f"The model in {folder} has the weights that study {study.name!r} was built with, but "
            "its preprocessor_config.json prepares images otherwise. Put the former one back."
        )
    return model
