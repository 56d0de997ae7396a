"""The image loader: every kind of picture becomes the same RGB, everything else a named error."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_cases import CASES, PHOTO, encoded, flipped, frames, jpeg, turned
from read_apart import forget_peak, peak_bytes

from posefabric.data import decoding, images
from posefabric.data.images import FORMATS, read_header, read_image, write_image
from posefabric.data.streams import MeteredFile
from posefabric.errors import UserError

GROWTH_BYTES, SECONDS = 300 * 10**6, 1.0
READER = Path(__file__).with_name("read_apart.py")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Case name -> what became of its file in another process, which is killed where it hangs."""
    folder = tmp_path_factory.mktemp("cases")
    (folder / "warm_up.jpg").write_bytes(jpeg())
    for case in CASES:
        case.make(folder / case.name)
    ghostscript = folder / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {folder}/started\n")
    ghostscript.chmod(0o755)
    files = [str(folder / case.name) for case in CASES]
    environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
    command = [sys.executable, str(READER), str(folder / "warm_up.jpg"), *files]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert ran.returncode == 0, f"stopped at {lines[-1:]}: {ran.stderr[-2000:]}"
    assert not (folder / "started").exists(), "an external program was started"
    return {case.name: (line, folder / f"{case.name}.npy") for case, line in zip(CASES, lines[1::2], strict=True)}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.number}-{case.name}")
def test_the_table_of_image_files(outcomes, case):
    found, pixels = outcomes[case.name]
    assert found["code"] == case.outcome, found["message"]
    assert found["growth"] < GROWTH_BYTES
    assert found["seconds"] < SECONDS
    assert found["unchanged"]
    if case.outcome == "ok":
        image = np.load(pixels)
        assert image.shape == case.pixels.shape
        assert np.abs(image.astype(int) - case.pixels).max() <= case.tolerance
        assert found["header_hw"] == list(image.shape[:2])
        assert case.says in " ".join(found["notes"])
        assert bool(case.says) == bool(found["notes"])
    else:
        assert case.says in found["message"]
        assert "\n" not in found["message"], "a name may hold a line break, a message has one line"


def test_the_table_is_complete():
    assert {case.number for case in CASES} == set(range(1, 36))  # 36: replaced while it is read, below


@pytest.mark.parametrize("change", ["appended", "replaced"])
def test_a_file_that_changes_while_it_is_read(tmp_path, monkeypatch, change):
    """Case 36: an error, or the picture as it was; never a mixture."""
    path = tmp_path / "x.png"
    path.write_bytes(encoded(PHOTO, "PNG"))
    decode = decoding.decode

    def disturbed(*arguments, **options):
        if change == "appended":
            path.write_bytes(path.read_bytes() + b"more")
        else:
            (tmp_path / "other.png").write_bytes(encoded(PHOTO[::-1].copy(), "PNG"))
            (tmp_path / "other.png").rename(path)
        return decode(*arguments, **options)

    monkeypatch.setattr(decoding, "decode", disturbed)
    if change == "appended":
        with pytest.raises(UserError, match="changed meanwhile"):
            read_image(path)
    else:
        np.testing.assert_array_equal(read_image(path), PHOTO)


