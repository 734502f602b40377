"""The commands ``cgraph build`` and ``cgraph info``: a study is made, and shown."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from cgraph import job_commands
from cgraph.config import ENCODERS, METHODS, PRESETS
from cgraph.console import print_info
from cgraph.errors import ConfigError


def add_parsers(commands: Any) -> None:
    """Add the commands to those of the command line."""
    build = commands.add_parser(
        "build",
        help="build a study from a model and images, or go on with one",
        description="Build a study. With --out alone, go on with a build that was interrupted.",
    )
    build.add_argument("--model", type=Path, help="folder of a Hugging Face vision transformer")
    build.add_argument("--images", type=Path, help="folder of images, or parquet file or folder")
    build.add_argument("--out", type=Path, required=True, help="the study folder to write")
    build.add_argument("--preset", choices=list(PRESETS), help="settings to start from")
    build.add_argument("--method", choices=METHODS, help="how dictionaries are learned")
    build.add_argument(
        "--encoder", choices=ENCODERS, help="what makes the codes: the method's own, or a pursuit"
    )
    build.add_argument("--max-images", type=int, metavar="N", help="size of a seeded sample")
    build.add_argument("--seed", type=int, metavar="N", help="seed of every random step")
    build.add_argument("--n-atoms", type=int, metavar="N", help="concepts of each layer")
    build.add_argument("--max-nnz", type=int, metavar="N", help="most active concepts of a token")
    build.add_argument("--workers", type=int, metavar="N", help="processes; one a core if left out")
    job_commands.add_options(build)
    build.set_defaults(run=lambda options: job_commands.run(options, _build))
    job_commands.add_parsers(commands)

    info = commands.add_parser("info", help="show a study's settings and held-out figures")
    info.add_argument("study", type=Path, help="a study folder")
    info.add_argument("--json", action="store_true", help="as one JSON object")
    info.set_defaults(run=_info)


def _build(options: argparse.Namespace, reporter: job_commands.Reporter) -> int:
    from cgraph.pipeline import build_study, resume_study

    settings = {
        "seed": options.seed,
        "max_images": options.max_images,
        "n_atoms": options.n_atoms,
        "max_nnz": options.max_nnz,
        "method": options.method,
        "encoder": options.encoder,
    }
    check_workers(options.workers)
    if options.model is None and options.images is None:
        given = [name for name, value in settings.items() if value is not None]
        if options.preset or given:
            raise ConfigError(
                "--model and --images are missing. Leave all settings away to go on with the "
                "study in --out, or give both for a new one."
            )
        study = resume_study(
            options.out,
            workers=options.workers,
            on_progress=reporter,
            expected=reporter.known(options),
        )
    elif options.model is None or options.images is None:
        missing = "--model" if options.model is None else "--images"
        raise ConfigError(f"{missing} is missing: a new study needs a model and images.")
    else:
        config = job_commands.config_of(options)
        expected = reporter.estimate(options, config)
        study = build_study(
            options.model,
            options.images,
            options.out,
            config,
            workers=options.workers,
            on_progress=reporter,
            expected=expected,
        )
    reporter.end()
    images = study.manifest.images
    if images["n_skipped"]:
        print(
            f"{images['n_skipped']} images could not be read and were left out; "
            f"{study.path / 'skipped.arrow'} lists them with the reasons.",
            file=sys.stderr,
        )
    print_info(study.info())
    return 0


def check_workers(workers: int | None) -> None:
    """Refuse a number of worker processes below one.

    Raises
    ------
    ConfigError
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"--workers is {workers}: it must be at least 1.")


def _info(options: argparse.Namespace) -> int:
    from cgraph.study import Study

    study = Study.open(options.study)
    study.verify()
    info = study.info()
    if options.json:
        print(json.dumps(info, indent=1, allow_nan=False))
    else:
        print_info(info)
    return 0
