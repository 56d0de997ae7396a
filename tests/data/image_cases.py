"""The image files that people and strangers hand in: how each is made, and what must become of it."""

from __future__ import annotations

import functools
import io
import os
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import PIL.Image

RAMP = np.linspace(20, 230, 64)
PHOTO = np.stack(np.broadcast_arrays(RAMP, RAMP[:48, None], RAMP[::-1]), axis=-1).astype(np.uint8)  # 48 x 64
GREY = PHOTO[..., 0]
ON_WHITE = np.where(np.arange(64)[None, :, None] < 32, PHOTO, 255).astype(np.uint8)  # its right half transparent
ORIENTATION = 0x0112
MEBIBYTE = 2**20
JPEG_NOISE = 6  # largest difference that JPEG compression makes here


@dataclass(frozen=True)
class Case:
    """`number` of the table; `says` is part of the error, or of the header's note; `pixels` is what must be read."""

    number: int
    name: str
    make: Callable[[Path], None]
    outcome: str = "bad-image"
    says: str = ""
    pixels: np.ndarray | None = None
    tolerance: int = 0


def encoded(pixels: np.ndarray | PIL.Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture = PIL.Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    picture.save(stream, format, **options)
    return stream.getvalue()


@functools.cache
def jpeg(**options: object) -> bytes:
    return encoded(PHOTO, "JPEG", **{"quality": 95, "subsampling": 0} | options)


def chunk(kind: bytes, content: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, deflated: bytes = b"", extra: bytes = b"") -> bytes:
    """A PNG of any claimed size, one bit a pixel."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", deflated) + chunk(b"IEND", b"")


def bomb() -> bytes:
    """400 million pixels in 50 kB."""
    return png(20_000, 20_000, zlib.compress(bytes(20_000 * 2_501)))


def segment(marker: int, content: bytes) -> bytes:
    """One segment of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def with_segments(segments: bytes) -> bytes:
    return jpeg()[:2] + segments + jpeg()[2:]


def flipped(seed: int) -> bytes:
    """A JPEG of noise with one in 50 bytes of its scan changed by one bit."""
    rng = np.random.default_rng(seed)
    data = bytearray(encoded(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8), "JPEG"))
    start = data.index(b"\xff\xda") + 14
    for at in rng.choice(np.arange(start, len(data) - 2), (len(data) - start) // 50, replace=False):
        data[at] ^= 1 << rng.integers(8)
    return bytes(data)


def bmp(width: int, height: int) -> bytes:
    data = bytearray(encoded(PHOTO, "BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def turned(orientation: int, format: str = "PNG") -> bytes:
    """The photograph stored as a camera held that way does, with the tag that turns it upright."""
    turns = PIL.Image.Transpose
    stored = {2: 0, 3: turns.ROTATE_180, 4: 1, 5: 5, 6: turns.ROTATE_90, 7: 6, 8: turns.ROTATE_270}.get(orientation)
    picture = PIL.Image.fromarray(PHOTO)
    exif = PIL.Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"quality": 95, "subsampling": 0} if format == "JPEG" else {"lossless": True} if format == "WEBP" else {}
    return encoded(picture if stored is None else picture.transpose(turns(stored)), format, exif=exif, **options)


def inks() -> PIL.Image.Image:
    return PIL.Image.fromarray(PHOTO).convert("CMYK")


def plain_cmyk() -> bytes:
    """Inks as they are, without Adobe's marker (which Pillow writes, and inverts for)."""
    data = encoded(PIL.Image.fromarray(255 - np.asarray(inks()), "CMYK"), "JPEG", quality=95, subsampling=0)
    start = data.index(b"\xff\xee")
    return data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4]) :]


def see_through(mode: str) -> PIL.Image.Image:
    picture = PIL.Image.fromarray(PHOTO if mode == "RGBA" else GREY).convert(mode)
    alpha = np.zeros(GREY.shape, dtype=np.uint8)
    alpha[:, :32] = 255
    picture.putalpha(PIL.Image.fromarray(alpha))
    return picture


def palette(transparency: int | None = None) -> bytes:
    """Grey level as palette index; level 255 is not in the ramp."""
    picture = PIL.Image.fromarray(GREY.copy(), "P")
    picture.putpalette([level for level in range(256) for _ in range(3)])
    return encoded(picture, "PNG") if transparency is None else encoded(picture, "PNG", transparency=transparency)


