"""The manifest of a study folder, and the names of the files that it lists.

The layout on disk is specified in docs/study-format.md.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from cgraph.config import BuildConfig
from cgraph.errors import ConfigError, StudyError
from cgraph.store import FileRecord, file_record, read_json, to_json, write_bytes
from cgraph.study_checks import check_manifest
from cgraph.truth_tables import measurement_of_file
from cgraph.unpacked import archive_of

SCHEMA = 1
"""Version of the layout on disk. A folder of another version is refused."""

MANIFEST = "study.json"
BUILD_RECORD = "build.json"
PROGRESS = "progress.json"
DICTIONARIES = "dictionary.safetensors"
IMAGES = "images.arrow"
CONCEPTS = "graph/concepts.arrow"
EDGES = "graph/edges.arrow"
NAMES = "graph/names.arrow"
TEXT_NAMES = "graph/text-names.arrow"
QUALITY = "evaluation/quality.json"
USUAL = "evaluation/usual.safetensors"
EXAMPLES = "examples/index.json"

STAGES = ("tokens", "split", "dictionary", "codes", "graph", "evaluation", "names", "examples")
"""Stages of a build, in the paper's order."""

MODEL_FIGURES = "quality"
"""Stage of `QUALITY`, which no build makes: only the commands that make the bundled studies."""

TOKEN_WORDS = {
    "class": "the class token",
    "mean of patches": "the mean of the patch tokens",
    "pooled": "what the model's pooling head makes of the patch tokens",
}
"""What a study reads of its model after every layer, by what its manifest says."""

_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")


def slug(text: str) -> str:
    """Return a study name made from a folder's name: small letters, digits and hyphens.

    Raises
    ------
    ConfigError
        If nothing is left of the text.
    """
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:64].strip("-")
    if not name:
        raise ConfigError(
            f"A study cannot be named after {text!r}: use letters, digits and hyphens."
        )
    return name


def codes_file(layer: int, part: int) -> str:
    """Return the place of one part of a layer's codes."""
    return f"codes/layer-{layer:02d}/part-{part:05d}.arrow"


def tokens_file(layer: int, part: int) -> str:
    """Return the place of one part of a layer's class tokens."""
    return f"tokens/layer-{layer:02d}/part-{part:05d}.npy"


def evaluation_file(name: str) -> str:
    """Return the place of a table of held-out figures."""
    return f"evaluation/{name}.arrow"


BUILD_COMMAND = "cgraph build"
"""What makes a study again, with ``--out`` and its folder, if the manifest names nothing else."""


def example_file(number: int, suffix: str) -> str:
    """Return the place of the picture or the trace of an example, from 1."""
    return f"examples/{number:02d}.{suffix}"


def rebuild_command(folder: Path, origin: dict[str, Any]) -> str:
    """Return the command that makes the files of a study again."""
    return f"{origin.get('command', BUILD_COMMAND)} --out {shlex.quote(str(folder))}"


def rebuild_advice(folder: Path, origin: dict[str, Any], relative: str = "") -> str:
    """Return the sentence that tells how to mend a folder, or one file of it."""
    archive = archive_of(folder)
    if archive is not None:
        return f"Delete {folder}: it is unpacked again from {archive} when that is next opened."
    measurement = measurement_of_file(relative)
    if measurement is not None:
        command = f"cgraph evaluate {shlex.quote(str(folder))} --only {measurement}"
        return f"Run `{command}` to measure it again."
    return f"Run `{rebuild_command(folder, origin)}` to make it again."


@dataclass(frozen=True)
class Manifest:
    """What ``study.json`` says.

    Attributes
    ----------
    name : str
        The study's slug, used in links.
    model, images : dict
        Identity of the model and of the image set.
    config : BuildConfig
    versions : dict
        Versions of the packages that can change a figure.
    graph : dict
        What the predictors take as inputs, and the scale of each layer's inputs.
    stages : tuple of str
        Finished stages.
    files : dict of str to FileRecord
        Every file of the study by its path, with forward slashes.
    origin : dict
        The command and settings that made model and study, where one command makes both.
    """

    name: str
    model: dict[str, Any]
    images: dict[str, Any]
    config: BuildConfig
    versions: dict[str, str] = field(default_factory=dict)
    graph: dict[str, Any] = field(default_factory=dict)
    stages: tuple[str, ...] = ()
    files: dict[str, FileRecord] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)

    @property
    def token(self) -> str:
        """How the tokens of the model were read: a key of `TOKEN_WORDS`."""
        return str(self.model.get("token", "class"))  # older studies knew no other

    @property
    def token_words(self) -> str:
        """What is read of the model after every layer, in words."""
        return TOKEN_WORDS.get(self.token, self.token)

    def to_dict(self) -> dict[str, Any]:
        """Return the manifest as plain JSON values."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "origin": self.origin,
            "model": self.model,
            "images": self.images,
            "config": self.config.to_manifest(),
            "versions": self.versions,
            "graph": self.graph,
            "stages": list(self.stages),
            "files": {path: vars(record) for path, record in self.files.items()},
        }

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest of a folder.

        Raises
        ------
        StudyError
            If there is none, it is damaged, or it has a schema this version does not know.
        """
        path = folder / MANIFEST
        if not folder.is_dir():
            raise StudyError(f"There is no folder {folder}. Check the path of the study.")
        if not path.is_file():
            raise StudyError(
                f"{folder} is not a study: it has no {MANIFEST}. Give a folder that "
                "`cgraph build` made."
            )
        return cls.parse(read_json(path), path)

    @classmethod
    def parse(cls, values: Any, path: Path) -> Manifest:
        """Read a manifest out of what its file holds.

        Parameters
        ----------
        values : object
            JSON values.
        path : Path
            Of the file, for messages.

        Raises
        ------
        StudyError
            If it is damaged, or has a schema this version does not know.
        """
        schema = values.get("schema") if isinstance(values, dict) else None
        if type(schema) is not int or schema != SCHEMA:
            raise StudyError(
                f"{path} has schema {schema!r}; this version of cgraph reads schema {SCHEMA}. "
                "Use the version that wrote the study, or build the study again."
            )
        try:
            if not _SLUG.fullmatch(values["name"]):
                raise ValueError(f"the name {values['name']!r} is not a slug")
            check_manifest(values)
            files = {
                _inside(relative): FileRecord(**record)
                for relative, record in values["files"].items()
            }
            return cls(
                name=values["name"],
                model=dict(values["model"]),
                images=dict(values["images"]),
                config=BuildConfig.from_dict(values["config"]),
                versions=dict(values["versions"]),
                graph=dict(values["graph"]),
                stages=tuple(stage for stage in STAGES if stage in values["stages"]),
                files=files,
                origin=dict(values.get("origin", {})),
            )
        except KeyError as error:
            raise StudyError(
                f"{path} is damaged (it lacks {error}). Restore it from a copy or build the study "
                "again."
            ) from None
        except (TypeError, ValueError, AttributeError, OverflowError, ConfigError) as error:
            raise StudyError(
                f"{path} is damaged ({error}). Restore it from a copy or build the study again."
            ) from None


def record_file(folder: Path, relative: str, stage: str) -> None:
    """Add a file that lies in a study folder to its manifest."""
    manifest = Manifest.read(folder)
    files = {**manifest.files, relative: file_record(folder / relative, stage)}
    write_bytes(folder / MANIFEST, to_json(replace(manifest, files=files).to_dict()))


def _inside(relative: str) -> str:
    """Refuse a path in a manifest that leads out of the study folder."""
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or "\\" in relative:
        raise ValueError(f"the path {relative!r} leads out of the study")
    return relative
