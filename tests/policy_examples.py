"""Subjects for tests of policies: graphs written by hand, with labels of a few images."""

from __future__ import annotations

import numpy as np
from graph_examples import hand_graph, random_graph

from cgraph.attributes import attribute_table
from cgraph.concept import ConceptId
from cgraph.concept_search import Named
from cgraph.edits import RolloutSettings
from cgraph.policy_file import read_policy
from cgraph.policy_subject import Rolled, Subject

N_IMAGES = 240


def split_of(n=N_IMAGES):
    """Return parts in turns: two of four images train, one tune, one held out."""
    return np.array(["train", "tune", "train", "held-out"])[np.arange(n) % 4]


def random_labels(graph, seed=0, n=N_IMAGES, share=0.4):
    """Return labels of every layer at random."""
    rng = np.random.default_rng(seed)
    return {
        layer: rng.random((n, graph.n_concepts(layer))) < share
        for layer in range(1, graph.n_layers + 1)
    }


def subject(graph=None, labels=None, *, names=None, attributes=None, rule="max", **more):
    """Return a subject: the hand-computed graph with random labels if nothing else is given."""
    graph = graph or hand_graph()
    labels = labels or random_labels(graph)
    n = len(labels[1])
    values = dict(
        name="hand",
        graph=graph,
        named=Named(graph, names or {}),
        image_ids=[f"image-{row:03d}" for row in range(n)],
        split=split_of(n),
        labels=lambda layer, rows: labels[layer][rows],
        known=lambda: attribute_table(attributes or [{}] * n),
        rolled=lambda start, outputs: Rolled(graph, RolloutSettings(rule=rule, start=start)),
    )
    return Subject(**(values | more))


def random_subject(sizes, density, seed, **more):
    """Return a subject of a random graph."""
    graph, _ = random_graph(sizes, density, seed)
    return subject(graph, random_labels(graph, seed), **more)


def policy(rules, sets, **head):
    """Return a policy from rules and sets as dicts; ids of a set as one text."""
    lines = ["[policy]", *(f"{name} = {toml(value)}" for name, value in head.items())]
    for name, value in sets.items():
        entry = {"ids": value.split()} if isinstance(value, str) else value
        lines += [f"[sets.{name}]", *(f"{key} = {toml(item)}" for key, item in entry.items())]
    for rule in rules:
        lines += ["[[rules]]", *(f"{key} = {toml(item)}" for key, item in rule.items())]
    return read_policy("\n".join(lines))


def toml(value):
    """Return a value as TOML."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def ids(text):
    """Return concepts from ids with spaces between."""
    return [ConceptId.parse(part) for part in text.split()]
