"""The command ``cgraph demo``: the studies that come with cgraph, made again."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cgraph.console import ProgressPrinter, print_info
from cgraph.errors import ConfigError
from cgraph.job_commands import check_workers

BOTH = "both"
_AUDITED = ("fair", "biased")


def add_parser(commands: Any) -> None:
    """Add the command to those of the command line."""
    demo = commands.add_parser(
        "demo",
        help="make the bundled studies again, from nothing",
        description="Draw scenes, train a small CLIP on them, build its study and measure it. "
        "Takes most of an hour on two cores, and with --audit about a quarter of an hour for each "
        "study; run it again to go on after an interruption.",
    )
    demo.add_argument("--out", type=Path, required=True, help="the study folder to write")
    demo.add_argument(
        "--audit",
        nargs="?",
        const=BOTH,
        choices=(*_AUDITED, BOTH),
        help="a study of the audit in place of the bundled one: its model is taught one word more, "
        "fairly or with a bias. Without a name both, as fair and biased in the folder --out",
    )
    demo.add_argument(
        "--start",
        type=Path,
        metavar="FILE",
        help="weights that the models of the audit go on from; those of data/demo if left out",
    )
    demo.add_argument("--workers", type=int, metavar="N", help="processes; one a core if left out")
    demo.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> int:
    check_workers(options.workers)
    if options.audit is None and options.start is not None:
        raise ConfigError(
            "--start is for the models of the audit: the bundled model begins anew. Add --audit, "
            "or leave --start out."
        )
    how = {"workers": options.workers, "on_progress": ProgressPrinter()}
    studies = []
    if options.audit is None:
        from cgraph.demo.remake import remake
        from cgraph.measurements import measure_study

        remake(options.out, **how)
        studies.append(measure_study(options.out, **how).study)
    else:
        from cgraph.demo.audit import remake_audit

        both = options.audit == BOTH
        for lesson in _AUDITED if both else [options.audit]:
            out = options.out / lesson if both else options.out
            studies.append(remake_audit(out, lesson, start=options.start, **how))
    how["on_progress"].end()
    for study in studies:
        print_info(study.info())
    return 0
