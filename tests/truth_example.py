"""Plausible, seeded tables of every measurement of a study's truth, written without measuring.

What they say is made up; their shapes, words and sums are those of real ones. A table that is
added to `TABLES` later is filled column by column, as far as its columns are of a known kind.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cgraph import truth_tables as words
from cgraph.manifest import MANIFEST, Manifest
from cgraph.measurements import keep_tables
from cgraph.store import to_json, write_bytes
from cgraph.study import Study
from cgraph.truth_tables import TABLES

RULES = ("max", "top-k", "sample", "probabilities", words.REFITTED)
PROBABILITIES = ("balanced", "prior", "calibrated")
SECONDS = 12.5
"""How long each measurement is said to have taken."""

TEXTS = {"verdict": words.VERDICTS, "origin": words.ORIGINS, "rule": RULES, "drawn": ("",)}
"""What a column of text may hold in a table that is filled without knowing it."""


def measured_copy(
    study: Study | Path, folder: Path, only: Sequence[str] = (), *, seed: int = 0
) -> Study:
    """Copy a study and write the tables of all measurements, or of some, into the copy.

    Parameters
    ----------
    study : Study or Path
    folder : Path
        Where the copy is to lie; must not exist.
    only : sequence of str, optional
        Measurements to write; all if left out.
    seed : int

    Raises
    ------
    LookupError
        If a table has columns that nothing is known of here.
    """
    copy = unmeasured_copy(study, folder)
    for name in only or TABLES:
        keep_tables(folder, name, example_tables(copy, name, seed), SECONDS)
    return Study.open(folder)


def unmeasured_copy(study: Study | Path, folder: Path) -> Study:
    """Copy a study without what was measured of its truth.

    Parameters
    ----------
    study : Study or Path
    folder : Path
        Where the copy is to lie; must not exist.
    """
    shutil.copytree(study.path if isinstance(study, Study) else study, folder)
    shutil.rmtree(folder / words.FOLDER, ignore_errors=True)
    manifest = Manifest.read(folder)
    files = {path: file for path, file in manifest.files.items() if file.stage != words.STAGE}
    write_bytes(folder / MANIFEST, to_json(replace(manifest, files=files).to_dict()))
    return Study.open(folder)


def example_tables(study: Study, name: str, seed: int = 0) -> dict[str, pa.Table]:
    """Return made-up tables of one measurement; the same for the same seed."""
    maker = _Maker(study, seed)
    return {table: maker.table(table, schema) for table, schema in TABLES[name].items()}


class _Maker:
    """Makes the rows of a table."""

    def __init__(self, study: Study, seed: int) -> None:
        self.study, self.seed = study, seed
        self.n_layers = study.n_layers

    def table(self, table: str, schema: pa.Schema) -> pa.Table:
        rng = np.random.default_rng([self.seed, *table.encode()])
        known = getattr(self, "_" + table.replace("-", "_"), None)
        if known is not None:
            return pa.Table.from_pylist(known(rng), schema=schema)
        columns = self._keys(table, set(schema.names))
        n = len(next(iter(columns.values())))
        for field in schema:
            if field.name not in columns:
                columns[field.name] = _values(table, field, n, rng)
        return pa.table({name: columns[name] for name in schema.names}).cast(schema)

    def _keys(self, table: str, names: set[str]) -> dict[str, np.ndarray]:
        """Return the columns that say what the rows of an unknown table are about."""
        pairs = np.array(self._spans())
        if {"parent", "child"} <= names:
            return self._edges()
        if {"start", "child_layer"} <= names:
            layers = self._edges()["child_layer"]
            later = [layers[layers > start] for start in range(1, self.n_layers)]
            starts = np.repeat(np.arange(1, self.n_layers), [len(found) for found in later])
            return {"start": starts, "child_layer": np.concatenate(later)}
        if {"start", "layer", "index"} <= names:
            found = [
                (start, layer, index)
                for start, layer in self._spans()
                for index in range(self.study.graph.n_concepts(layer))
            ]
            return dict(zip(("start", "layer", "index"), np.array(found).T, strict=True))
        if {"layer", "index"} <= names:
            concepts = self._concepts(range(1, self.n_layers + 1))
            return {key: np.array([row[key] for row in concepts]) for key in ("layer", "index")}
        if {"start", "layer"} <= names:
            return dict(zip(("start", "layer"), pairs.T, strict=True))
        if {"left", "right"} <= names:
            left = np.arange(1, self.n_layers)
            return {"left": left, "right": left + 1}
        if "layer" in names:
            return {"layer": np.arange(1, self.n_layers + 1)}
        raise LookupError(f"{table}: write its rows here, for nothing says what they are about")

    def _edges(self) -> dict[str, np.ndarray]:
        layers = range(2, self.n_layers + 1)
        edges = [self.study.graph.layer_edges(layer) for layer in layers]
        child_layer = np.repeat(layers, [len(found.parents) for found in edges])
        children = [
            np.repeat(np.arange(len(found.starts) - 1), np.diff(found.starts)) for found in edges
        ]
        return {
            "parent_layer": child_layer - 1,
            "parent": np.concatenate([found.parents for found in edges]),
            "child_layer": child_layer,
            "child": np.concatenate(children),
        }

    def _concepts(self, layers: Sequence[int]) -> list[dict[str, Any]]:
        return [
            {"layer": layer, "index": index}
            for layer in layers
            for index in range(self.study.graph.n_concepts(layer))
        ]

    def _scored(self, layer: int) -> int:
        return int(self.study.graph.column(layer, "scored").sum())

    def _rollout(self, rng: Any) -> list[dict[str, Any]]:
        rows = []
        worth = dict(zip(RULES, (0.25, 0.27, 0.22, 0.3, 0.42), strict=True))
        for start, layer in self._spans():
            for rule, probability, forced in product(RULES, PROBABILITIES, (False, True)):
                depth = 0 if forced else layer - start - 1
                auc = 0.5 + worth[rule] * 0.9**depth + rng.normal(0, 0.004)
                active = 8.0 * (2.5 if probability == "balanced" else 1) + rng.normal(0, 0.2)
                rows.append(
                    {"start": start, "layer": layer, "rule": rule, "probability": probability}
                    | {"forced": forced, "auc": auc, "ap": auc**3, "prevalence": 0.1}
                    | {"f1": auc - 0.2, "jaccard": auc - 0.35, "n_active": active}
                    | {"n_active_true": 8.0, "n_scored": self._scored(layer)}
                )
        return rows

    def _spans(self) -> list[tuple[int, int]]:
        layers = range(1, self.n_layers + 1)
        return [(start, layer) for start in layers for layer in layers if layer > start]

    def _decoded(self, rng: Any) -> list[dict[str, Any]]:
        rows = []
        for start, probability in product(range(1, self.n_layers), PROBABILITIES):
            for place, rule in enumerate(RULES):
                key = {"start": start, "rule": rule, "probability": probability}
                rows.append(key | self._decoding(0.3 + 0.05 * place + 0.02 * start))
        for rule, cosine in ((words.TRUE_LABELS, 0.8), (words.MEAN_TOKEN, 0.0)):
            key = {"start": 0, "rule": rule, "probability": ""}
            rows.append(key | self._decoding(cosine))
        return rows

    def _decoding(self, cosine: float) -> dict[str, Any]:
        n = len(self.study.rows("held-out"))
        figures = {"cosine": cosine, "explained_variance": cosine**2, "same_top": 0.1 + cosine / 2}
        return figures | {"n_images": n, "decoder": "ridge"}

    def _references(self, rng: Any) -> list[dict[str, Any]]:
        rows = []
        worth = (0.5, 0.72, 0.8, 0.62, 0.85, 0.78, 0.9, 0.84)
        onwards = (words.DENSE, words.TOKEN, words.DIRECT)
        for start, layer in self._spans():
            for reference, best in zip(words.REFERENCES, worth, strict=True):
                next_one = layer == start + 1 and reference != words.DIRECT
                if next_one or (layer == self.n_layers and reference in onwards):
                    fall = 0.97 ** (layer - start - 1)
                    auc = 0.5 + (best - 0.5) * fall + rng.normal(0, 0.005) * (best > 0.5)
                    rows.append(
                        {"start": start, "layer": layer, "reference": reference, "auc": auc}
                        | {"ap": 0.1 if best == 0.5 else auc**3, "prevalence": 0.1}
                        | {"n_scored": self._scored(layer)}
                    )
        return rows

    def _evidence(self, rng: Any) -> list[dict[str, Any]]:
        rows = []
        shares = (0.3, 0.4, 0.15, 0.05, 0.1)
        edges = {name: values.tolist() for name, values in self._edges().items()}
        for ends in zip(*edges.values(), strict=True):
            key = dict(zip(edges, ends, strict=True))
            verdict = str(rng.choice(words.VERDICTS, p=shares))
            if verdict == words.NOT_MEASURED:
                unknown = {
                    field.name: float("nan")
                    for field in words.EVIDENCE_SCHEMA
                    if pa.types.is_floating(field.type)
                }
                rows.append(key | unknown | {"n_images": 3, "origin": "", "verdict": verdict})
                continue
            low, high = {"specific": (0.4, 1.2), "supported": (0.2, 0.8)}.get(verdict, (-0.05, 0.1))
            effect = -0.4 if verdict == words.CONTRADICTED else float(rng.uniform(low, high))
            carried, beyond = effect * rng.random(), effect * 0.5 * (verdict == words.SPECIFIC)
            origin = str(rng.choice(words.ORIGINS[:3])) if effect > 0.2 else words.NO_ORIGIN
            rows.append(
                key
                | {"n_images": int(rng.integers(20, 33)), "effect": effect}
                | {"effect_low": effect - 0.1, "effect_high": effect + 0.1, "control": 0.02}
                | {"q_supported": 0.01 if effect > 0.2 else 0.4, "beyond": beyond}
                | {"beyond_low": beyond - 0.1, "beyond_high": beyond + 0.1}
                | {"q_specific": 0.01 if verdict == words.SPECIFIC else 0.5}
                | {"carried": carried, "computed": effect - carried}
                | {"computed_low": effect - carried - 0.1, "computed_high": effect - carried + 0.1}
                | {"flips": max(0.0, effect / 3), "flips_control": 0.02}
                | {"origin": origin, "verdict": verdict}
            )
        return rows

    def _evidence_pairs(self, rng: Any) -> list[dict[str, Any]]:
        evidence = self.table("evidence", words.EVIDENCE_SCHEMA).to_pylist()
        rows = []
        for right in range(2, self.n_layers + 1):
            edges = [row for row in evidence if row["child_layer"] == right]
            n = {word: sum(row["verdict"] == word for row in edges) for word in words.VERDICTS}
            origins = [row["origin"] for row in edges]
            measured = len(edges) - n[words.NOT_MEASURED]
            rows.append(
                {"left": right - 1, "right": right, "n_edges": len(edges), "n_measured": measured}
                | {f"n_{word.replace(' ', '_')}": n[word] for word in words.VERDICTS[:4]}
                | {"n_positive": measured, "n_positive_specific": n[words.SPECIFIC]}
                | {"n_positive_supported": n[words.SUPPORTED]}
                | {"n_positive_contradicted": n[words.CONTRADICTED]}
                | {"n_controls": measured, "n_controls_supported": measured // 5}
                | {"n_carried": origins.count(words.CARRIED)}
                | {"n_computed": origins.count(words.COMPUTED)}
                | {"n_both": origins.count(words.BOTH_ORIGINS)}
                | {"weight_effect": float(rng.uniform(0.3, 0.6))}
                | {"weight_effect_shuffled": 0.01, "weight_effect_shuffled_high": 0.08}
                | {"joint_lost": float(rng.uniform(0.4, 0.7)), "joint_control_lost": 0.15}
                | {"n_joint": 200, "max_error": 2e-6}
            )
        return rows

    def _factors(self, rng: Any) -> list[dict[str, Any]]:
        rows = []
        for layer in range(1, self.n_layers + 1):
            alive = np.flatnonzero(self.study.graph.column(layer, "alive"))
            for value in ("red", "green", "blue"):
                best, second = (int(i) for i in rng.choice(alive, 2, replace=False))
                area = float(rng.uniform(0.7, 0.99))
                rows.append(
                    {"layer": layer, "attribute": "colour", "value": value, "n_images": 120}
                    | {"concept": best, "auc": area, "correlation": area - 0.3}
                    | {"information": area**4, "runner_up": second, "runner_up_auc": area - 0.1}
                    | {"gap": 0.2, "predicted": min(1.0, area + 0.02), "own": area > 0.9}
                )
        return rows

    def _factor_layers(self, rng: Any) -> list[dict[str, Any]]:
        found = self.table("factors", words.FACTOR_SCHEMA).to_pylist()
        rows = []
        for layer in range(1, self.n_layers + 1):
            own = sum(row["own"] for row in found if row["layer"] == layer)
            rows.append(
                {"layer": layer, "mig": 0.2, "disentanglement": float(rng.uniform(0.4, 0.6))}
                | {"completeness": float(rng.uniform(0.3, 0.5)), "informativeness": 0.93}
                | {"n_reached": 3, "n_own": own, "n_factors": 3}
            )
        return rows

    def _stable_concepts(self, rng: Any) -> list[dict[str, Any]]:
        rows = []
        for key in self._concepts(range(1, self.n_layers + 1)):
            cosine = float(rng.uniform(0.6, 1.0))
            rows.append(
                key
                | {"match": key["index"], "cosine": cosine, "label_jaccard": cosine**4}
                | {"found_again": cosine > 0.9}
            )
        return rows

    def _stable_layers(self, rng: Any) -> list[dict[str, Any]]:
        rows = []
        edges = self._edges()["child_layer"]
        for layer in range(1, self.n_layers + 1):
            alive = int(self.study.graph.column(layer, "alive").sum())
            n = int((edges == layer).sum())
            again, matched = int(alive * rng.uniform(0.2, 0.5)), int(n * rng.uniform(0.1, 0.3))
            rows.append(
                {"layer": layer, "n_alive": alive, "n_found_again": again, "cosine": 0.8}
                | {"n_found_rotated": 0, "cosine_rotated": 0.3, "n_found_tokens": again // 4}
                | {"cosine_tokens": 0.6, "jaccard": 0.5, "jaccard_chance": 0.05}
                | {"n_edges": n, "n_edges_matched": matched, "n_edges_found_again": matched // 2}
                | {"n_edges_chance": matched / 10, "n_edges_found_bags": n * 4 // 5}
                | {"n_edges_chance_bags": n / 10}
            )
        return rows

    def _leakage(self, rng: Any) -> list[dict[str, Any]]:
        rows = []
        for layer in range(1, self.n_layers + 1):
            own, patches = float(rng.uniform(0.5, 0.9)), float(rng.uniform(0.2, 0.6))
            rows.append(
                {"layer": layer, "from_class": own, "from_patches": patches}
                | {"labels_from_class": own * 0.9, "labels_from_patches": patches * 0.8}
                | {"left_out": float(rng.uniform(0.05, 0.4)), "outside": patches / (own + patches)}
                | {"auc_graph": float("nan") if layer == 1 else 0.85}
                | {"auc_token": float("nan") if layer == 1 else 0.9}
            )
        return rows

    def _leakage_concepts(self, rng: Any) -> list[dict[str, Any]]:
        rows = []
        for key in self._concepts(range(2, self.n_layers + 1)):
            auc, own, patches = rng.uniform(0.75, 0.95), rng.random(), rng.random()
            rows.append(
                key
                | {"auc_graph": float(auc), "auc_token": float(min(1.0, auc + 0.05))}
                | {"lost_from_class": float(own), "lost_from_patches": float(patches)}
            )
        return rows

    def _flips(self, rng: Any) -> list[dict[str, Any]]:
        sizes = {words.JPEG: (75, 25), words.NOISE: (5,), words.BLUR: (1,), words.SIGNS: (1, 4)}
        sizes[words.ATTACK] = (1, 4)
        rows = []
        for layer in range(1, self.n_layers + 1):
            for kind, size in ((kind, size) for kind, own in sizes.items() for size in own):
                flips = int(rng.integers(0, 4))
                rows.append(
                    {"layer": layer, "perturbation": kind, "size": size, "n_images": 100}
                    | {"median": flips, "high": flips + 2.5, "mean": flips + 0.25}
                    | {"most": flips + 4, "turned_on": flips / 2, "turned_off": flips / 2}
                    | {"n_active": 8.0, "rms": float(size)}
                )
        return rows

    def _direction(self, rng: Any) -> list[dict[str, Any]]:
        rows = []
        for lower in range(1, self.n_layers):
            alive = np.flatnonzero(self.study.graph.column(lower, "alive"))
            for _ in range(6):
                a, b = (int(i) for i in rng.choice(alive, 2, replace=False))
                verdict = str(rng.choice(words.DIRECTIONS))
                to = {
                    words.A_TO_B: (0.5, 0.0),
                    words.B_TO_A: (0.0, 0.5),
                    words.BOTH_WAYS: (0.5, 0.4),
                }
                a_to_b, b_to_a = to.get(verdict, (0.02, -0.01))
                rows.append(
                    {"lower": lower, "upper": lower + 1, "a_lower": a, "a_upper": a}
                    | {"b_lower": b, "b_upper": b, "association": float(rng.uniform(0.2, 0.8))}
                    | {"a_to_b": a_to_b, "a_to_b_low": a_to_b - 0.1, "a_to_b_high": a_to_b + 0.1}
                    | {"b_to_a": b_to_a, "b_to_a_low": b_to_a - 0.1, "b_to_a_high": b_to_a + 0.1}
                    | {"n_images": 32, "verdict": verdict}
                    | {"drawn": str(rng.choice(["", words.NEITHER]))}
                )
        return rows


def _values(table: str, field: pa.Field, n: int, rng: Any) -> np.ndarray:
    """Return values of a column of which nothing is known but its type."""
    if pa.types.is_string(field.type):
        if field.name not in TEXTS:
            raise LookupError(f"{table}: say in TEXTS what {field.name!r} may hold")
        return rng.choice(TEXTS[field.name], n)
    if pa.types.is_boolean(field.type):
        return rng.random(n) < 0.7
    if pa.types.is_integer(field.type):
        return rng.integers(0, 40, n)
    return rng.random(n)
