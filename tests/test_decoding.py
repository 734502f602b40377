import io
import os
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from bad_images import BAD, encoded, photo, png, tiff
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cgraph.decoding import load_image, pixel_hash, thumbnail
from cgraph.errors import ConfigError, ImageError

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255,) * 3, (0,) * 3
CORNERS = np.array([[RED, GREEN, BLUE], [WHITE, BLACK, RED]], dtype=np.uint8)
"""2 rows, 3 columns: no two turns or flips of it are equal."""

STORED_AS = {
    1: CORNERS,
    2: CORNERS[:, ::-1],
    3: CORNERS[::-1, ::-1],
    4: CORNERS[::-1],
    5: CORNERS.transpose(1, 0, 2),
    6: np.rot90(CORNERS, 1),
    7: CORNERS[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(CORNERS, -1),
}
"""What a camera stores, by the orientation tag, when CORNERS is what was seen: with tag 6 the
viewer must turn the stored picture clockwise, so it was stored turned counter-clockwise."""


def pixels(data: bytes) -> np.ndarray:
    image = load_image(data, "cat")
    assert type(image) is Image.Image
    assert image.mode == "RGB"
    assert image.info == {}
    return np.asarray(image)


def grey(*levels: int) -> np.ndarray:
    return np.repeat(np.array([levels], dtype=np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_refused_with_their_name_and_cause(kind: str) -> None:
    data, words = BAD[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about damaged metadata
        with pytest.raises(ImageError) as error:
            load_image(data, "zoo/cat.png")
    assert str(error.value).startswith("zoo/cat.png ")
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("GIF", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "jpeg"}),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_file_cut_anywhere_is_never_half_decoded(form: str, options: dict) -> None:
    data = encoded(photo(), form, **options)
    whole = pixels(data)
    for length in range(0, len(data) - 24, 41):
        with pytest.raises(ImageError):
            load_image(data[:length], "cat")
    for length in range(len(data) - 24, len(data)):
        try:
            image = load_image(data[:length], "cat")
        except ImageError:
            continue
        # Only an end mark was lost: every pixel is there.
        np.testing.assert_array_equal(np.asarray(image), whole)


@settings(max_examples=150, deadline=None)
@given(st.data())
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_give_a_picture_or_an_image_error(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"]))
    content = bytearray(encoded(photo(9, 11), form))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = load_image(bytes(content), "cat")
    except ImageError as error:
        assert str(error).startswith("cat ")
    else:
        assert image.mode == "RGB"


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "GIF", "WEBP"])
def test_lossless_containers_give_the_same_pixels(form: str) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    picture = Image.fromarray(CORNERS)
    np.testing.assert_array_equal(pixels(encoded(picture, form, **options)), CORNERS)


def test_jpeg_is_read_as_pillow_decodes_it() -> None:
    data = encoded(photo(), "JPEG")
    np.testing.assert_array_equal(pixels(data), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("orientation", STORED_AS)
@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_orientation_tags_are_applied(form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    stored = np.ascontiguousarray(STORED_AS[orientation])
    options: dict[str, object] = {"WEBP": {"lossless": True}}.get(form, {})
    if form == "JPEG":  # whole blocks of one colour survive the compression
        stored = stored.repeat(16, axis=0).repeat(16, axis=1)
        options = {"quality": 100, "subsampling": 0}
    result = pixels(encoded(Image.fromarray(stored), form, exif=exif, **options))
    if form == "JPEG":
        result = result[8::16, 8::16]
    np.testing.assert_allclose(result.astype(int), CORNERS, atol=4 if form == "JPEG" else 0)


def test_orientation_of_16_bit_grey_is_applied() -> None:
    exif = Image.Exif()
    exif[274] = 6
    stored = Image.fromarray(np.array([[0], [65535]], dtype=np.uint16))
    # Turned clockwise: the lower pixel comes to the left.
    np.testing.assert_array_equal(pixels(encoded(stored, "PNG", exif=exif)), grey(255, 0))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_metadata_does_not_cost_the_picture() -> None:
    data = encoded(Image.fromarray(CORNERS), "PNG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f")
    np.testing.assert_array_equal(pixels(data), CORNERS)


def test_grey_and_black_and_white() -> None:
    levels = np.array([[0, 7, 255]], dtype=np.uint8)
    np.testing.assert_array_equal(pixels(encoded(Image.fromarray(levels), "PNG")), grey(0, 7, 255))
    bits = Image.fromarray(levels > 7)
    assert bits.mode == "1"
    np.testing.assert_array_equal(pixels(encoded(bits, "PNG")), grey(0, 0, 255))


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    levels = np.array([[0, 257, 300, 32768, 65535]], dtype=np.uint16)
    expected = grey(0, 1, 1, 128, 255)  # 300 / 257 = 1.17, 32768 / 257 = 127.502
    for form in ("PNG", "TIFF"):
        data = encoded(Image.fromarray(levels), form)
        np.testing.assert_array_equal(pixels(data), expected)


def test_tiff_grey_of_other_depths_and_directions() -> None:
    levels = np.array([0, 257, 65535], dtype="<u2").tobytes()
    np.testing.assert_array_equal(pixels(tiff(16, 1, levels, 3)), grey(0, 1, 255))
    np.testing.assert_array_equal(pixels(tiff(16, 0, levels, 3)), grey(255, 254, 0))
    np.testing.assert_array_equal(pixels(tiff(12, 1, b"\xff\xf0\x00", 2)), grey(255, 0))
    np.testing.assert_array_equal(pixels(tiff(8, 0, bytes([0, 16, 255]), 3)), grey(255, 239, 0))


def test_transparency_is_laid_on_white() -> None:
    rgba = np.array([[(255, 0, 0, 255), (255, 0, 0, 0), (0, 0, 0, 51)]], dtype=np.uint8)
    expected = np.array([[RED, WHITE, (204, 204, 204)]])  # 0.2 black on white
    np.testing.assert_array_equal(pixels(encoded(Image.fromarray(rgba), "PNG")), expected)
    la = np.array([[(0, 255), (0, 0), (0, 51)]], dtype=np.uint8)
    expected = grey(0, 255, 204)
    np.testing.assert_array_equal(pixels(encoded(Image.fromarray(la, "LA"), "PNG")), expected)


def test_transparent_palette_grey_and_colour_keys() -> None:
    palette = Image.new("P", (3, 1))
    palette.putpalette([*RED, *GREEN, *BLUE])
    palette.putdata([0, 1, 2])
    expected = np.array([[RED, GREEN, BLUE]])
    np.testing.assert_array_equal(pixels(encoded(palette, "PNG")), expected)
    np.testing.assert_array_equal(pixels(encoded(palette, "GIF")), expected)
    expected = np.array([[RED, WHITE, BLUE]])
    np.testing.assert_array_equal(pixels(encoded(palette, "PNG", transparency=1)), expected)
    np.testing.assert_array_equal(pixels(encoded(palette, "GIF", transparency=1)), expected)
    per_entry = encoded(palette, "PNG", transparency=bytes([255, 0, 255]))
    np.testing.assert_array_equal(pixels(per_entry), expected)

    levels = Image.fromarray(np.array([[0, 7, 255]], dtype=np.uint8))
    expected = grey(0, 255, 255)
    np.testing.assert_array_equal(pixels(encoded(levels, "PNG", transparency=7)), expected)
    colours = Image.fromarray(CORNERS[:1])
    data = encoded(colours, "PNG", transparency=GREEN)
    np.testing.assert_array_equal(pixels(data), [[RED, WHITE, BLUE]])
    deep = Image.fromarray(np.array([[0, 257, 514]], dtype=np.uint16))
    data = encoded(deep, "PNG", transparency=257)
    np.testing.assert_array_equal(pixels(data), grey(0, 255, 2))


@pytest.mark.parametrize("form", ["TIFF", "JPEG"])
def test_cmyk(form: str) -> None:
    inks = np.zeros((8, 32, 4), dtype=np.uint8)
    inks[:, 0:8, 0] = 255  # cyan ink leaves green and blue
    inks[:, 8:16, 2] = 255  # yellow
    inks[:, 16:24, 3] = 255  # black
    data = encoded(
        Image.fromarray(inks, "CMYK"), form, **({"quality": 100} if form == "JPEG" else {})
    )
    expected = [(0, 255, 255), (255, 255, 0), BLACK, WHITE]
    np.testing.assert_allclose(pixels(data)[4, 4::8].astype(int), expected, atol=6)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_an_animation_counts(form: str) -> None:
    frames = [Image.new("RGB", (4, 3), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if form == "WEBP" else {}
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)
    assert getattr(Image.open(io.BytesIO(data)), "n_frames", 1) == 3
    np.testing.assert_array_equal(pixels(data), np.full((3, 4, 3), RED))


def test_the_first_picture_of_a_camera_with_several_counts() -> None:
    pictures = [Image.new("RGB", (16, 16), colour) for colour in (RED, BLUE)]
    data = encoded(pictures[0], "MPO", save_all=True, append_images=pictures[1:])
    np.testing.assert_allclose(pixels(data)[8, 8].astype(int), RED, atol=2)


def test_paths_and_bytes_give_the_same_picture(tmp_path: Path) -> None:
    data = encoded(photo(), "PNG")
    (tmp_path / "cat").write_bytes(data)
    np.testing.assert_array_equal(np.asarray(load_image(tmp_path / "cat", "cat")), pixels(data))


def test_limits_are_inclusive_and_named(tmp_path: Path) -> None:
    data = encoded(photo(10, 12), "PNG")
    assert load_image(data, "cat", max_pixels=120, max_bytes=len(data)).size == (12, 10)
    with pytest.raises(ImageError, match="12 × 10 = 120 pixels; at most 119 are allowed"):
        load_image(data, "cat", max_pixels=119)
    (tmp_path / "cat").write_bytes(data)
    for source in (data, tmp_path / "cat"):
        with pytest.raises(ImageError, match=f"cat has {len(data)} bytes; at most {len(data) - 1}"):
            load_image(source, "cat", max_bytes=len(data) - 1)
    thin = png(1, 200, zlib.compress(bytes(400)))
    assert load_image(thin, "line").size == (1, 200)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cat cannot be read: No such file"):
        load_image(tmp_path / "cat", "cat")
    with pytest.raises(ImageError, match="cat cannot be read: Is a directory"):
        load_image(tmp_path, "cat")


def test_pixel_hash_sees_pixels_and_shape_only() -> None:
    picture = Image.fromarray(CORNERS)
    hashes = {
        pixel_hash(load_image(encoded(picture, form, **options), form))
        for form, options in [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})]
    }
    assert hashes == {pixel_hash(picture)}
    reshaped = Image.fromarray(CORNERS.reshape(3, 2, 3))
    assert pixel_hash(reshaped) != pixel_hash(picture)
    other = CORNERS.copy()
    other[1, 2, 0] -= 1
    assert pixel_hash(Image.fromarray(other)) != pixel_hash(picture)


def test_thumbnails_keep_the_aspect_and_are_never_enlarged() -> None:
    def size(image: Image.Image, px: int) -> tuple[int, int]:
        opened = Image.open(io.BytesIO(thumbnail(image, px)))
        assert opened.format == "JPEG"
        return opened.size

    assert size(photo(100, 200), 50) == (50, 25)
    assert size(photo(200, 100), 50) == (25, 50)
    assert size(photo(20, 30), 50) == (30, 20)
    assert size(photo(1, 200), 50) == (50, 1)
    with pytest.raises(ConfigError, match="0 pixels; it must be at least 1"):
        thumbnail(photo(), 0)


def test_thumbnails_have_the_same_bytes_every_time() -> None:
    assert thumbnail(photo(), 32) == thumbnail(load_image(encoded(photo(), "BMP"), "b"), 32)


@pytest.mark.skipif(os.name != "posix", reason="devices and pipes have names on POSIX only")
def test_devices_and_pipes_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (Path("/dev/zero"), tmp_path / "pipe.png"):
        with pytest.raises(ImageError, match="is a device or a pipe"):
            load_image(path, path.name)
