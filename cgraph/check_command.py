"""The command ``cgraph check``: a policy held against a study."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgraph.console import ProgressPrinter

if TYPE_CHECKING:
    from cgraph.policy_verdicts import Report
    from cgraph.study import Study

STOPPED = 130
"""Exit code after Ctrl-C, as of all commands."""


def add_parser(commands: Any) -> None:
    """Add the command to those of the command line."""
    check = commands.add_parser(
        "check",
        help="check a policy: rules about which concepts may have a say in which",
        description="Check every rule of a policy on a study: no path between sets of concepts, "
        "paths through others only, influence within a limit, labels that a few flips cannot "
        "switch, concepts never active together. See docs/policies.md. Ends with 0 if all rules "
        "hold, 1 if one is violated, else 2 if one is inconclusive or the policy has mistakes.",
    )
    check.add_argument("study", help="a study folder or zip file")
    check.add_argument("policy", type=Path, metavar="POLICY", help="a policy, as TOML")
    check.add_argument("--json", action="store_true", help="print the verdicts as JSON")
    for name, what in (
        ("junit", "JUnit XML for a build server"),
        ("markdown", "Markdown"),
        ("html", "one HTML page with pictures, which needs nothing else"),
    ):
        check.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"also write {what}")
    check.add_argument(
        "--images", metavar="SET", help="where the study's images lie now, for the network"
    )
    check.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return the exit code."""
    from cgraph.policy import check, report_of
    from cgraph.policy_file import read_policy
    from cgraph.policy_subject import subject_of
    from cgraph.policy_verdicts import Verdict
    from cgraph.study import Study

    policy = read_policy(options.policy)
    study = Study.open(options.study)
    subject = subject_of(study)
    verdicts: list[Verdict] = []
    printer = ProgressPrinter()
    try:
        report = check(
            subject,
            policy,
            images=options.images,
            on_progress=printer,
            on_verdict=verdicts.append,
        )
    except KeyboardInterrupt:
        printer.end()
        _tell(report_of(subject, policy, verdicts), study, options)
        print("cgraph: stopped. The verdicts above were finished.", file=sys.stderr)
        return STOPPED
    printer.end()
    _tell(report, study, options)
    return report.exit_code


def _tell(report: Report, study: Study, options: argparse.Namespace) -> None:
    """Print a report, and write it in every form that was asked for."""
    from cgraph import policy_report
    from cgraph.policy_html import to_html
    from cgraph.store import write_bytes

    for path, form in (
        (options.junit, policy_report.to_junit),
        (options.markdown, policy_report.to_markdown),
        (options.html, partial(to_html, study=study)),
    ):
        if path is not None:
            write_bytes(path, form(report).encode("utf-8", "replace"))
    text = policy_report.to_json(report) if options.json else policy_report.to_text(report)
    print(text, end="")
