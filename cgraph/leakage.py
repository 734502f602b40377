"""What the graph cannot see: how much of a class token comes from elsewhere than the one before.

The graph reads class tokens alone. But a block makes a class token of the class token before it and
of all other tokens: the patches, and registers where a model has them. Here one or the other is
replaced at the input of a block by its mean over images, each place by its own, and that block is
run for real. What the token loses came from what was replaced. Beside it stand what a token's code
leaves out, and how much better the raw token before foretells a concept than the graph does.

Without a class token there is nothing to tell apart: what is read is made of the patches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from cgraph.config import HELD_OUT, TUNE
from cgraph.readout import dense_figures, scored_concepts, standard_tokens, tokens_written
from cgraph.store import as_array
from cgraph.truth_tables import LEAKAGE_CONCEPT_SCHEMA, LEAKAGE_SCHEMA
from cgraph.workbench import Arrays, Source, Workbench

if TYPE_CHECKING:
    import torch

    from cgraph.study import Study
    from cgraph.vit import VisionModel

MOST_IMAGES = 1000
"""Held-out images whose blocks are run again, a seeded sample of them if there are more."""

MEAN_IMAGES = 512
"""Tune images over which means are taken, a seeded sample of them if there are more."""

MIN_ACTIVE = 10
"""Images that a concept must be active in for a share of its labels."""

CLASS, PATCHES = "class", "patches"
_CALL, _BATCH = 64, 8  # images of one call, and of those that are run at once


def measure(bench: Workbench) -> dict[str, pa.Table]:
    """Return the tables ``leakage`` and ``leakage-concepts``.

    Raises
    ------
    ImageError, ModelError
        If pictures or model cannot be had, or blocks cannot be run one by one.
    """
    from cgraph.block_inputs import check_blocks

    bench.need_pictures()
    study, model = bench.study, bench.model
    check_blocks(model, bench.source.pixels([0]))
    replaced = _replaced_everywhere(bench) if model.class_row is not None else None
    aucs = _token_aucs(bench)
    return _tables(study, replaced, aucs)


# ---- one or the other replaced


def _sample(bench: Workbench, part: str, most: int) -> np.ndarray:
    rows = bench.study.rows(part)
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng((bench.seed, len(rows))).permutation(rows)[:most])


def _calls(rows: np.ndarray) -> list[tuple[int, ...]]:
    return [tuple(map(int, rows[start : start + _CALL])) for start in range(0, len(rows), _CALL)]


def _replaced_everywhere(bench: Workbench) -> Arrays:
    """Return sums over held-out images, in the order of the images whoever took them."""
    tune = _sample(bench, TUNE, MEAN_IMAGES)
    parts = bench.run("leakage-means", input_sums, [(call,) for call in _calls(tune)])
    means = np.sum([part["sum"] for part in parts], axis=0) / len(tune)
    held_out = _sample(bench, HELD_OUT, MOST_IMAGES)
    calls = [(call, means.astype(np.float32)) for call in _calls(held_out)]
    found = bench.run("leakage-replaced", replaced_sums, calls)
    return {name: np.sum([part[name] for part in found], axis=0) for name in found[0]}


def input_sums(source: Source, rows: tuple[int, ...]) -> Arrays:
    """Return sums of what goes into each block, ``(n_layers, n_tokens, d_model)``.

    Parameters
    ----------
    source : Source
    rows : tuple of int
    """
    from cgraph.block_inputs import BlockInputs

    parts = []
    for start in range(0, len(rows), _BATCH):
        kept = BlockInputs.of(source.model, source.pixels(rows[start : start + _BATCH]))
        parts.append(
            [_numbers(kept.output(layer)).sum(axis=0) for layer in range(source.model.n_layers)]
        )
    return {"sum": np.sum(parts, axis=0)}


def _numbers(tokens: torch.Tensor) -> np.ndarray:
    return tokens.double().cpu().numpy()


def replaced_sums(source: Source, rows: tuple[int, ...], means: np.ndarray) -> Arrays:
    """Run every block on its inputs with the class token, or all others, replaced.

    Parameters
    ----------
    source : Source
    rows : tuple of int
    means : ndarray of float32, shape (n_layers, n_tokens, d_model)
        What is put in the place of tokens before each block.

    Returns
    -------
    dict of str to ndarray
        Sums over the images: ``n``; ``token`` (n_layers, d_model) and ``square`` (n_layers,) of the
        token itself; for `CLASS` and `PATCHES` ``change-…`` (n_layers,), squared distances of the
        token made of replaced inputs. For each layer ``active-…`` and ``lost-…-…``: how often each
        concept is active, and is no longer.
    """
    from cgraph.block_inputs import BlockInputs

    study, model = source.study, source.model
    n_layers = model.n_layers
    sums: Arrays = {
        "n": np.array([len(rows)]),
        "token": np.zeros((n_layers, model.d_model)),
        "square": np.zeros(n_layers),
        **{f"change-{what}": np.zeros(n_layers) for what in (CLASS, PATCHES)},
    }
    for layer in range(1, n_layers + 1):
        n_atoms = study.dictionary(layer).n_atoms
        names = (f"active-{layer}", *(f"lost-{what}-{layer}" for what in (CLASS, PATCHES)))
        sums |= {name: np.zeros(n_atoms) for name in names}
    for start in range(0, len(rows), _BATCH):
        kept = BlockInputs.of(model, source.pixels(rows[start : start + _BATCH]))
        for layer in range(1, n_layers + 1):
            before = kept.output(layer - 1)
            # The block is run on the unchanged input, too: nothing but the input differs.
            token = kept.read(kept.run(layer, before)).astype(np.float64)
            labels = study.dictionary(layer).encode(token.astype(np.float32)).dense_labels()
            sums["token"][layer - 1] += token.sum(axis=0)
            sums["square"][layer - 1] += float(np.vdot(token, token))
            sums[f"active-{layer}"] += labels.sum(axis=0)
            for what in (CLASS, PATCHES):
                changed = kept.read(
                    kept.run(layer, replaced(model, before, means[layer - 1], what))
                )
                still = study.dictionary(layer).encode(changed).dense_labels()
                sums[f"change-{what}"][layer - 1] += float(((changed - token) ** 2).sum())
                sums[f"lost-{what}-{layer}"] += (labels & ~still).sum(axis=0)
    return sums


def replaced(
    model: VisionModel, tokens: torch.Tensor, means: np.ndarray, what: str
) -> torch.Tensor:
    """Return tokens ``(n, n_tokens, d_model)`` with some of them replaced.

    Parameters
    ----------
    model : VisionModel
        With a class token.
    tokens : Tensor
    means : ndarray, shape (n_tokens, d_model)
        What is put in their place.
    what : str
        `CLASS`, or `PATCHES` for all tokens but the class token.
    """
    import torch

    mean = torch.as_tensor(means, dtype=tokens.dtype, device=tokens.device)
    chosen = torch.zeros(tokens.shape[1], dtype=torch.bool, device=tokens.device)
    chosen[model.class_row] = True
    if what == PATCHES:
        chosen = ~chosen
    return torch.where(chosen[None, :, None], mean, tokens)


# ---- the token itself as a reference


def _token_aucs(bench: Workbench) -> list[np.ndarray]:
    """Return for each layer from the second on the AUC of every concept from the token before."""
    calls = [(layer, bench.seed) for layer in range(2, bench.study.n_layers + 1)]
    if not tokens_written(bench):
        return [np.full(bench.study.graph.n_concepts(layer), np.nan) for layer, _ in calls]
    return [found["auc"] for found in bench.run("leakage-token", token_auc, calls)]


def token_auc(source: Source, layer: int, seed: int) -> Arrays:
    """Return the held-out AUC of a layer's concepts from the raw tokens of the layer before.

    Parameters
    ----------
    source : Source
        Whose tokens `tokens_written` wrote.
    layer : int
        Whose concepts.
    seed : int

    Returns
    -------
    dict of str to ndarray
        ``auc`` (n_concepts,): NaN of those that are not scored.
    """
    found = np.full(source.study.graph.n_concepts(layer), np.nan)
    scored = scored_concepts(source.study, layer, seed)
    if len(scored):
        inputs = standard_tokens(source, layer - 1)
        found[scored] = dense_figures(source.study, inputs, layer, seed)[0]
    return {"auc": found}


# ---- tables


def _tables(study: Study, sums: Arrays | None, aucs: list[np.ndarray]) -> dict[str, pa.Table]:
    figures = study.evaluation("concepts")
    layers = as_array(figures.column("layer").combine_chunks())
    graph_auc = as_array(figures.column("auc").combine_chunks())
    explained = dict(
        zip(
            study.evaluation("layers").column("layer").to_pylist(),
            study.evaluation("layers").column("explained_variance").to_pylist(),
            strict=True,
        )
    )
    rows, concepts = [], []
    for layer in range(1, study.n_layers + 1):
        change, lost, of_concepts = _of_layer(sums, layer, study.graph.n_concepts(layer))
        total = change[CLASS] + change[PATCHES]
        row: dict[str, float] = {
            "layer": layer,
            "from_class": change[CLASS],
            "from_patches": change[PATCHES],
            "labels_from_class": lost[CLASS],
            "labels_from_patches": lost[PATCHES],
            "left_out": 1 - explained[layer],
            "auc_graph": np.nan,
            "auc_token": np.nan,
            "outside": change[PATCHES] / total if total > 0 else np.nan,
        }
        if layer > 1:
            scored = study.graph.column(layer, "scored")
            both = (graph_auc[layers == layer], aucs[layer - 2])
            # Of the same concepts: in a sample of many images some have no figure.
            known = scored & np.isfinite(both[1])
            known = known if known.any() else scored
            for name, found in zip(("auc_graph", "auc_token"), both, strict=True):
                row[name] = float(found[known].mean()) if known.any() else np.nan
            concepts.append(
                pa.table(
                    {
                        "layer": np.full(len(scored), layer, np.int16),
                        "index": np.arange(len(scored), dtype=np.int32),
                        "auc_graph": both[0],
                        "auc_token": both[1],
                        "lost_from_class": of_concepts[CLASS],
                        "lost_from_patches": of_concepts[PATCHES],
                    }
                ).cast(LEAKAGE_CONCEPT_SCHEMA)
            )
        rows.append(row)
    return {
        "leakage": pa.Table.from_pylist(rows, schema=LEAKAGE_SCHEMA),
        "leakage-concepts": pa.concat_tables(
            [LEAKAGE_CONCEPT_SCHEMA.empty_table(), *concepts]
        ).combine_chunks(),
    }


def _of_layer(
    sums: Arrays | None, layer: int, n_concepts: int
) -> tuple[dict[str, float], dict[str, float], dict[str, np.ndarray]]:
    """Return relative changes, shares of labels lost, and the same of each concept."""
    change = dict.fromkeys((CLASS, PATCHES), float("nan"))
    lost = dict(change)
    of_concepts = {what: np.full(n_concepts, np.nan) for what in (CLASS, PATCHES)}
    if sums is None:
        return change, lost, of_concepts
    n, total = float(sums["n"][0]), sums["token"][layer - 1]
    spread = float(sums["square"][layer - 1] - total @ total / n)
    active = sums[f"active-{layer}"]
    for what in (CLASS, PATCHES):
        gone = sums[f"lost-{what}-{layer}"]
        if spread > 0:
            change[what] = float(np.sqrt(sums[f"change-{what}"][layer - 1] / spread))
        lost[what] = float(gone.sum() / active.sum()) if active.any() else float("nan")
        enough = active >= MIN_ACTIVE
        of_concepts[what][enough] = gone[enough] / active[enough]
    return change, lost, of_concepts
