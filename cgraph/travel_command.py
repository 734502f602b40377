"""The commands that move studies: ``cgraph verify``, ``export``, ``import``, ``push``, ``pull``."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from cgraph.object_paths import is_remote, study_path


def add_parsers(commands: Any) -> None:
    """Add the commands to those of the command line."""
    verify = commands.add_parser(
        "verify",
        help="compare every file of a study with its hash",
        description="Say which files of a study are missing, altered or additional. The exit code "
        "is 0 for a study that is whole, 1 for one that is not, 2 for what is no study.",
    )
    verify.add_argument("study", type=study_path, help="a study folder or zip file")
    verify.add_argument("--json", action="store_true", help="as one JSON object")
    verify.set_defaults(run=_verify)

    export = commands.add_parser(
        "export",
        help="write a study as one zip file",
        description="Write a study as one zip file, which opens wherever a study folder does. The "
        "same study gives the same bytes. The model comes along if it lies in the study folder.",
    )
    export.add_argument("study", type=study_path, help="a study folder")
    export.add_argument("out", type=study_path, metavar="OUT.zip", help="the zip file to write")
    _add_model_choice(export)
    export.set_defaults(run=_export)

    unpack = commands.add_parser(
        "import",
        help="unpack the zip file of a study into a folder, to go on with",
        description="Unpack the zip file of a study, every file checked. Zip files open without "
        "this; it is needed to name concepts.",
    )
    unpack.add_argument(
        "archive", type=study_path, metavar="STUDY.zip", help="a zip file of a study"
    )
    unpack.add_argument("out", type=study_path, metavar="FOLDER", help="the study folder to write")
    unpack.set_defaults(run=_import)

    push = commands.add_parser(
        "push",
        help="put a study on the Hugging Face Hub",
        description="Put a study into a dataset repository of the Hub, with a card, in one commit. "
        "A new repository is private unless --public is given. Uses the token of your login. Run "
        "it again to go on after an interruption.",
    )
    push.add_argument("study", type=study_path, help="a study folder or zip file")
    push.add_argument("repository", metavar="OWNER/NAME", help="a dataset repository")
    push.add_argument("--public", action="store_true", help="a new one can be seen by everybody")
    _add_model_choice(push)
    push.set_defaults(run=_push)

    pull = commands.add_parser(
        "pull",
        help="get a study from the Hugging Face Hub",
        description="Get a study from a dataset repository of the Hub, every file checked. Run it "
        "again to go on after an interruption.",
    )
    pull.add_argument("repository", metavar="OWNER/NAME", help="a dataset repository")
    pull.add_argument("out", type=study_path, metavar="FOLDER", help="the study folder to write")
    pull.add_argument("--revision", metavar="COMMIT", help="a commit, branch or tag")
    pull.add_argument("--without-model", action="store_true", help="leave the model there")
    pull.set_defaults(run=_pull)


def _add_model_choice(parser: argparse.ArgumentParser) -> None:
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--with-model",
        action="store_true",
        help="take the model along, from wherever the study finds it",
    )
    choice.add_argument(
        "--without-model",
        action="store_true",
        help="leave the model out: the study opens without it, all but uploads",
    )


def _verify(options: argparse.Namespace) -> int:
    from cgraph.study_archive import read_manifest
    from cgraph.study_files import FolderFiles, verify_files
    from cgraph.study_zip import ArchiveFiles

    report = ByteProgress("verified")
    if options.study.is_file() and not is_remote(options.study):
        with ArchiveFiles(options.study) as archive:
            found = verify_files(archive, archive.manifest, report)
    else:
        manifest = read_manifest(options.study)
        found = verify_files(FolderFiles(options.study), manifest, report)
    report.end()
    if options.json:
        print(json.dumps(found.to_dict(), indent=1))
        return 0 if found.whole else 1
    for what in ("missing", "altered", "additional"):
        for name in getattr(found, what):
            print(f"{what:<10} {name}")
    if found.unfinished:
        print(f"unfinished {', '.join(found.unfinished)} still to be done")
    if found.model == "altered":
        print("altered    model/: its weights are not those that the study was built with")
    counts = f"{found.n_files} files, {size_text(found.n_bytes)}"
    if found.whole:
        with_model = "with its model" if found.model == "same" else "without a model"
        print(f"{found.name} is whole: {counts}, {with_model}.")
        return 0
    print(
        f"{found.name} is not whole: of {counts}, {len(found.missing)} are missing and "
        f"{len(found.altered)} altered."
    )
    return 1


def _export(options: argparse.Namespace) -> int:
    from cgraph.study_archive import export_study

    report = ByteProgress("written")
    out = export_study(
        options.study,
        options.out,
        model=_model_from_elsewhere(options),
        with_model=not options.without_model,
        on_progress=report,
    )
    report.end()
    print(f"{size_text(out.stat().st_size)} written to {out}.")
    return 0


def _model_from_elsewhere(options: argparse.Namespace) -> Path | None:
    """Return the folder of a model that is asked for and does not lie in the study."""
    if not options.with_model:
        return None
    from cgraph.study import Study
    from cgraph.study_files import MODEL
    from cgraph.tracing import load_model, model_folder

    study = Study.open(options.study)
    load_model(study)  # refuses one that is not the study's
    folder = model_folder(study)
    return None if folder == study.path / MODEL else folder


def _import(options: argparse.Namespace) -> int:
    from cgraph.study_archive import import_study

    report = ByteProgress("unpacked")
    folder = import_study(options.archive, options.out, report)
    report.end()
    print(f"Unpacked to {folder}. Look at it with `cgraph info {shlex.quote(str(folder))}`.")
    return 0


def _push(options: argparse.Namespace) -> int:
    from cgraph.hub_access import repository_name
    from cgraph.study import Study
    from cgraph.study_hub import push_study

    repository_name(options.repository)
    report = ByteProgress("uploaded")
    there = push_study(
        Study.open(options.study),
        options.repository,
        public=options.public,
        with_model=not options.without_model,
        model=_model_from_elsewhere(options),
        on_progress=report,
    )
    report.end()
    seen = "private" if there.private else "public"
    print(f"{there.url} ({seen}), revision {there.revision}.")
    return 0


def _pull(options: argparse.Namespace) -> int:
    from cgraph.study_hub import pull_study

    report = ByteProgress("here")
    there = pull_study(
        options.repository,
        options.out,
        revision=options.revision,
        with_model=not options.without_model,
        on_progress=report,
    )
    report.end()
    print(f"{there.repository} at revision {there.revision} is whole, in {options.out}.")
    return 0


def size_text(n_bytes: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if n_bytes < 1000 or unit == "GB":
            break
        n_bytes /= 1000
    return f"{n_bytes:.0f} {unit}" if unit == "bytes" else f"{n_bytes:.1f} {unit}"


class ByteProgress:
    """Prints how many bytes are done: one moving line on a terminal, nothing elsewhere."""

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._moving = sys.stderr.isatty()
        self._shown = -1

    def __call__(self, done: int, total: int) -> None:
        """Print how far it is."""
        percent = 100 * done // max(total, 1)
        if self._moving and percent != self._shown:
            self._shown = percent
            text = f"\r{size_text(done)} of {size_text(total)} {self._verb}, {percent} %   "
            print(text, end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the moving line."""
        if self._shown >= 0:
            print(file=sys.stderr)