def test_a_missing_end_marker_can_be_allowed_and_nothing_else(tmp_path):
    path = tmp_path / "x.jpg"
    for lost in (1, 2):
        path.write_bytes(jpeg()[:-lost])
        with pytest.raises(UserError, match="allow_truncated"):
            read_image(path)
        assert np.abs(read_image(path, allow_truncated=True).astype(int) - PHOTO).max() < 7
    for data in (jpeg()[: len(jpeg()) // 2], jpeg()[:-40], flipped(0)[:-2]):
        path.write_bytes(data)
        with pytest.raises(UserError, match="cannot be read"):
            read_image(path, allow_truncated=True)
    path.write_bytes(jpeg())
    np.testing.assert_array_equal(read_image(path, allow_truncated=True), read_image(path))


def test_frames_are_warned_of_once(tmp_path, caplog):
    path = tmp_path / "x.gif"
    path.write_bytes(frames("GIF"))
    with caplog.at_level(logging.WARNING):
        read_image(path)
        read_image(path)
    assert [record.message for record in caplog.records] == [f"{path} has several frames; the first is taken"]


WHOLE = {
    "jpeg": jpeg(),
    "progressive": jpeg(progressive=True),
    "turned jpeg": turned(6, "JPEG"),
    "png": encoded(PHOTO, "PNG"),
    "apng": frames("PNG"),
    "webp": frames("WEBP"),
    "gif": frames("GIF"),
    "bmp": encoded(PHOTO, "BMP"),
    "tiff": frames("TIFF"),
    "lzw tiff": encoded(PHOTO, "TIFF", compression="tiff_lzw"),
    "turned tiff": turned(6, "TIFF"),
}
PLACES = st.one_of(st.integers(0, 150), st.integers(0, 10_000))


@pytest.mark.parametrize("name", WHOLE)
@given(changes=st.lists(st.tuples(PLACES, st.integers(0, 4), st.binary(max_size=4)), min_size=1, max_size=6))
@settings(max_examples=40, deadline=1000)
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow, of damaged tags
def test_whatever_is_damaged_is_a_picture_or_a_named_error(name, changes):
    """And the header says what size the picture will have."""
    data = bytearray(WHOLE[name])
    for place, removed, put in changes:
        at = place % len(data)
        data[at : at + removed] = put
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        try:
            found = read_image(file.name).shape[:2]
        except UserError as error:
            found = error.code
        assert found == "bad-image" or found == read_header(file.name).hw


KINDS = {
    "upright.jpg": ("JPEG", {}),
    "turned.jpg": ("JPEG", {"exif": 6}),
    "progressive.jpg": ("JPEG", {"progressive": True, "subsampling": 0}),
    "inks.jpg": ("JPEG", {"mode": "CMYK", "progressive": True}),
    "grey.jpg": ("JPEG", {"mode": "L", "progressive": True}),
    "x.png": ("PNG", {}),
    "turned.png": ("PNG", {"exif": 6}),
    "alpha.png": ("PNG", {"mode": "RGBA"}),
    "palette.png": ("PNG", {"mode": "P"}),
    "x.webp": ("WEBP", {}),
    "x.tiff": ("TIFF", {"compression": "tiff_lzw"}),
    "x.bmp": ("BMP", {}),
    "x.gif": ("GIF", {}),
}


def of_kind(name: str) -> bytes:
    """A file of 3 million pixels."""
    format, options = KINDS[name]
    options = dict(options)
    picture = PIL.Image.linear_gradient("L").resize((2000, 1500)).convert(options.pop("mode", "RGB"))
    if "exif" in options:
        exif = PIL.Image.Exif()
        exif[0x0112] = options["exif"]
        options["exif"] = exif
    return encoded(picture, format, **options)


def limit_of(path: Path) -> int:
    """How many pixels a file like this may have."""
    with MeteredFile(path.open("rb", buffering=0)) as stream, PIL.Image.open(stream) as file:
        stream.header_is_read()
        return decoding.max_pixels(stream, file, images.MAX_GROWTH_BYTES)


@pytest.mark.parametrize("name", KINDS)
def test_decoding_takes_the_memory_that_the_header_promises(tmp_path, name):
    """The limit on pixels holds memory below 300 MB if the cost of a pixel is known: measured at 3 million."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak of memory can be measured under Linux only")
    path = tmp_path / name
    path.write_bytes(of_kind(name))
    read_image(path)
    promised = images.MAX_GROWTH_BYTES * 3_000_000 / limit_of(path)
    forget_peak()
    base = peak_bytes()
    read_image(path)
    assert peak_bytes() - base < promised + 6_000_000


@pytest.mark.parametrize(
    ("name", "millions"),
    {"upright.jpg": 93, "turned.jpg": 46, "progressive.jpg": 31, "x.png": 40, "x.tiff": 28, "x.webp": 16}.items(),
)
def test_limits_are_those_of_the_documentation(tmp_path, name, millions):
    path = tmp_path / name
    path.write_bytes(of_kind(name))
    held = 2 * path.stat().st_size if name.endswith(("jpg", "webp")) else 0
    assert limit_of(path) * images.MAX_GROWTH_BYTES // (images.MAX_GROWTH_BYTES - held) // 10**6 == millions


def test_scans_of_single_components_cost_more(tmp_path):
    """libjpeg holds all coefficients of a JPEG whose components come one by one."""
    data = bytearray(encoded(np.zeros((64, 64, 3), dtype=np.uint8), "JPEG"))
    size, scan = data.index(b"\xff\xc0") + 5, data.index(b"\xff\xda")
    data[size : size + 4] = (6000).to_bytes(2) + (8000).to_bytes(2)
    path = tmp_path / "x.jpg"
    path.write_bytes(data)
    assert read_header(path).hw == (6000, 8000)
    path.write_bytes(data[: scan + 2] + b"\0\x08\x01\x01\0\0\x3f\0" + data[scan + 14 :])
    with pytest.raises(UserError, match="at most 31"):
        read_header(path)


def test_a_progressive_jpeg_of_endless_scans_is_refused(tmp_path):
    data = jpeg(progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    (tmp_path / "x.jpg").write_bytes(data[:-2] + scan * 1000 + data[-2:])
    with pytest.raises(UserError, match="scans"):
        read_image(tmp_path / "x.jpg")


@pytest.mark.parametrize("sampling", [0x411111, 0x420000, 0x221111, 0x211111, 0x121111, 0x111111])
def test_every_chroma_sampling_is_read_as_pillow_reads_it(tmp_path, sampling):
    path = tmp_path / "x.jpg"
    if not cv2.imwrite(str(path), PHOTO, [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]):
        pytest.skip("this build cannot write it")
    theirs = np.asarray(PIL.Image.open(path).convert("RGB")).astype(int)
    assert np.abs(read_image(path) - theirs).max() <= 1


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp"])
def test_lossless_formats_are_read_exactly(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    PIL.Image.fromarray(PHOTO).save(path, lossless=True)
    image = read_image(path)
    np.testing.assert_array_equal(image, PHOTO)
    assert image.flags.c_contiguous


def test_written_images_are_read_back(tmp_path):
    write_image(tmp_path / "x.png", PHOTO)
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), PHOTO)
    with pytest.raises(UserError) as caught:
        write_image(tmp_path / "x.nothing", PHOTO)
    assert caught.value.code == "bad-value"
    with pytest.raises(UserError) as caught:
        write_image(tmp_path / "no" / "x.png", PHOTO)
    assert caught.value.code == "not-writable"


def test_the_allow_list_is_what_pillow_knows():
    PIL.Image.init()
    assert set(FORMATS) <= set(PIL.Image.OPEN)
