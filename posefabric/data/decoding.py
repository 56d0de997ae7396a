"""The pixels of an opened image file, upright RGB: JPEG by libjpeg-turbo, all else by Pillow.

libjpeg-turbo because it is the fastest and says when it had to guess; Pillow and OpenCV take a damaged scan as
it comes. Pictures are converted strip by strip into the result, so memory is theirs and the result's alone.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import PIL.Image
import simplejpeg
from jaxtyping import UInt8
from PIL.ExifTags import Base
from PIL.TiffImagePlugin import TiffImageFile

from posefabric.data.records import Image

STRIP_PX = 2**18
"""How many pixels are converted at a time."""

JPEG = ("JPEG", "MPO")
"""Pillow's names for it; MPO is how cameras append further pictures."""

SCAN_MARKER, END_MARKER = b"\xff\xda", b"\xff\xd9"
MAX_SCANS = 100
"""Encoders write about ten; a progressive JPEG of thousands keeps a decoder busy for minutes."""

_INVERSE = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}
"""EXIF orientation -> the one that undoes it."""


def decode(stream: BinaryIO, file: PIL.Image.Image, *, allow_truncated: bool) -> Image:
    """The picture; `file` is the `stream` opened by Pillow. Raises what decoders raise on damaged files."""
    if file.format == "PNG":
        _check_chunks(stream)
    if file.format not in JPEG:
        return _converted(file, _orientation(file))
    stream.seek(0)
    data = stream.read()
    if allow_truncated and not data.endswith(END_MARKER):
        data += END_MARKER
    if file.info.get("progressive") and data.count(SCAN_MARKER) > MAX_SCANS:
        raise ValueError(f"it has more than {MAX_SCANS} scans")
    if file.mode == "CMYK":
        return _converted(_inks(data, file), _orientation(file))
    stored = simplejpeg.decode_jpeg(data, "RGB")
    del data
    return np.ascontiguousarray(_turned(stored, _orientation(file)))


def upright_hw(file: PIL.Image.Image) -> tuple[int, int]:
    """The size of the decoded picture, from the header."""
    return file.size if _swaps_axes(_orientation(file)) else file.size[::-1]


def max_pixels(stream: BinaryIO, file: PIL.Image.Image, growth_bytes: int) -> int:
    """How many pixels an image in this file may have so that decoding grows the process by `growth_bytes` at most."""
    held = 2 * os.fstat(stream.fileno()).st_size if file.format in (*JPEG, "WEBP") else 0
    return max(growth_bytes - held, 0) // _bytes_per_pixel(stream, file)


def _bytes_per_pixel(stream: BinaryIO, file: PIL.Image.Image) -> int:
    """What decoding takes at its peak beside the file itself; a test measures it."""
    if file.format in JPEG:
        samples = len(file.getbands())
        picture = max(samples, 3)
        coefficients = 2 * samples if _has_several_scans(stream, file) else 0
        converted = _PILLOW if file.mode == "CMYK" else 2 * picture if _orientation(file) > 1 else picture
        return max(coefficients + picture, converted)
    if file.format == "WEBP":
        return 17  # two canvases of its animation decoder, and what that hands to Pillow
    if isinstance(file, TiffImageFile):
        return _PILLOW + sum(file.tag_v2.get(Base.BitsPerSample, (1,))) // 8  # one strip may hold all
    return _PILLOW


_PILLOW = 7  # its picture and the result


def _orientation(file: PIL.Image.Image) -> int:
    """EXIF's, 1 to 8, as written before the pixels; 1 where there is none, or none that can be read."""
    if isinstance(file, TiffImageFile):
        return 1  # Pillow turns these while it loads them
    try:
        found = PIL.Image.Image.getexif(file).get(Base.Orientation)  # PNG's own would decode the picture
    except (SyntaxError, ValueError, LookupError, TypeError, struct.error):
        return 1
    return found if found in _INVERSE else 1


def _swaps_axes(orientation: int) -> bool:
    return orientation >= 5


def _turned(image: Image, orientation: int) -> Image:
    """A view of the stored picture, upright (EXIF 2.3, tag 274)."""
    if orientation in (5, 7):
        image = image.swapaxes(0, 1)
    if orientation in (6, 8):
        return np.rot90(image, -1 if orientation == 6 else 1)
    across = orientation in (2, 3, 7)
    down = orientation in (3, 4, 7)
    return image[:: -1 if down else 1, :: -1 if across else 1]


def _converted(picture: PIL.Image.Image, orientation: int) -> Image:
    picture.load()
    width, height = picture.size
    upright = np.empty((*((width, height) if _swaps_axes(orientation) else (height, width)), 3), dtype=np.uint8)
    stored = _turned(upright, _INVERSE[orientation])
    for top, strip in _strips(picture):
        stored[top : top + strip.height] = _rgb(strip)
    return upright


def _strips(picture: PIL.Image.Image) -> Iterator[tuple[int, PIL.Image.Image]]:
    width, height = picture.size
    step = max(STRIP_PX // width, 1)
    for top in range(0, height, step):
        yield top, picture.crop((0, top, width, min(top + step, height)))


def _rgb(picture: PIL.Image.Image) -> UInt8[np.ndarray, "H W 3"]:
    if picture.mode.startswith("I;16"):
        deep = np.asarray(picture).astype(np.float32)
        return np.repeat(np.rint(deep / 257).astype(np.uint8)[..., None], 3, axis=-1)
    if picture.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {picture.mode} have no known range; save them as 8 or 16 bits")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = PIL.Image.alpha_composite(PIL.Image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(picture.convert("RGB"))


def _inks(data: bytes, file: PIL.Image.Image) -> PIL.Image.Image:
    """The four inks of a CMYK JPEG; Adobe stores them inverted."""
    inks = simplejpeg.decode_jpeg(data, "CMYK")
    if "adobe" in file.info:
        np.invert(inks, out=inks)
    return PIL.Image.frombuffer("CMYK", file.size, inks, "raw", "CMYK", 0, 1)


def _check_chunks(stream: BinaryIO) -> None:
    """Compare every checksum of a PNG, which Pillow does for its header only; leaves the stream where it was."""
    before = stream.tell()
    stream.seek(len(b"\x89PNG\r\n\x1a\n"))
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", stream.read(8))
        checksum = zlib.crc32(stream.read(length), zlib.crc32(kind))
        if stream.read(4) != checksum.to_bytes(4):
            raise ValueError(f"its chunk {kind.decode('ascii', 'replace')} does not have its checksum")
    stream.seek(before)


def _has_several_scans(stream: BinaryIO, file: PIL.Image.Image) -> bool:
    """Whether libjpeg must hold all coefficients of a JPEG: it is progressive, or its components come one by one."""
    return bool(file.info.get("progressive")) or _components_of_first_scan(stream) < len(file.getbands())


def _components_of_first_scan(stream: BinaryIO) -> int:
    """Walks from marker to marker, each followed by its length; 0 where that leads nowhere."""
    at = len(b"\xff\xd8")
    while True:
        stream.seek(at)
        head = stream.read(5)
        if len(head) < 5 or head[0] != 0xFF:
            return 0
        if head[:2] == SCAN_MARKER:
            return head[4]
        at += 1 if head[1] == 0xFF else 2 + int.from_bytes(head[2:4])