def frames(format: str, **options: object) -> bytes:
    other = PIL.Image.fromarray(np.ascontiguousarray(PHOTO[::-1]))
    return encoded(PHOTO, format, save_all=True, append_images=[other], **options)


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.txt", "a" * 1000)
    return stream.getvalue()


def deep_rgb() -> bytes:
    return cv2.imencode(".png", PHOTO[..., ::-1].astype(np.uint16) * 257)[1].tobytes()


def content(make: Callable[[], bytes]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(make())

    return write


def damaged(number: int, name: str, make: Callable[[], bytes], says: str = "") -> Case:
    return Case(number, name, content(make), says=says)


def fine(
    number: int, name: str, make: Callable[[], bytes], pixels: np.ndarray, tolerance: int = 0, note: str = ""
) -> Case:
    return Case(number, name, content(make), "ok", note, pixels, tolerance)


def listening_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(path))  # the whole path may be too long for a socket


def unreadable(path: Path) -> None:
    path.write_bytes(jpeg())
    path.chmod(0)


def rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=-1)


CUT = "cannot be read"
SEVERAL = "several frames"
STUFFED = "stuffed"
MAGIC = {"svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>", "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n", "pdf": b"%PDF-1.7\n"}

CASES = (
    damaged(1, "zero_bytes.jpg", bytes),
    damaged(2, "text.jpg", lambda: b"<!doctype html><title>404</title>"),
    damaged(3, "header_only.jpg", lambda: jpeg()[: jpeg().index(b"\xff\xda")]),
    damaged(4, "cut_in_half.jpg", lambda: jpeg()[: len(jpeg()) // 2], CUT),
    damaged(5, "without_end_marker.jpg", lambda: jpeg()[:-2], "data.allow_truncated=true"),
    *(damaged(6, f"bits_flipped_{seed}.jpg", functools.partial(flipped, seed), CUT) for seed in range(10)),
    damaged(7, "progressive_cut.jpg", lambda: (data := jpeg(progressive=True))[: len(data) * 3 // 4], CUT),
    damaged(8, "cut.png", lambda: (data := encoded(PHOTO, "PNG"))[: len(data) // 2], CUT),
    damaged(9, "bad_crc.png", lambda: (data := encoded(PHOTO, "PNG"))[:-14] + b"\0\0" + data[-12:], CUT),
    fine(10, "png_named.jpg", lambda: encoded(PHOTO, "PNG"), PHOTO, note="is PNG"),
    damaged(11, "bomb.png", bomb, "at most"),
    damaged(12, "claims_much.png", lambda: png(100_000, 100_000), "at most"),
    damaged(13, "zero_width.png", lambda: png(0, 48)),
    damaged(14, "absurd_height.bmp", lambda: bmp(64, 2**31 - 1)),
    damaged(14, "absurd_depth.bmp", lambda: bmp(64, -(2**31) + 1)),
    *(fine(15, f"turned_{number}.png", functools.partial(turned, number), PHOTO) for number in range(1, 9)),
    *(fine(15, f"turned_{number}.webp", functools.partial(turned, number, "WEBP"), PHOTO) for number in range(1, 9)),
    *(fine(15, f"turned_{number}.tiff", functools.partial(turned, number, "TIFF"), PHOTO) for number in range(1, 9)),
    *(
        fine(15, f"t_{number}.jpg", functools.partial(turned, number, "JPEG"), PHOTO, JPEG_NOISE)
        for number in range(1, 9)
    ),
    fine(16, "cmyk.jpg", plain_cmyk, np.asarray(inks().convert("RGB")), JPEG_NOISE),
    fine(17, "adobe.jpg", lambda: encoded(inks(), "JPEG", quality=95), np.asarray(inks().convert("RGB")), JPEG_NOISE),
    fine(18, "grey.jpg", lambda: encoded(GREY, "JPEG", quality=95), rgb(GREY), JPEG_NOISE),
    fine(18, "grey.png", lambda: encoded(GREY, "PNG"), rgb(GREY)),
    fine(19, "deep_grey.png", lambda: encoded(GREY.astype(np.uint16) * 257, "PNG"), rgb(GREY)),
    fine(19, "deep_grey.tiff", lambda: encoded(GREY.astype(">u2") * 257, "TIFF"), rgb(GREY)),
    fine(20, "deep_rgb.png", deep_rgb, PHOTO),
    damaged(21, "float.tiff", lambda: encoded(GREY.astype(np.float32), "TIFF"), "save them as 8 or 16 bits"),
    fine(22, "alpha.png", lambda: encoded(see_through("RGBA"), "PNG"), ON_WHITE),
    fine(23, "palette.png", palette, rgb(GREY)),
    fine(24, "palette_alpha.png", lambda: palette(int(GREY[0, 0])), np.where(rgb(GREY) == GREY[0, 0], 255, rgb(GREY))),
    fine(25, "one_bit.png", lambda: encoded(PIL.Image.fromarray(GREY > 99), "PNG"), rgb((GREY > 99) * np.uint8(255))),
    fine(26, "grey_alpha.png", lambda: encoded(see_through("L"), "PNG"), np.where(ON_WHITE == 255, 255, rgb(GREY))),
    fine(27, "animated.gif", lambda: frames("GIF"), PHOTO, 40, SEVERAL),
    fine(28, "animated.png", lambda: frames("PNG"), PHOTO, 0, SEVERAL),
    fine(29, "animated.webp", lambda: frames("WEBP", lossless=True), PHOTO, 0, SEVERAL),
    fine(30, "pages.tiff", lambda: frames("TIFF"), PHOTO, 0, SEVERAL),
    damaged(31, "one_pixel.png", lambda: encoded(PHOTO[:1, :1], "PNG"), "at least 8"),
    damaged(31, "one_row.png", lambda: encoded(np.zeros((1, 4096, 3), dtype=np.uint8), "PNG"), "at least 8"),
    *(damaged(32, f"{kind}.png", functools.partial(bytes, magic)) for kind, magic in MAGIC.items()),
    fine(33, "zip_behind.jpg", lambda: jpeg() + zipped(), PHOTO, JPEG_NOISE),
    fine(34, "broken_icc.png", lambda: encoded(PHOTO, "PNG", icc_profile=b"none"), PHOTO),
    fine(34, "broken_exif.jpg", lambda: with_segments(segment(0xE1, b"Exif\0\0none")), PHOTO, JPEG_NOISE),
    damaged(34, "giant_exif.jpg", lambda: with_segments(segment(0xE1, b"Exif\0\0" + bytes(65_000)) * 200), STUFFED),
    damaged(34, "many_exif.jpg", lambda: with_segments(segment(0xE1, b"Exif\0\0") * 100_000), STUFFED),
    damaged(34, "padding.jpg", lambda: with_segments(b"\xff" * (12 * MEBIBYTE)), STUFFED),
    damaged(34, "64_mb_text.png", lambda: png(64, 48, extra=chunk(b"tEXt", b"a\0" + b"a" * (64 * MEBIBYTE))), "MiB"),
    damaged(34, "12_mb_text.png", lambda: png(64, 48, extra=chunk(b"iTXt", b"a" * (12 * MEBIBYTE))), STUFFED),
    damaged(34, "many_chunks.png", lambda: png(64, 48, extra=chunk(b"abcd", b"") * 100_000), STUFFED),
    damaged(34, "text_bomb.png", lambda: png(64, 48, extra=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8))))),
    Case(35, "folder.jpg", Path.mkdir, says="not a regular file"),
    Case(35, "pipe.jpg", os.mkfifo, says="not a regular file"),
    Case(35, "socket.jpg", listening_socket),
    Case(35, "zero.jpg", lambda path: path.symlink_to("/dev/zero"), says="not a regular file"),
    Case(35, "loop.jpg", lambda path: path.symlink_to(path)),
    Case(35, "unreadable.jpg", unreadable),
    Case(35, "missing.jpg", lambda path: None, "missing-file"),
    Case(35, "missing\nline.jpg", lambda path: None, "missing-file"),
    Case(35, "missing%00.jpg", lambda path: None, "missing-file"),
    fine(35, "two\nlines.png", lambda: encoded(PHOTO, "PNG"), PHOTO),
    fine(35, "名前 é.png", lambda: encoded(PHOTO, "PNG"), PHOTO),
    fine(35, "%00.png", lambda: encoded(PHOTO, "PNG"), PHOTO),
)
