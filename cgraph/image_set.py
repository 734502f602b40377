"""What an image set is, whatever it lies in: a fixed order of images, read one at a time."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

Scalar = str | int | float | bool | None
"""One value of an attribute of an image."""

AttributeValue = Scalar | tuple[str, ...]
"""What an image has of an attribute: one value, or several, such as the colours in it."""


@dataclass(frozen=True)
class ImageRecord:
    """One image of a set."""

    image_id: str
    """Unique in its set."""

    image: Image.Image
    """The picture, mode ``RGB``, upright."""

    attributes: dict[str, AttributeValue]
    """What the set says about the image; the keys are the set's `attribute_names`."""


class ImageSet(abc.ABC):
    """Images in a fixed order, read one at a time, by several threads at once.

    Attributes
    ----------
    path
        Where the set lies.
    kind
        What it is made of, for people.
    image_ids
        One unique id per row.
    attribute_names
        Names of the attributes that every record carries.
    """

    path: Path
    kind: str
    image_ids: list[str]
    attribute_names: list[str]

    @property
    def name(self) -> str:
        """What to call the set: the name of its file or folder."""
        return self.path.resolve().name

    def __len__(self) -> int:
        return len(self.image_ids)

    @abc.abstractmethod
    def read(self, row: int) -> ImageRecord:
        """Read the image of one row.

        Parameters
        ----------
        row
            From 0 to ``len(self) - 1``.

        Returns
        -------
        ImageRecord

        Raises
        ------
        ImageError
            If the image cannot be read; see `load_image`.
        IndexError
            If there is no such row.
        """

    def picture(self, row: int, size: int) -> Image.Image:
        """Return the image of one row to be looked at.

        Parameters
        ----------
        row
            As for `read`, whose errors it has.
        size
            Longest side that is wanted, in pixels. Only a set that draws its images keeps to it.
        """
        return self.read(row).image

    @abc.abstractmethod
    def listing_fingerprint(self) -> str:
        """Fingerprint of what the set lists, without reading a pixel.

        Returns
        -------
        str
            sha256, in hexadecimal, of the ids in order and of the sizes of the files: a file added,
            removed, renamed or resized changes it; bytes replaced by as many others do not.
        """


def checked_row(row: int, n_rows: int) -> int:
    """Return a row that exists, or raise `IndexError`."""
    if not 0 <= row < n_rows:
        raise IndexError(f"row {row} of a set of {n_rows} images")
    return row
