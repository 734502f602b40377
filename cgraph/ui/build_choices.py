"""What the Build page offers and finds out before a build: models at hand, images, checks.

Nothing here draws, and no model is loaded in the app: the full check is `cgraph build --estimate`
in a process of its own, so that the app stays quick for everybody else.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cgraph.build_job import environment
from cgraph.config import BuildConfig, preset
from cgraph.errors import CgraphError, ConfigError, StudyError
from cgraph.image_reference import HubReference, parse_reference
from cgraph.job_record import arguments_of
from cgraph.job_status import JobStatus
from cgraph.manifest import BUILD_RECORD, MANIFEST, slug
from cgraph.object_paths import is_remote
from cgraph.store import read_json
from cgraph.ui.resources import StudyList

UPLOADS = "uploads"
"""Folder beside the studies in which uploaded images are stored."""

MOST_UPLOAD_MB = 200
"""Most megabytes of an uploaded zip."""

_CHECK_SECONDS = 900
_HUB_ID = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")
_THUMBNAIL_PX = 96


@dataclass(frozen=True)
class ImageLook:
    """A first look at a set of images.

    Attributes
    ----------
    n_images : int
    kind, name : str
    thumbnails : tuple of (str, str)
        Id of some images from all over the set, and their picture as a ``data:`` address.
    problems : tuple of str
        Why some of them could not be shown.
    """

    n_images: int
    kind: str
    name: str
    thumbnails: tuple[tuple[str, str], ...]
    problems: tuple[str, ...] = ()


def new_studies_folder(searched: tuple[Path, ...]) -> Path:
    """Return the folder in which new studies are made: the first that is searched and fits.

    It lies on this machine: a build into an object store is no job of the app.
    """
    for folder in searched:
        if is_remote(folder):
            continue
        if not (folder / MANIFEST).is_file() and (folder.is_dir() or not folder.exists()):
            return folder.absolute()
    return Path("studies").absolute()


def models_at_hand(found: StudyList, jobs: list[JobStatus]) -> list[tuple[str, str]]:
    """Return models by what they are called and where they lie: of recent builds and of studies."""
    places: list[str] = []
    for job in jobs:
        if model := job.settings.get("model"):
            places.append(str(model))
    for entry in (*found.entries, *found.unfinished):
        try:
            model = read_json(entry.folder / BUILD_RECORD)["sources"]["model"]
        except (StudyError, KeyError, TypeError):
            model = "model"
        places.append(str((entry.folder / str(model)).absolute()))
    at_hand: dict[str, str] = {}
    for place in places:
        path = Path(place)
        if is_hub_id(place):
            at_hand.setdefault(place, place)
        elif (path / "config.json").is_file():
            # A study that holds its own model calls it "model"; the study says more.
            called = path.name if path.name != "model" else f"{path.parent.name}'s model"
            at_hand.setdefault(str(path), called)
    return [(called, place) for place, called in at_hand.items()]


def is_hub_id(text: str) -> bool:
    """Return whether a text can only be the id of something on the Hub: ``owner/name``."""
    return bool(_HUB_ID.fullmatch(text)) and not Path(text).expanduser().exists()


def is_hub_set(text: str) -> bool:
    """Return whether a text is a data set of the Hub, which is asked for when a build is checked.

    Raises
    ------
    ImageError
        If it can be no set of images at all, such as an address.
    """
    return isinstance(parse_reference(text), HubReference)


def place_of(text: str) -> str:
    """Return what somebody typed as the command line takes it: a full path, or an id or address."""
    text = text.strip().strip("\"'")
    path = Path(text).expanduser()
    return str(path.absolute()) if text and path.exists() else text


def config_of(values: Mapping[str, Any]) -> BuildConfig:
    """Return the settings of a build from the options chosen; a ConfigError says what is wrong."""
    names = ("seed", "max_images", "n_atoms", "max_nnz", "method")
    return preset(str(values["preset"])).with_options(**{name: values[name] for name in names})


def study_folder(name: str, root: Path, found: StudyList) -> Path:
    """Return the folder of a new study.

    Raises
    ------
    ConfigError
        If the name is none, or taken.
    """
    if not name.strip():
        raise ConfigError("The study has no name yet. Give it one: it becomes its folder.")
    called = slug(name)
    if called == UPLOADS:
        raise ConfigError(f"{called!r} is where uploaded images lie. Choose another name.")
    folder = root / called
    known = [entry.folder for entry in (*found.entries, *found.unfinished) if entry.name == called]
    taken = known[0] if known else folder if _holds_something(folder) else None
    if taken is not None:
        raise ConfigError(f"{called!r} is taken: there is {taken}. Choose another name.")
    return folder


def _holds_something(folder: Path) -> bool:
    try:
        return any(not path.name.startswith(".") for path in folder.iterdir())
    except NotADirectoryError:
        return True
    except OSError:
        return False


def look_at_images(place: str, n_shown: int = 8) -> ImageLook:
    """List a set of images and make some thumbnails.

    Raises
    ------
    ImageError
        If there are none.
    """
    from cgraph.images import open_images, thumbnail

    image_set = open_images(place)
    n = len(image_set)
    shown, problems = [], []
    for row in dict.fromkeys(round(k * (n - 1) / max(1, n_shown - 1)) for k in range(n_shown)):
        try:
            record = image_set.read(row)
        except CgraphError as error:
            problems.append(str(error))
            continue
        data = thumbnail(record.image, _THUMBNAIL_PX)
        kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
        address = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
        shown.append((record.image_id, address))
    return ImageLook(n, image_set.kind, image_set.name, tuple(shown), tuple(problems))


def store_upload(data: bytes, root: Path, called: str) -> Path:
    """Store an uploaded zip of images beside the studies; return its place.

    It is read where it lies and never unpacked; see `cgraph.image_archives`.

    Raises
    ------
    ImageError
        If it is no zip, or holds no images.
    """
    from cgraph.images import open_images
    from cgraph.store import write_bytes

    place = root / UPLOADS / called
    write_bytes(place, data)
    try:
        open_images(place)
    except CgraphError:
        place.unlink()
        raise
    return place


def upload_name(filename: str, data: bytes) -> str:
    """Return what an upload is stored as: its file's name and the beginning of its hash.

    It ends in ``.zip``, by which `cgraph.images.open_images` knows it.
    """
    import hashlib

    try:
        stem = slug(Path(filename).stem)[:40]
    except ConfigError:
        stem = "images"
    return f"{stem}-{hashlib.sha256(data).hexdigest()[:12]}.zip"


def check(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Make every check of a build and time this machine, in a process of its own.

    Parameters
    ----------
    settings : mapping
        Options of ``cgraph build``.

    Returns
    -------
    dict
        An `Estimate` as plain values.

    Raises
    ------
    ConfigError
        With the sentence with which the build would be refused.
    """
    command = [sys.executable, "-m", "cgraph.cli", "build", "--estimate", "--json"]
    try:
        done = subprocess.run(
            [*command, *arguments_of(settings)],
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            env={**environment(), "PYTHONIOENCODING": "utf-8"},
            stdin=subprocess.DEVNULL,
            timeout=_CHECK_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"The check did not end within {_CHECK_SECONDS // 60} minutes. Try it in a terminal: "
            f"cgraph build --estimate {' '.join(arguments_of(settings))}"
        ) from None
    if done.returncode == 0:
        with io.StringIO(done.stdout) as text:
            return dict(json.load(text))
    sentences = [line for line in done.stderr.splitlines() if line.startswith("cgraph: ")]
    if sentences:
        raise ConfigError(sentences[-1].removeprefix("cgraph: "))
    last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    raise ConfigError(f"The check ended without an answer: {last[:300]}")


def cores() -> int:
    """Return the processor cores of this machine."""
    return os.cpu_count() or 1
