"""Files that are no readable image, each with words that its error must say."""

import io
import struct
import zipfile
import zlib

import numpy as np
from PIL import Image

HTML = b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>"
SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n"


def photo(height: int = 37, width: int = 53) -> Image.Image:
    """Noise, so that no format can compress it to almost nothing."""
    levels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(levels)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def cut(form: str, share: float, **options: object) -> bytes:
    data = encoded(photo(), form, **options)
    return data[: int(len(data) * share)]


def png(width: int, height: int, data: bytes) -> bytes:
    """PNG of 8-bit grey with any header over any compressed data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def tiff(bits: int, photometric: int, data: bytes, width: int, height: int = 1) -> bytes:
    """Uncompressed grey TIFF of one strip, little endian."""
    fields = {
        256: width,
        257: height,
        258: bits,
        259: 1,
        262: photometric,
        273: 8,
        277: 1,
        278: height,
        279: len(data),
    }
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields.items())
    directory = struct.pack("<H", len(fields)) + entries + struct.pack("<I", 0)
    return b"II*\x00" + struct.pack("<I", 8 + len(data)) + data + directory


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("cat.png", encoded(photo(), "PNG"))
    return buffer.getvalue()


def with_size(form: str, width: int, height: int) -> bytes:
    """Image whose header claims another size than its data have."""
    data = bytearray(encoded(photo(), form))
    if form == "JPEG":
        frame = data.index(b"\xff\xc0")
        data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    elif form == "GIF":
        data[6:10] = struct.pack("<HH", width, height)
    elif form == "BMP":
        data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def damaged_png() -> bytes:
    data = bytearray(encoded(photo(), "PNG"))
    data[200:240] = bytes(40)
    return bytes(data)


def damaged_webp() -> bytes:
    data = bytearray(encoded(photo(), "WEBP"))
    data[12:40] = bytes(28)
    return bytes(data)


BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty (0 bytes)"),
    "one byte": (b"\x89", "unknown data (first bytes 89)"),
    "zeros": (bytes(100), "unknown data (first bytes 00 00"),
    "text": (b"not an image\n", "looks like plain text"),
    "json": (b'{"label": "cat"}', "looks like JSON text"),
    "html": (HTML, "looks like an HTML page"),
    "svg": (SVG, "looks like an SVG drawing"),
    "bare svg": (SVG.partition(b"\n")[2], "looks like an SVG drawing"),
    "xml": (b'<?xml version="1.0"?>\n<note/>', "looks like an XML document"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "looks like a PDF document"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "looks like a PostScript document"),
    "zip": (zipped(), "looks like a zip archive"),
    "gzip": (b"\x1f\x8b\x08" + bytes(20), "looks like a gzip archive"),
    "heic": (b"\x00\x00\x00\x18ftypheic" + bytes(20), "looks like an HEIC photograph"),
    "avif": (b"\x00\x00\x00\x20ftypavif" + bytes(20), "looks like an AVIF image"),
    "video": (b"\x00\x00\x00\x18ftypisom" + bytes(20), "looks like an MP4 or QuickTime video"),
    "jpeg xl": (b"\xff\x0a" + bytes(20), "looks like a JPEG XL image"),
    "jpeg 2000": (b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(20), "looks like a JPEG 2000 image"),
    "photoshop": (b"8BPS\x00\x01" + bytes(20), "looks like a Photoshop document"),
    "icon": (encoded(photo(), "ICO"), "looks like an icon file"),
    "portable pixmap": (encoded(photo(), "PPM"), "is not an accepted image"),
    "parquet": (b"PAR1" + bytes(20), "looks like a Parquet table"),
    "git lfs": (LFS, "looks like a Git LFS pointer"),
    "png signature alone": (b"\x89PNG\r\n\x1a\n", "begins like a PNG image, but its header"),
    "png header cut": (encoded(photo(), "PNG")[:20], "is truncated: the PNG data end"),
    "png cut": (cut("PNG", 0.6), "is truncated: the PNG data end"),
    "png damaged": (damaged_png(), "is damaged: its PNG data cannot be decoded"),
    "webp damaged": (damaged_webp(), "begins like a WebP image, but its header"),
    "png no width": (png(0, 5, zlib.compress(b"")), "begins like a PNG image, but its header"),
    "png bomb": (png(50_000, 50_000, zlib.compress(bytes(1000))), "more pixels than the allowed"),
    "png too large": (png(9000, 9000, zlib.compress(bytes(1000))), "= 81,000,000 pixels; at most"),
    "png too thin": (png(2, 401, zlib.compress(bytes(1203))), "at most 200 times the other"),
    "jpeg cut": (cut("JPEG", 0.6), "is truncated: the JPEG data end"),
    "jpeg nearly whole": (encoded(photo(), "JPEG")[:-3], "is truncated: the JPEG data end"),
    "progressive cut": (cut("JPEG", 0.6, progressive=True), "is truncated: the JPEG data end"),
    "jpeg bomb": (with_size("JPEG", 65_000, 65_000), "more pixels than the allowed"),
    "jpeg too tall": (with_size("JPEG", 53, 60_000), "at most 200 times the other"),
    "gif cut": (cut("GIF", 0.6), "is truncated: the GIF data end"),
    "gif bomb": (with_size("GIF", 65_000, 65_000), "more pixels than the allowed"),
    "bmp cut": (cut("BMP", 0.6), "is truncated: the BMP data end"),
    "bmp bomb": (with_size("BMP", 60_000, 60_000), "more pixels than the allowed"),
    "webp cut": (cut("WEBP", 0.6), "is truncated: the WebP data end"),
    "tiff cut": (cut("TIFF", 0.6), "is truncated: the TIFF data end"),
    "tiff without directory": (
        cut("TIFF", 0.6, compression="tiff_lzw"),
        "begins like a TIFF image, but its header is truncated",
    ),
    "float tiff": (encoded(photo().convert("F"), "TIFF"), "pixels of mode F"),
    "32-bit tiff": (encoded(photo().convert("I"), "TIFF"), "pixels of mode I,"),
}
"""Bytes and expected words, by kind."""
