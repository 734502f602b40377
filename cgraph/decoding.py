"""From the bytes of one image file to an RGB picture, or to one sentence why not.

Every image enters cgraph through `load_image`, so whatever the container, mode and orientation,
the same picture gives the same RGB pixels: orientation tags are applied, transparent parts are
laid on white, palettes, grey, CMYK and 16-bit grey are converted, and of an animation the first
frame counts. Colour profiles are ignored, as the image processors of vision models ignore them.
"""

from __future__ import annotations

import hashlib
import io
import stat
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from cgraph.errors import ConfigError, ImageError

MAX_PIXELS = 64_000_000
"""Most pixels of one image; more are refused before anything is decoded."""

MAX_BYTES = 64 * 2**20
"""Most bytes of one image file."""

MAX_ASPECT = 200
"""Most times that one side may be longer than the other: a model that resizes the shorter side
would make a huge picture of a thin line."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
"""Endings of file names that count as images in a folder, in any case."""

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_ACCEPTED = "Accepted are PNG, JPEG, WebP, GIF, BMP and TIFF."
_THUMBNAIL_QUALITY = 85

_ACCEPTED_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
)

_FOREIGN_MAGIC = (
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL image"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image"),
    (b"8BPS", "a Photoshop document"),
    (b"\x00\x00\x01\x00", "an icon file"),
    (b"%!PS", "a PostScript document"),
    (b"PAR1", "a Parquet table"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"),
    (b"version https://git-lfs", "a Git LFS pointer (fetch the file itself with `git lfs pull`)"),
)

_FTYP_BRANDS = {
    b"heic": "an HEIC photograph",
    b"heix": "an HEIC photograph",
    b"mif1": "an HEIF image",
    b"avif": "an AVIF image",
    b"avis": "an AVIF image",
}

# Exif orientation (tag 274) -> what brings the stored pixels upright.
_ORIENTATION_TAG = 274
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_TIFF_BITS_PER_SAMPLE = 258
_TIFF_PHOTOMETRIC = 262
_TIFF_WHITE_IS_ZERO = 0


def load_image(
    source: bytes | Path,
    name: str,
    *,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
) -> Image.Image:
    """Read one image file completely.

    Parameters
    ----------
    source
        The bytes of the file, or its path.
    name
        What to call the image in messages.
    max_pixels
        Most pixels (width × height), compared with the header before decoding. Pillow's own limit
        of about 179 million holds in any case.
    max_bytes
        Most bytes of the file.

    Returns
    -------
    PIL.Image.Image
        The upright picture, mode ``RGB``, without metadata.

    Raises
    ------
    ImageError
        Naming `name` and the cause: unreadable, empty or too large a file, not an image, another
        format, truncated or damaged, too many pixels, or pixels without a fixed range.
    """
    data = _read_bytes(source, name, max_bytes)
    if not data:
        raise ImageError(f"{name} is empty (0 bytes).")
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
        _check_size(image.size, name, max_pixels)
        image.load()
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name} has more pixels than the allowed {max_pixels:,}.") from error
    except UnidentifiedImageError as error:
        raise ImageError(_unidentified(data, name)) from error
    except Exception as error:
        # Decoders meet damaged bytes with almost any exception: OSError, SyntaxError, struct.error.
        raise ImageError(_undecodable(data, name, error)) from error
    try:
        rgb = _upright(_to_rgb(image), image)
    except ValueError as error:
        raise ImageError(
            f"{name} has pixels of mode {image.mode}, which have no fixed range or no conversion "
            "to RGB; save it as an 8-bit or 16-bit image."
        ) from error
    rgb.info.clear()
    return rgb


def pixel_hash(image: Image.Image) -> str:
    """Fingerprint of the pixels alone: identical pictures have one, whatever their container.

    Parameters
    ----------
    image
        A picture, mode ``RGB``.

    Returns
    -------
    str
        sha256, in hexadecimal, of width, height and RGB bytes.
    """
    digest = hashlib.sha256(f"{image.width}x{image.height}:".encode())
    digest.update(image.convert("RGB").tobytes())
    return digest.hexdigest()


def thumbnail(image: Image.Image, px: int) -> bytes:
    """Small JPEG of a picture: the same bytes for the same pixels.

    Parameters
    ----------
    image
        A picture, mode ``RGB``.
    px
        Longest side in pixels; the aspect is kept, and a smaller picture is not enlarged.

    Returns
    -------
    bytes
        A JPEG file.

    Raises
    ------
    ConfigError
        If `px` is below 1.
    """
    if px < 1:
        raise ConfigError(f"A thumbnail's side is {px} pixels; it must be at least 1.")
    scale = px / max(image.size)
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    # Tables of its own shorten the code of so small a picture by a sixth; its pixels stay the same.
    image.convert("RGB").save(buffer, "JPEG", quality=_THUMBNAIL_QUALITY, optimize=True)
    return buffer.getvalue()


def _read_bytes(source: bytes | Path, name: str, max_bytes: int) -> bytes:
    if isinstance(source, Path):
        try:
            status = source.stat()
            if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
                # A device never ends, and a pipe may wait for ever.
                raise ImageError(f"{name} is a device or a pipe, not a file. Give an image file.")
            size = status.st_size
            if size <= max_bytes:
                return source.read_bytes()
        except OSError as error:
            raise ImageError(f"{name} cannot be read: {error.strerror or error}.") from error
    else:
        size = len(source)
        if size <= max_bytes:
            return source
    raise ImageError(f"{name} has {size:,} bytes; at most {max_bytes:,} are allowed.")


def _check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"{name} has no pixels ({width} × {height}).")
    if width * height > max_pixels:
        raise ImageError(
            f"{name} has {width} × {height} = {width * height:,} pixels; "
            f"at most {max_pixels:,} are allowed."
        )
    if max(size) > MAX_ASPECT * min(size):
        raise ImageError(
            f"{name} is {width} × {height} pixels; "
            f"one side may be at most {MAX_ASPECT} times the other."
        )


def _accepted_format(data: bytes) -> str | None:
    """Name of the accepted format that the first bytes announce."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    return next((form for magic, form in _ACCEPTED_MAGIC if data.startswith(magic)), None)


