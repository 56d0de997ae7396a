"""The one image loader, behind stage 1 of the walk: from a file to RGB uint8, or an error naming the file."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL.Image
import PIL.ImageOps
from PIL.ExifTags import Base

from posefabric.data.records import Image
from posefabric.errors import UserError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""What is read; other decoders of Pillow are never tried."""

SUFFIXES_OF = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
}
SUFFIXES = tuple(suffix for suffixes in SUFFIXES_OF.values() for suffix in suffixes)
"""How files of these formats are recognised in a folder."""

MAX_PIXELS = 178_956_970
"""Larger images are refused by their header, before anything is decoded (Pillow's own limit)."""

_DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError, MemoryError,
    struct.error, zlib.error,
)  # fmt: skip
"""What Pillow's decoders raise on damaged files."""


@dataclass(frozen=True)
class ImageHeader:
    """What a file says of itself: `format` is one of `FORMATS`, `hw` the upright size (EXIF orientation applied).

    `notes` are oddities that the loader copes with: a suffix of another format, frames beyond the first.
    """

    format: str
    hw: tuple[int, int]
    notes: tuple[str, ...] = ()


def read_header(path: str | Path) -> ImageHeader:
    """The header of an image file; nothing is decoded. Raises what `read_image` raises for a header like this."""
    path = Path(path)
    with _opened(path) as file:
        return _header(path, file)


def read_image(path: str | Path) -> Image:
    """The picture in a regular file, upright (EXIF orientation applied), RGB uint8.

    Grey, palette and CMYK become RGB; transparent pixels are laid on white; 16-bit grey is divided by 257;
    the first of several frames is taken. Raises `UserError("missing-file")`, or `UserError("bad-image")` for
    what is not one of `FORMATS`, is truncated or damaged, or has more than `MAX_PIXELS` pixels.
    """
    path = Path(path)
    with _opened(path) as file:
        _header(path, file)
        return np.ascontiguousarray(_rgb(PIL.ImageOps.exif_transpose(file)))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[PIL.Image.Image]:
    """The file, opened and its header read; whatever its decoder raises meanwhile becomes a `UserError`."""
    try:
        with _regular_file(path) as stream, PIL.Image.open(stream, formats=FORMATS) as file:
            yield file
    except PIL.Image.DecompressionBombError as error:
        raise _too_large(path) from error
    except UserError:
        raise
    except _DECODER_ERRORS as error:
        raise _bad(path, f"cannot be decoded: {error}") from error


def _regular_file(path: Path) -> BinaryIO:
    """The file, open to read; pipes, devices and folders are refused without waiting for them."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise UserError("missing-file", f"image {shown(path)} does not exist") from error
    except OSError as error:
        raise _bad(path, f"cannot be opened: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _bad(path, "is not a regular file")
    return os.fdopen(descriptor, "rb")


def _header(path: Path, file: PIL.Image.Image) -> ImageHeader:
    if file.width * file.height > MAX_PIXELS:
        raise _too_large(path)
    format = "JPEG" if file.format == "MPO" else str(file.format)
    notes = []
    if path.suffix.lower() in SUFFIXES and path.suffix.lower() not in SUFFIXES_OF[format]:
        notes.append(f"the content is {format}, the name ends in {path.suffix}")
    if file.format != "MPO" and getattr(file, "is_animated", False):
        notes.append("has several frames; the first is taken")
    turned = PIL.Image.Image.getexif(file).get(Base.Orientation) in (5, 6, 7, 8)
    return ImageHeader(format, file.size if turned else file.size[::-1], tuple(notes))


def list_images(inputs: Sequence[str | Path]) -> list[Path]:
    """The image files named, and those in the folders named (by suffix, sorted). None at all is an error."""
    files: list[Path] = []
    for path in map(Path, inputs):
        if not path.exists():
            raise UserError("missing-file", f"image {path} does not exist")
        files += sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
    if not files:
        raise UserError("missing-file", f"no images in {', '.join(map(str, inputs))}", ", ".join(SUFFIXES))
    return files


def write_image(path: str | Path, image: Image) -> None:
    """Write an RGB image in the format that the file's suffix names.

    Raises `UserError("bad-value")` for an unknown suffix and `UserError("not-writable")`.
    """
    path = Path(path)
    try:
        PIL.Image.fromarray(image).save(path)
    except ValueError as error:
        raise UserError("bad-value", f"image file {path}: {error}", "a suffix such as .png or .jpg") from error
    except OSError as error:
        raise UserError("not-writable", f"image {path}: {error.strerror or error}") from error


def _rgb(picture: PIL.Image.Image) -> Image:
    if picture.mode.startswith("I;16"):
        deep = np.asarray(picture).astype(np.float32)
        return np.repeat(np.rint(deep / 257).astype(np.uint8)[..., None], 3, axis=-1)
    if picture.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {picture.mode} have no known range")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = PIL.Image.alpha_composite(PIL.Image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(picture.convert("RGB"))


def shown(path: Path) -> str:
    """A path as messages show it: on one line, even where its name holds a line break or no valid text."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def _bad(path: Path, found: str) -> UserError:
    return UserError("bad-image", f"{shown(path)} {found}", f"a whole image file: {', '.join(FORMATS)}")


def _too_large(path: Path) -> UserError:
    return UserError("bad-image", f"{shown(path)} is too large", f"at most {MAX_PIXELS // 10**6} million pixels")
