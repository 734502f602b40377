"""All benchmarks of the engine: ``python -m tests.benchmarks [--quick] [--json] [--write]``.

Peers come with the extra ``bench``. Every benchmark first checks that the answers are equal. The
quick run takes minutes and is noisy; the full one writes its tables to docs/benchmarks.md when it
is given ``--write``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks import balanced_bagging, graph_fits, pursuit
from tests.benchmarks.machine import describe, table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- engine: begin -->", "<!-- engine: end -->"

BENCHMARKS: tuple[tuple[str, Callable[[bool], dict[str, Any]]], ...] = (
    ("Fits of the graph", graph_fits.measure),
    ("Balanced bagging of one concept", balanced_bagging.measure),
    ("Orthogonal matching pursuit", pursuit.measure),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer targets, minutes in all")
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    parser.add_argument("--write", action="store_true", help="write the tables to the docs")
    options = parser.parse_args()
    figures: dict[str, Any] = {"answers_equal": True}
    parts = [f"Measured on: {describe()}."]
    for title, measure in BENCHMARKS:
        print(f"{title} …", file=sys.stderr, flush=True)
        found = measure(options.quick)
        rows = found.pop("rows")
        figures["answers_equal"] &= found.pop("answers_equal")
        figures |= found
        parts += [f"### {title}", table(rows)]
    text = "\n\n".join(parts)
    print(text)
    if options.write:
        page = PAGE.read_text(encoding="utf-8")
        before, rest = page.split(BEGIN)
        after = rest.split(END)[1]
        PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
    if options.json:
        print(json.dumps(figures))
    return 0 if figures["answers_equal"] else 1


if __name__ == "__main__":
    sys.exit(main())
