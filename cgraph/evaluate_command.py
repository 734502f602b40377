"""The command ``cgraph evaluate``: how far the graph of a study tells the truth."""

from __future__ import annotations

import argparse
import json
from typing import Any

from cgraph.job_commands import check_workers
from cgraph.progress import duration
from cgraph.truth_tables import TABLES


def add_parser(commands: Any) -> None:
    """Add the command to those of the command line."""
    evaluate = commands.add_parser(
        "evaluate",
        help="measure how far a study's graph tells the truth about the network",
        description="Take measurements of a finished study and store them in it: rollouts and "
        "what to read them beside, evidence on every edge, what an edge is worth, what another "
        "seed finds again, what the graph cannot see, which of two concepts moves the other, "
        "whether known factors have a concept each, and how many labels flip when a picture is "
        "changed a little. "
        "See docs/methods.md. Run it again to go on after an interruption.",
    )
    evaluate.add_argument("study", help="a study folder")
    evaluate.add_argument(
        "--only",
        action="append",
        choices=list(TABLES),
        metavar="WHAT",
        help=f"one measurement; may be repeated: {', '.join(TABLES)}",
    )
    evaluate.add_argument("--again", action="store_true", help="also what was measured before")
    evaluate.add_argument(
        "--images", metavar="SET", help="where the study's images lie now, as for cgraph build"
    )
    evaluate.add_argument("--workers", type=int, metavar="N", help="processes; one a core")
    evaluate.add_argument("--json", action="store_true", help="print the figures as JSON")
    evaluate.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    from cgraph.console import ProgressPrinter
    from cgraph.measurements import measure_study

    check_workers(options.workers)
    printer = ProgressPrinter()
    measured = measure_study(
        options.study,
        options.only or (),
        images=options.images,
        workers=options.workers,
        again=options.again,
        on_progress=printer,
    )
    printer.end()
    figures = measured.study.truth
    if options.json:
        print(json.dumps(figures, indent=1))
        return 0
    for name in TABLES:
        if name in measured.seconds:
            print(f"{name}: measured in {duration(measured.seconds[name])}")
        elif name in measured.there:
            print(f"{name}: measured before; --again takes it again")
        elif name in measured.left_out:
            print(f"{name}: not measured. {measured.left_out[name]}")
    print()
    for name, value in figures.items():
        print(f"{name:>26}  {value if isinstance(value, int) else f'{value:.3f}'}")
    return 0
