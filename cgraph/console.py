"""What commands print: progress, and the figures of a study."""

from __future__ import annotations

import sys
from typing import Any


class ProgressPrinter:
    """Prints progress: one moving line on a terminal, one line for each stage elsewhere."""

    def __init__(self) -> None:
        self._moving = sys.stderr.isatty()
        self._stage = ""
        self._width = 0

    def __call__(self, progress: Any, remark: str = "") -> None:
        """Print how far a build is, with a remark if there is one."""
        text = f"{progress}; {remark}" if remark else str(progress)
        if self._moving:
            if progress.stage != self._stage and self._stage:
                print(file=sys.stderr)
            print(f"\r{text:<{self._width}}", end="", file=sys.stderr, flush=True)
            self._width = len(text)
        elif progress.stage != self._stage or progress.done == progress.total:
            print(text, file=sys.stderr, flush=True)
        self._stage = progress.stage

    def end(self) -> None:
        """Leave the moving line."""
        if self._moving and self._stage:
            print(file=sys.stderr)


def print_info(info: dict[str, Any]) -> None:
    """Print what a study is, and its held-out figures."""
    model, images, config = info["model"], info["images"], info["config"]
    dictionary = config["dictionary"]
    print(
        f"{info['name']}: {model['id']} ({model['family']}, {model['n_layers']} layers of width "
        f"{model['d_model']}) on {images['n']} images of {images['id']}"
    )
    commit = f", revision {model['commit'][:12]}" if "commit" in model else ""
    numbers = f", in {model['precision']}" if "precision" in model else ""
    print(f"read after every layer: {info['token_words']}{numbers}{commit}")
    print(
        f"preset {config['preset']}, {dictionary['method']}, at most {dictionary['max_nnz']} "
        f"active of {info['layers'][0]['n_concepts']}, seed {config['seed']}, "
        f"{info['n_edges']} edges"
    )
    print(
        f"split: {images['n_train']} train, {images['n_tune']} tune, "
        f"{images['n_held_out']} held out; all figures below are of held-out images\n"
    )
    print_rows(
        ["layer", "explained", "nonzeros", "dead", "rare", "named"],
        [
            [
                layer["layer"],
                number(layer["explained_variance"]),
                number(layer["nonzeros_mean"], 1),
                layer["n_dead"],
                layer["n_rare"],
                n_named,
            ]
            for layer, n_named in zip(info["layers"], info["n_named"], strict=True)
        ],
    )
    print(
        "\nAUC of the graph beside that of the best single parent and of the nearest atom's "
        "pre-activation;\naverages over the scored concepts, of those alive, of all\n"
    )
    print_rows(
        ["pair", "AUC", "std", "median", "one parent", "nearest", "AP", "prevalence", "F1 bal",
         "F1 nat", "parents", "scored", "alive", "all"],
        [
            [
                f"{pair['left']}→{pair['right']}",
                *[
                    number(pair[name])
                    for name in (
                        "auc_mean", "auc_std", "auc_median", "auc_best_parent_mean",
                        "auc_nearest_mean", "ap_mean", "prevalence_mean", "f1_balanced_mean",
                        "f1_natural_mean",
                    )
                ],
                number(pair["parents_mean"], 1),
                pair["n_scored"],
                pair["n_alive"],
                pair["n_concepts"],
            ]
            for pair in info["pairs"]
        ],
    )  # fmt: skip
    if info.get("outputs"):
        _print_outputs(info["outputs"])
    if "quality" in info:
        _print_quality(info["quality"])
    if info.get("truth"):
        _print_truth(info["truth"])


def _print_outputs(outputs: list[dict[str, Any]]) -> None:
    print("\noutputs: what the model says in the end, predicted from the last layer\n")
    print_rows(
        ["output", "train", "held out", "AUC", "AP", "F1", "parents"],
        [
            [
                f"O/{node['name']}", node["n_train"], node["n_held_out"],
                *(number(node[name]) for name in ("auc", "ap", "f1")), node["n_parents"],
            ]
            for node in outputs
        ],
    )  # fmt: skip


def _print_truth(truth: dict[str, float | int]) -> None:
    """Print what was measured of how far the graph tells the truth; a dash where it was not."""

    def share(name: str) -> str:
        return f"{truth[name]:.1%}" if name in truth else "–"

    print("\ndoes the graph tell the truth? cgraph evaluate measured\n")
    rows = []
    if "edges_measured" in truth:
        rows += [
            ["edges tested in the network", f"{truth['edges_measured']:,}"],
            [
                "supported, of positive weight from the second pair on",
                share("edges_supported_share"),
            ],
            ["… non-edges that pass the same test", share("controls_supported_share")],
            ["… specific, beyond geometry", share("edges_specific_share")],
            ["… contradicted", share("edges_contradicted_share")],
            ["labels lost without all active parents", share("joint_removal_lost_share")],
        ]
    if "rollout_gap_to_direct" in truth:
        gap = f"{truth['rollout_gap_to_direct']:+.3f}"
        rows.append(["AUC of a fit from layer 1 to the last, above the rollout", gap])
    if "atoms_matched_share" in truth:
        rows.append(["concepts that another seed finds again", share("atoms_matched_share")])
    for name, change in _CHANGES.items():
        if name in truth:
            rows.append([f"labels of the last layer that flip under {change}", f"{truth[name]:g}"])
    width = max(len(what) for what, _ in rows)
    for what, value in rows:
        print(f"{what:<{width}}  {value:>7}")


_CHANGES = {
    "flips_under_jpeg": "JPEG of quality 75",
    "flips_under_noise": "noise of deviation 5",
    "flips_under_attack": "an attack of 1 level",
}
# Figures of the measurement of flips, and of what each is.


def _print_quality(quality: dict[str, Any]) -> None:
    print("\nheld-out scenes: AUC from the last class token; correlation with the best concept\n")
    print_rows(
        ["attribute", "AUC", "correlation"],
        [
            [name, number(quality["auc"].get(name)), number(quality["mcc"].get(name))]
            for name in dict.fromkeys([*quality["auc"], *quality["mcc"]])
        ],
    )
    print(
        f"captions find colour and shape of {quality['zero_shot']['conjunction']:.1%} of the "
        "scenes with one object, among 64 pairs"
    )
    if "word" in quality:
        _print_word(quality["word"])


def _print_word(word: dict[str, Any]) -> None:
    """Print how a word of the model is used on every ground."""
    print(
        f"\nthe word {word['text']!r}, which holds for {word['holds']}, on held-out scenes of "
        "every ground\n"
    )
    print_rows(
        ["ground", "scenes", "accuracy", "said where it holds", "said where it does not"],
        [
            [
                row["background"],
                row["n_with"] + row["n_without"],
                *(
                    "–" if row[name] is None else f"{row[name]:.1%}"
                    for name in ("accuracy", "recall", "false_alarms")
                ),
            ]
            for row in word["grounds"]
        ],
    )


def print_rows(head: list[str], rows: list[list[Any]]) -> None:
    """Print a table whose columns are as wide as they must be."""
    cells = [head, *[[str(value) for value in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        print("  ".join(f"{value:>{width}}" for value, width in zip(row, widths, strict=True)))


def number(value: float | None, digits: int = 3) -> str:
    """Return a number for people, a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"
