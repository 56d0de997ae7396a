"""The image loader: every kind of picture becomes the same RGB, everything else a named error."""

from __future__ import annotations

import os

import numpy as np
import PIL.Image
import pytest

from posefabric.data.images import FORMATS, read_image, write_image
from posefabric.errors import UserError

COLOURS = np.random.default_rng(0).integers(0, 256, (7, 11, 3), dtype=np.uint8)


def written(path, picture, **options):
    picture.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp"])
def test_lossless_formats_are_read_exactly(tmp_path, suffix):
    path = written(tmp_path / f"x.{suffix}", PIL.Image.fromarray(COLOURS), lossless=True)
    image = read_image(path)
    np.testing.assert_array_equal(image, COLOURS)
    assert image.flags.c_contiguous


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(tmp_path, orientation):
    upright = np.zeros((32, 48, 3), dtype=np.uint8)
    upright[:16, :16] = (255, 0, 0)
    turns = PIL.Image.Transpose
    stored_by = {2: 0, 3: turns.ROTATE_180, 4: 1, 5: 5, 6: turns.ROTATE_90, 7: 6, 8: turns.ROTATE_270}
    picture = PIL.Image.fromarray(upright)
    if orientation != 1:
        picture = picture.transpose(turns(stored_by[orientation]))
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    image = read_image(written(tmp_path / "x.png", picture, exif=exif))
    np.testing.assert_array_equal(image, upright)


def test_every_mode_becomes_rgb(tmp_path):
    grey = np.arange(27, 258, 3).clip(max=255).astype(np.uint8).reshape(7, 11)
    pictures = {
        "grey": PIL.Image.fromarray(grey),
        "deep": PIL.Image.fromarray(grey.astype(np.uint16) * 257),
        "palette": PIL.Image.fromarray(grey).convert("P"),
        "grey_alpha": PIL.Image.fromarray(grey).convert("LA"),
    }
    for name, picture in pictures.items():
        image = read_image(written(tmp_path / f"{name}.png", picture))
        np.testing.assert_array_equal(image, np.repeat(grey[..., None], 3, axis=-1), err_msg=name)
    cmyk = read_image(written(tmp_path / "x.jpg", PIL.Image.new("CMYK", (8, 8), (0, 0, 0, 0))))
    np.testing.assert_array_equal(cmyk, np.full((8, 8, 3), 255))


def test_transparent_pixels_lie_on_white(tmp_path):
    pixels = np.zeros((4, 4, 4), dtype=np.uint8)
    pixels[:2] = (200, 10, 30, 255)
    image = read_image(written(tmp_path / "x.png", PIL.Image.fromarray(pixels)))
    assert (image[:2] == (200, 10, 30)).all()
    assert (image[2:] == 255).all()


def broken_files(folder):
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    for name in ("whole.jpg", "whole.png", "whole.webp", "whole.tiff"):
        path = written(folder / name, PIL.Image.fromarray(noise))
        truncated = folder / f"truncated_{name}"
        truncated.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        yield truncated
    for name, content in {"empty.jpg": b"", "text.jpg": b"no image", "x.svg": b"<svg/>"}.items():
        (folder / name).write_bytes(content)
        yield folder / name
    yield written(folder / "x.ppm", PIL.Image.fromarray(noise))
    yield written(folder / "float.tiff", PIL.Image.fromarray(noise[..., 0].astype(np.float32)))
    yield folder


def test_what_is_no_whole_image_is_named(tmp_path):
    for path in broken_files(tmp_path):
        with pytest.raises(UserError) as caught:
            read_image(path)
        assert caught.value.code == "bad-image", path
        assert str(path) in str(caught.value)


def test_a_pipe_is_refused_without_reading_it(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(UserError, match="not a regular file"):
        read_image(tmp_path / "pipe.jpg")


@pytest.mark.parametrize(("width", "height"), [(20_000, 9_000), (60_000, 60_000)])
def test_huge_images_are_refused_by_their_header(tmp_path, width, height):
    path = written(tmp_path / "x.bmp", PIL.Image.new("RGB", (4, 4)))
    content = bytearray(path.read_bytes())
    content[18:26] = width.to_bytes(4, "little") + height.to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(UserError, match="at most 178 million pixels"):
        read_image(path)


def test_a_missing_file_is_another_error(tmp_path):
    with pytest.raises(UserError) as caught:
        read_image(tmp_path / "none.jpg")
    assert caught.value.code == "missing-file"


def test_written_images_are_read_back(tmp_path):
    write_image(tmp_path / "x.png", COLOURS)
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), COLOURS)
    with pytest.raises(UserError) as caught:
        write_image(tmp_path / "x.nothing", COLOURS)
    assert caught.value.code == "bad-value"
    with pytest.raises(UserError) as caught:
        write_image(tmp_path / "no" / "x.png", COLOURS)
    assert caught.value.code == "not-writable"


def test_the_allow_list_is_what_pillow_knows():
    PIL.Image.init()
    assert set(FORMATS) <= set(PIL.Image.OPEN)
