"""The command ``cgraph compare``: two studies side by side."""

from __future__ import annotations

import argparse
import csv
import io
import json
from pathlib import Path
from typing import Any

_WAYS = ("auto", "cosines", "labels")
_MOVED = 10  # names that are printed; files have all


def add_parser(commands: Any) -> None:
    """Add the command to those of the command line."""
    compare = commands.add_parser(
        "compare",
        help="say which concepts and edges of a study another one has, too",
        description="Compare two studies layer by layer: two seeds, two models, or a model before "
        "and after fine-tuning. Concepts are paired by the cosines of their atoms, or by their "
        "labels on shared images where the tokens are of different spaces. See docs/compare.md.",
    )
    compare.add_argument("study", help="a study folder or zip file")
    compare.add_argument("other", metavar="study", help="another one")
    compare.add_argument("--by", choices=_WAYS, default="auto", help="how concepts are paired")
    compare.add_argument("--json", action="store_true", help="print everything as JSON")
    compare.add_argument(
        "--csv",
        type=Path,
        metavar="FOLDER",
        help="write layers.csv, concepts.csv and truth.csv to a folder",
    )
    compare.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> int:
    from cgraph.store import write_bytes
    from cgraph.study import Study
    from cgraph.study_comparison import compare_studies

    found = compare_studies(Study.open(options.study), Study.open(options.other), options.by)
    if options.csv:
        truth = [
            {"figure": name, "study": values[0], "other": values[1]}
            for name, values in found.truth.items()
        ]
        tables = {"layers": found.layers, "concepts": found.concepts}
        for name, rows in tables.items():
            write_bytes(options.csv / f"{name}.csv", _csv(list(rows[0]), rows))
        write_bytes(options.csv / "truth.csv", _csv(["figure", "study", "other"], truth))
    if options.json:
        print(json.dumps(found.to_dict(), indent=1, allow_nan=False))
    else:
        _print(found)
    return 0


def _csv(columns: list[str], rows: list[dict[str, Any]]) -> bytes:
    from cgraph.trace_export import cell_text

    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        cells = (row[name] for name in columns)
        writer.writerow([cell_text(cell) if isinstance(cell, str) else cell for cell in cells])
    return buffer.getvalue().encode()


def _print(found: Any) -> None:
    from cgraph.atom_matching import FOUND_COSINE, FOUND_JACCARD
    from cgraph.console import number, print_rows

    for side, facts in (("study", found.left), ("other", found.right)):
        print(
            f"{side}: {facts['name']}: {facts['model']} ({facts['n_layers']} layers of width "
            f"{facts['d_model']}) on {facts['n_images']} images of {facts['images']}, "
            f"{facts['method']}, seed {facts['seed']}"
        )
    by_cosine = found.by == "cosines"
    measure = "cosine" if by_cosine else "Jaccard index of labels"
    least = FOUND_COSINE if by_cosine else FOUND_JACCARD
    print(
        f"\nconcepts are paired by {found.by}: {found.why}. Found: {measure} above {least:g}.\n"
        f"images that both hold: {found.n_shared}\n"
    )

    def share(row: dict[str, Any], part: str, whole: str) -> str:
        return number(row[part] / row[whole] if row[part] is not None and row[whole] else None)

    print_rows(
        ["layers", "concepts", "others", "found", "share", measure.split()[0], "label Jaccard",
         "chance", "names kept", "AUC", "other AUC", "edges", "ends found", "found again",
         "share", "chance"],
        [
            [
                f"{row['layer']}–{row['other_layer']}",
                row["n_concepts"],
                row["n_others"],
                row["n_found"],
                share(row, "n_found", "n_concepts"),
                number(row["likeness"]),
                number(row["jaccard"]),
                number(row["jaccard_chance"]),
                f"{row['n_names_kept']} of {row['n_named']}",
                number(row["auc"]),
                number(row["other_auc"]),
                *("–" if row[name] is None else row[name]
                  for name in ("n_edges", "n_edges_matched", "n_edges_found")),
                share(row, "n_edges_found", "n_edges_matched"),
                share(row, "n_edges_chance", "n_edges_matched"),
            ]
            for row in found.layers
        ],
    )  # fmt: skip
    moved = [row for row in found.concepts if row["moved"] and row["found"]]
    if moved:
        print(f"\nfound, with another name: {len(moved)}")
        for row in moved[:_MOVED]:
            print(f"  {row['concept']} {row['name']}  is  {row['match']} {row['other_name']}")
        if len(moved) > _MOVED:
            print(f"  … and {len(moved) - _MOVED} more, in --csv and --json")
    if found.truth:
        print("\nhow far the graphs tell the truth (docs/methods.md)\n")
        print_rows(
            ["figure", "study", "other"],
            [[name, *(number(value) for value in values)] for name, values in found.truth.items()],
        )
