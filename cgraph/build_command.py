"""The commands ``cgraph build`` and ``cgraph info``: a study is made, and shown."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from cgraph import job_commands
from cgraph.config import ENCODERS, METHODS, PRECISIONS, PRESETS, TOKEN_KINDS
from cgraph.console import print_info
from cgraph.errors import ConfigError
from cgraph.executors import Executor


def add_parsers(commands: Any) -> None:
    """Add the commands to those of the command line."""
    build = commands.add_parser(
        "build",
        help="build a study from a model and images, or go on with one",
        description="Build a study. With --out alone, go on with a build that was interrupted.",
    )
    build.add_argument(
        "--model",
        help="folder of a Hugging Face vision transformer, or its hub id: owner/name",
    )
    build.add_argument("--revision", help="branch, tag or commit of a model on the hub")
    build.add_argument(
        "--token", choices=TOKEN_KINDS, help="what is read of the model after every layer"
    )
    build.add_argument("--device", help="where the model runs: auto, cpu, cuda")
    build.add_argument("--precision", choices=PRECISIONS, help="numbers that the model runs in")
    build.add_argument(
        "--images",
        metavar="SET",
        help="folder or zip file of images, parquet file or folder, a list (csv, tsv, json) of "
        "paths or addresses, or hub:owner/name; see docs/images.md",
    )
    build.add_argument(
        "--out", required=True, help="the study folder to write, or a URL such as s3://bucket/study"
    )
    build.add_argument("--preset", choices=list(PRESETS), help="settings to start from")
    build.add_argument("--method", choices=METHODS, help="how dictionaries are learned")
    build.add_argument(
        "--encoder", choices=ENCODERS, help="what makes the codes: the method's own, or a pursuit"
    )
    build.add_argument(
        "--dictionary",
        metavar="PLACE",
        help="dictionaries made elsewhere, in place of learning them: a .safetensors or .npz file "
        "or a folder of them, one dictionary a layer",
    )
    build.add_argument("--max-images", type=int, metavar="N", help="size of a seeded sample")
    build.add_argument("--seed", type=int, metavar="N", help="seed of every random step")
    build.add_argument("--n-atoms", type=int, metavar="N", help="concepts of each layer")
    build.add_argument("--max-nnz", type=int, metavar="N", help="most active concepts of a token")
    build.add_argument("--workers", type=int, metavar="N", help="processes; one a core if left out")
    build.add_argument(
        "--cluster", metavar="ADDRESS", help="Dask scheduler to run on, such as tcp://host:8786"
    )
    job_commands.add_options(build)
    build.set_defaults(run=lambda options: job_commands.run(options, _build))
    job_commands.add_parsers(commands)

    info = commands.add_parser("info", help="show a study's settings and held-out figures")
    info.add_argument("study", help="a study folder or zip file")
    info.add_argument("--json", action="store_true", help="as one JSON object")
    info.set_defaults(run=_info)


def _build(options: argparse.Namespace, reporter: job_commands.Reporter) -> int:
    job_commands.check_workers(options.workers, options.cluster)
    if options.cluster is None:
        return _build_on(options, reporter, None)
    from cgraph.cluster import cluster_executor

    with cluster_executor(options.cluster) as executor:
        return _build_on(options, reporter, executor)


def _build_on(
    options: argparse.Namespace, reporter: job_commands.Reporter, executor: Executor | None
) -> int:
    from cgraph.pipeline import build_study, resume_study

    dictionary = job_commands.dictionary_of(options)
    if options.model is None and options.images is None:
        job_commands.check_nothing_is_set(options)
        study = resume_study(
            options.out,
            workers=options.workers,
            executor=executor,
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
            revision=options.revision,
            workers=options.workers,
            executor=executor,
            dictionary=dictionary,
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
