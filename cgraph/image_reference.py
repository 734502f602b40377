"""What an image set is called by: a path on this machine, or a data set of the Hugging Face Hub.

``[hub:]owner/name[@revision][:[config/]split]``, for example ``zh-plus/tiny-imagenet``,
``hub:owner/name@v1.0:valid`` or ``hub:owner/name:large/test``. Without ``hub:`` a text is taken for
a data set only where nothing of that name lies on this machine, and no folder ``owner`` either.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cgraph.errors import ImageError

HUB_PREFIX = "hub:"

_PART = r"[A-Za-z0-9](?:[\w.-]*\w)?"
_HUB = re.compile(
    rf"(?P<id>{_PART}/{_PART})(?:@(?P<revision>[^:\s@]+))?"
    r"(?::(?:(?P<config>[^:\s/]+)/)?(?P<split>[\w.-]+))?",
    re.ASCII,
)
_USUAL_CONFIG, _USUAL_SPLIT = "default", "train"
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubReference:
    """A data set of the Hub, or a part of it.

    Attributes
    ----------
    id : str
        ``owner/name``.
    revision, config, split : str or None
        None where the reference does not say.
    """

    id: str
    revision: str | None = None
    config: str | None = None
    split: str | None = None

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, which never changes."""
        return self.revision is not None and _COMMIT.fullmatch(self.revision) is not None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        config = f"{self.config}/" if self.config else ""
        split = f":{config}{self.split}" if self.split else ""
        return f"{HUB_PREFIX}{self.id}{revision}{split}"


def parse_reference(reference: str | Path) -> Path | HubReference:
    """Tell a path from a data set of the Hub.

    Parameters
    ----------
    reference
        A path is a path; a text is looked at.

    Returns
    -------
    Path or HubReference
        A path that need not exist, absolute.

    Raises
    ------
    ImageError
        If the reference begins with ``hub:`` and is no data set's, or is an address.
    """
    if isinstance(reference, Path):
        return reference.absolute()
    if reference.startswith(HUB_PREFIX):
        found = _HUB.fullmatch(reference.removeprefix(HUB_PREFIX))
        if found is None:
            raise ImageError(
                f"{reference} is no data set of the Hub. Write {HUB_PREFIX}owner/name, and if "
                f"wanted a revision and a split: {HUB_PREFIX}owner/name@revision:config/split."
            )
        return HubReference(**found.groupdict())
    if "://" in reference:
        raise ImageError(
            f"{reference} is an address, and images are listed from files. Write the addresses of "
            "the images into a CSV file with a column image_url and give that, or "
            f"{HUB_PREFIX}owner/name for a data set of the Hugging Face Hub."
        )
    path = Path(reference).absolute()
    found = _HUB.fullmatch(reference)
    if found is None or path.exists() or Path(found["id"].partition("/")[0]).exists():
        return path
    return HubReference(**found.groupdict())


def as_begun(reference: str | Path, kept: str | None) -> str | Path:
    """Return what a build that was begun goes on with when the same command is given again.

    A data set of the Hub that is asked for without a revision is then the commit that the build
    began with, whatever has been uploaded since; and it need not be asked for on the Hub.

    Parameters
    ----------
    reference
        What is asked for.
    kept
        What the build began with, from its record; None for a new one.
    """
    asked = parse_reference(reference)
    if kept is None or not is_remote(kept) or not isinstance(asked, HubReference):
        return reference
    begun = parse_reference(kept)
    # Of a configuration or split that is not named only the usual ones are known to be meant.
    same = (
        isinstance(begun, HubReference)
        and (asked.id, asked.revision) == (begun.id, None)
        and (asked.config or _USUAL_CONFIG, asked.split or _USUAL_SPLIT)
        == (begun.config, begun.split)
    )
    return kept if same else reference


def is_remote(reference: str) -> bool:
    """Return whether a set's own reference is a data set of the Hub, not a path here."""
    return reference.startswith(HUB_PREFIX)


def within(reference: str, folder: Path) -> str:
    """Return a set's own reference as a study keeps it: a path within its folder if it lies there.

    A study can then be moved with its images.
    """
    path = Path(reference)
    # A study folder in an object store is no path, and no images lie in it.
    if is_remote(reference) or not isinstance(folder, Path) or not path.is_relative_to(folder):
        return reference
    return path.relative_to(folder).as_posix()


def located(kept: str, folder: Path) -> str:
    """Return the reference that `within` was given, with the study's folder where it is now."""
    return kept if is_remote(kept) or Path(kept).is_absolute() else str(folder / kept)
