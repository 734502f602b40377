"""The last stage of a build: examples, traced and stored, that the app opens on.

Same rules as in `cgraph.stages`: one call, one thread, files of its own.
"""

from __future__ import annotations

import json

import numpy as np

from cgraph.config import HELD_OUT
from cgraph.decoding import thumbnail
from cgraph.examples import N_EXAMPLES, choose_examples
from cgraph.graph import ConceptGraph
from cgraph.image_parts import sampled_rows
from cgraph.manifest import (
    CONCEPTS,
    EDGES,
    EXAMPLES,
    IMAGES,
    NAMES,
    USUAL,
    evaluation_file,
    example_file,
)
from cgraph.naming import names_from_table
from cgraph.novelty import Usual
from cgraph.stages import Job, Outcome, codes_of, dictionary_of, images_of, split_of, tokens_of
from cgraph.store import read_table, read_tensors, to_json, write_bytes
from cgraph.trace import Trace
from cgraph.tracing import trace_tokens

PICTURE_PX = 384
"""Longest side of the stored pictures."""

MAX_CANDIDATES = 4096
"""Held-out images among which examples are chosen; of more a seeded sample is taken."""

_NAMED = 0.5  # what a name adds to the worth of a concept that is predicted perfectly


def store_examples(job: Job, study: str) -> Outcome:
    """Choose a dozen held-out images of a study; store their pictures and finished traces."""
    column = read_table(job.folder / IMAGES, ["image_id"]).column(0)
    rows = sampled_rows(split_of(job), HELD_OUT, MAX_CANDIDATES, job.config.seed)
    (shown,) = codes_of(job, job.n_layers, rows)
    places = choose_examples(shown, np.arange(len(rows)), _worth(job), 2 * N_EXAMPLES)
    candidates = rows[places].tolist()
    image_ids = {row: column[row].as_py() for row in candidates}
    layers = range(1, job.n_layers + 1)
    rising = np.sort(candidates)
    tokens = np.stack([tokens_of(job, layer).take(rising) for layer in layers])
    usual = Usual.from_tensors(read_tensors(job.folder / USUAL))
    codes = [codes_of(job, layer, rising)[0] for layer in layers]
    graph = ConceptGraph.from_tables(
        read_table(job.folder / CONCEPTS), read_table(job.folder / EDGES)
    )
    dictionaries = [dictionary_of(job, layer) for layer in layers]
    image_set = images_of(job)
    wanted = set(image_ids.values())
    place_of = {name: place for place, name in enumerate(image_set.image_ids) if name in wanted}

    def trace_of(row: int) -> Trace:
        place = int(np.searchsorted(rising, row))
        return trace_tokens(
            graph,
            dictionaries,
            tokens[:, place],
            [of_layer.take(np.array([place])) for of_layer in codes],
            image_id=image_ids[row],
            study=study,
            inputs=job.config.predictor.inputs,
            input_scales=job.input_scales,
            usual=usual,
        )

    traces = {row: trace_of(row) for row in candidates}
    # An image unlike the others is no example of them; it is taken where there are no others.
    chosen = sorted(candidates, key=lambda row: bool(traces[row].unusual))[:N_EXAMPLES]
    index, files = [], [EXAMPLES]
    for number, row in enumerate(chosen, start=1):
        entry = {
            "row": row,
            "image_id": image_ids[row],
            "picture": example_file(number, "jpg"),
            "trace": example_file(number, "json"),
        }
        picture = image_set.picture(place_of[image_ids[row]], PICTURE_PX)
        write_bytes(job.folder / entry["picture"], thumbnail(picture, PICTURE_PX))
        # Without spaces: a trace is a long list of numbers that nobody reads as text.
        text = json.dumps(traces[row].to_dict(), separators=(",", ":"), allow_nan=False)
        write_bytes(job.folder / entry["trace"], text.encode())
        index.append(entry)
        files += [entry["picture"], entry["trace"]]
    write_bytes(job.folder / EXAMPLES, to_json(index))
    return Outcome(tuple(files))


def _worth(job: Job) -> np.ndarray:
    """Return how much it is worth to show each concept of the last layer.

    How far its predictor is better than chance (0 to 1), and more if it has a name; nothing for a
    concept without figures.
    """
    figures = read_table(job.folder / evaluation_file("concepts"))
    last = figures.column("layer").to_numpy() == job.n_layers
    areas = figures.column("auc").to_numpy()[last]
    worth = np.maximum(np.nan_to_num(2 * areas - 1), 0)
    for concept, name in names_from_table(read_table(job.folder / NAMES)).items():
        if concept.layer == job.n_layers:
            worth[concept.index] *= 1 + _NAMED * max(name.strength_tune, 0)
    return worth