def _unidentified(data: bytes, name: str) -> str:
    form = _accepted_format(data)
    if form is not None:
        return f"{name} begins like a {form} image, but its header is truncated or damaged."
    return f"{name} is not an accepted image: it looks like {_look_of(data)}. {_ACCEPTED}"


def _undecodable(data: bytes, name: str, error: Exception) -> str:
    form = _accepted_format(data) or "image"
    webp_size = int.from_bytes(data[4:8], "little") + 8
    if "truncated" in str(error).lower() or (form == "WebP" and len(data) < webp_size):
        return f"{name} is truncated: the {form} data end before the picture is complete."
    return f"{name} is damaged: its {form} data cannot be decoded ({error})."


def _look_of(data: bytes) -> str:
    """Describe by its first bytes what a file that is no accepted image seems to be."""
    for magic, what in _FOREIGN_MAGIC:
        if data.startswith(magic):
            return what
    if data[4:8] == b"ftyp":
        return _FTYP_BRANDS.get(data[8:12], "an MP4 or QuickTime video")
    head = data[:2048]
    try:
        text = head.decode("utf-8-sig", errors="strict" if len(data) <= 2048 else "ignore")
    except UnicodeDecodeError:
        text = ""
    if not text or any(ord(char) < 32 and char not in "\t\n\f\r" for char in text):
        return f"unknown data (first bytes {head[:8].hex(' ')})"
    text = text.strip().lower()
    if text.startswith(("<svg", "<?xml", "<!--", "<!doctype svg")) and "<svg" in text:
        return "an SVG drawing"
    if text.startswith(("<!doctype html", "<html", "<head", "<body")):
        return "an HTML page"
    if text.startswith("<?xml"):
        return "an XML document"
    if text.startswith(("{", "[")):
        return "JSON text"
    return "plain text"


def _upright(rgb: Image.Image, stored: Image.Image) -> Image.Image:
    """Turn `rgb` as the orientation tag of the `stored` picture says."""
    try:
        orientation = stored.getexif().get(_ORIENTATION_TAG)
    except Exception:  # damaged metadata must not cost a picture whose pixels are whole
        return rgb
    turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return rgb if turn is None else rgb.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        return _grey16_to_rgb(image)
    if image.mode in ("I", "F"):
        raise ValueError(f"mode {image.mode} has no fixed range")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _grey16_to_rgb(image: Image.Image) -> Image.Image:
    """Scale 9 to 16-bit grey to 8 bits, where Pillow's own conversion would clip at 255."""
    values = np.asarray(image).astype(np.uint32)
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_TIFF_BITS_PER_SAMPLE, (16,))[0]
    white = 2**bits - 1
    grey = (values * 255 + white // 2) // white
    if tags.get(_TIFF_PHOTOMETRIC) == _TIFF_WHITE_IS_ZERO:
        grey = 255 - grey
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")
