"""The one image loader, behind stage 1 of the walk: from a file to RGB uint8, or an error naming the file.

Training, evaluation, prediction and `data check` open images here and nowhere else. `decoding` does the pixels.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import PIL.Image

from posefabric.data import decoding
from posefabric.data.records import Image
from posefabric.data.streams import MeteredFile, open_regular, version
from posefabric.errors import UserError

logger = logging.getLogger(__name__)

SUFFIXES_OF = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
}
FORMATS = tuple(SUFFIXES_OF)
"""What is read, whatever the name ends in; other decoders of Pillow are never tried."""

SUFFIXES = tuple(suffix for suffixes in SUFFIXES_OF.values() for suffix in suffixes)
"""How files of these formats are recognised in a folder."""

MAX_GROWTH_BYTES = 280 * 10**6
"""Images that need more memory to decode are refused by their header.

In million pixels: 93 for JPEG (46 if EXIF turns it, 31 if progressive), 40 for PNG, BMP and GIF, 28 for 8-bit
RGB TIFF, 16 for WebP, less by twice the file's size for JPEG and WebP.
"""

MIN_SIDE_PX = 8

_CUT_JPEG = "Premature end of JPEG file"  # libjpeg's words
_CUT_TODO = (
    "Replace the file. One that lacks its end marker alone is accepted with data.allow_truncated=true "
    "(predict: --allow-truncated)."
)
_DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError, MemoryError,
    struct.error, zlib.error,
)  # fmt: skip
"""What decoders raise on damaged files."""


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
    with _opened(path) as (stream, file):
        return _header(path, stream, file)


def read_image(path: str | Path, *, allow_truncated: bool = False) -> Image:
    """The picture in a regular file, upright (EXIF orientation applied), RGB uint8.

    Grey, palette and CMYK become RGB; transparent pixels are laid on white; 16-bit grey is divided by 257;
    the first of several frames is taken, which is warned of. `allow_truncated` accepts a JPEG that lacks its
    end marker and nothing else. Raises `UserError("missing-file")`, or `UserError("bad-image")` for what is not
    one of `FORMATS`, is truncated or damaged, has a side below `MIN_SIDE_PX` or is larger than `streams.MAX_BYTES`
    or `MAX_GROWTH_BYTES` allow. A JPEG is damaged when its decoder had to guess; no checksum tells the rest.
    """
    path = Path(path)
    with _opened(path) as (stream, file):
        if _SEVERAL_FRAMES in _header(path, stream, file).notes:
            _warn_once(f"{shown(path)} {_SEVERAL_FRAMES}")
        return decoding.decode(stream, file, allow_truncated=allow_truncated)


def list_images(inputs: Sequence[str | Path]) -> list[Path]:
    """The image files named, and those in the folders named (by suffix, sorted). None at all is an error."""
    files: list[Path] = []
    for path in map(Path, inputs):
        if not os.path.exists(path):  # false too for what may not be looked at
            raise UserError("missing-file", f"image {shown(path)} does not exist")
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


def shown(path: str | Path) -> str:
    """A path as messages show it: on one line, even where its name holds a line break or is no valid text."""
    text = str(path)
    return text if text.isprintable() else repr(text)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[MeteredFile, PIL.Image.Image]]:
    """The file and its header as Pillow read it; whatever a decoder raises meanwhile becomes a `UserError`."""
    try:
        with open_regular(path) as stream:
            before = version(stream)
            with PIL.Image.open(stream, formats=FORMATS) as file:
                stream.header_is_read()
                yield stream, file
            if version(stream) != before:
                raise OSError("it was changed meanwhile")
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError("missing-file", f"image {shown(path)} does not exist") from error
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise _bad(path, "is too large", f"at most {MAX_GROWTH_BYTES // 3_000_000} million pixels") from error
    except _DECODER_ERRORS as error:
        raise _unreadable(path, error) from error


def _header(path: Path, stream: MeteredFile, file: PIL.Image.Image) -> ImageHeader:
    """The header, if the image is neither too small nor too large to be decoded."""
    height, width = hw = decoding.upright_hw(file)
    if min(hw) < MIN_SIDE_PX:
        raise _bad(path, f"is {width} pixels wide and {height} high", f"at least {MIN_SIDE_PX} each")
    limit = decoding.max_pixels(stream, file, MAX_GROWTH_BYTES)
    if height * width > limit:
        found = f"is too large: {width} pixels wide and {height} high"
        raise _bad(path, found, f"at most {limit / 1e6:.1f} million pixels in a file like this")
    name = "JPEG" if file.format == "MPO" else str(file.format)
    suffix = path.suffix.lower()
    misnamed = suffix in SUFFIXES and suffix not in SUFFIXES_OF[name]
    notes = (f"is {name}, not what its name says",) * misnamed + (_SEVERAL_FRAMES,) * _has_frames(file)
    return ImageHeader(name, hw, notes)


_SEVERAL_FRAMES = "has several frames; the first is taken"


def _has_frames(file: PIL.Image.Image) -> bool:
    """Whether there is more than one picture; what cameras add to a JPEG (MPO) does not count."""
    return file.format != "MPO" and bool(getattr(file, "is_animated", False))


@functools.cache
def _warn_once(message: str) -> None:
    logger.warning(message)


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if isinstance(error, PIL.UnidentifiedImageError):
        reason = "it is none of the known formats, or its header is damaged"
    found = f"{shown(path)} cannot be read: {reason}"
    return UserError("bad-image", found, _EXPECTED, _CUT_TODO if _CUT_JPEG in reason else "")


_EXPECTED = f"a whole image file: {', '.join(FORMATS)}"


def _bad(path: Path, found: str, allowed: str = _EXPECTED) -> UserError:
    return UserError("bad-image", f"{shown(path)} {found}", allowed)
