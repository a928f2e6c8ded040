"""Opens whatever a user calls a picture, upright and as 8-bit RGB, or says in one line why it cannot."""

from __future__ import annotations

import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageChops, ImageCms, ImageFile

from ..core.errors import ImageFileError, InputError, InputTypeError

PictureSource: TypeAlias = "str | Path | bytes | Image.Image | NDArray[Any]"

MAX_PIXELS = 100_000_000
MAX_BYTES = 1 << 30

# Formats that begin with a magic number: TGA would claim text, EPS would start a program, ICO may nest bombs.
_FORMATS = (
    *("JPEG", "MPO", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "QOI"),
    *("HEIF", "JXL"),  # where a package has registered them
)
_READABLE = "JPEG, PNG, GIF, BMP, TIFF, WebP, AVIF, JPEG 2000, PPM or QOI"
_SEVERAL = {"TIFF": "TIFF: {} of {} pages used", "MPO": "MPO: {} of {} pictures used"}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Where to look, what is found there, what the file is and the way out.
_OTHERS = (
    (4, (b"ftyphei", b"ftyphev", b"ftypm"), "an HEIC picture, not supported; save it as JPEG or PNG"),
    (4, (b"ftypavi",), "an AVIF picture, which this Pillow cannot read; save it as JPEG or PNG"),
    (4, (b"ftyp",), "a video, not supported; save one frame as PNG"),
    (0, (b"\x1aE\xdf\xa3",), "a video, not supported; save one frame as PNG"),
    (0, (b"\xff\x0a", b"\0\0\0\x0cJXL"), "a JPEG XL picture, not supported; save it as JPEG or PNG"),
    (0, (b"%PDF", b"%!PS"), "a PDF or PostScript document, not supported; export the page as PNG"),
    (0, (b"8BPS",), "a Photoshop document, not supported; export it as PNG"),
    (0, (b"PK\3\4", b"\x1f\x8b"), "a compressed archive, not an image; unpack it first"),
    (0, (b"version https://git-lfs",), "a Git LFS pointer, not an image; run `git lfs pull`"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One picture, upright, as 8-bit RGB.

    `pixels` is (H, W, 3) uint8, red first, read-only. `source` is a printable name for messages: a path, or
    what kind of object it came from. `notes` says what a reader must know to judge the picture: frames left
    out, transparency composited, the scale that 16-bit values were read on.
    """

    pixels: NDArray[np.uint8]
    source: str
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        pixels = np.ascontiguousarray(self.pixels).view()
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
            raise InputError(
                f"Picture.pixels must be uint8 (H, W, 3), but is {pixels.dtype} {pixels.shape}; use open_picture()."
            )
        pixels.setflags(write=False)
        object.__setattr__(self, "pixels", pixels)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]


def open_picture(source: PictureSource) -> Picture:
    """Returns the picture in a file (str, Path), in a file's content (bytes), a PIL image or a numpy array.

    Files are recognised by content, not by name. The rules, noted in `Picture.notes` where they applied:

    * turned upright by the EXIF orientation, also PIL images that still carry one;
    * transparency composited on white;
    * the first frame, page or picture of several (of a PIL image: the one it stands at);
    * 16-bit grey on the scale 0..65535; PIL's modes I and F, which name no scale, on the smallest of 0..1 (F
      only), 0..255 and 0..65535 that holds the values;
    * CMYK by (1 - ink)(1 - black), inverted where an Adobe marker says so; other colour profiles are ignored.

    Arrays are (H, W), (H, W, 1), (H, W, 3) or (H, W, 4): uint8, uint16, or float in 0..1.

    Raises ImageFileError for files and PIL images, before decoding where they have more than `MAX_PIXELS`
    pixels; InputError for an array's shape or values; InputTypeError for any other type or dtype.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _convert(source, _printable(os.fsdecode(getattr(source, "filename", ""))) or "PIL image")
    if isinstance(source, bytes):
        with _Stream(io.BytesIO(source)) as stream:
            return _from_stream(stream, len(source), "picture given as bytes")
    if isinstance(source, str | os.PathLike):
        return _from_path(os.fsdecode(source))
    raise InputTypeError(
        "A picture must be a path, a file's bytes, a PIL image or a numpy array, but is "
        f"{type(source).__name__}; convert it first (a tensor is model input already: pass it as x)."
    )


class _Stream(io.BufferedReader):
    """A stream that can report its own end as an error while pixels are being decoded.

    PIL's switch LOAD_TRUNCATED_IMAGES is global and other packages turn it on; half a picture must not pass
    for a whole one because of that, and the switch is not ours to turn back.
    """

    strict = False

    def read(self, size: int | None = -1, /) -> bytes:
        """Returns the next bytes; raises OSError at the end of the file while `strict`."""
        data = super().read(size)
        if self.strict and not data and size != 0:
            raise OSError("image file is truncated")
        return data


def _printable(name: str) -> str:
    """Returns the name with control characters and undecodable bytes escaped, to fit in one line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def _from_path(path: str) -> Picture:
    name = _printable(path)
    try:
        _check_kind(os.stat(path).st_mode, name)
        stream = _Stream(io.FileIO(path, opener=_open_without_waiting))
    except ImageFileError:
        raise
    except FileNotFoundError:
        raise ImageFileError(f"{name}: expected an image file, but {_missing(path)}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or _printable(str(error))
        raise ImageFileError(
            f"{name}: expected a readable image file, but opening fails ({reason}); check name and rights."
        ) from error
    with stream:
        status = os.fstat(stream.fileno())
        _check_kind(status.st_mode, name)
        return _from_stream(stream, status.st_size, name)


def _open_without_waiting(path: str, flags: int) -> int:
    """Opens a file so that a pipe put in its place after the first look cannot make us wait."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def _missing(path: str) -> str:
    if path.startswith(("http://", "https://", "data:")):
        return "got an address; download it and give the file or its bytes."
    if os.path.islink(path):
        target = _printable(os.readlink(path))
        return f"there is no such file: it is a link to {target}, which does not exist; mend the link."
    return f"there is no such file in {_printable(os.path.dirname(os.path.abspath(path)))}; check the name."


def _check_kind(mode: int, name: str) -> None:
    if stat.S_ISDIR(mode):
        raise ImageFileError(f"{name}: expected an image file, but it is a directory; name the files in it.")
    if not stat.S_ISREG(mode):
        raise ImageFileError(
            f"{name}: expected an image file, but it is a pipe, socket or device; save the picture to a file."
        )


def _from_stream(stream: _Stream, length: int, name: str) -> Picture:
    if length == 0:
        raise ImageFileError(f"{name}: expected an image file, but it is empty (0 bytes); copy it again.")
    if length > MAX_BYTES:
        raise ImageFileError(
            f"{name}: expected at most {MAX_BYTES >> 20} MiB, but it has {length >> 20}; shrink it first."
        )
    with _identify(stream, name) as image:
        notes: tuple[str, ...] = ()
        if ImageFile.LOAD_TRUNCATED_IMAGES:
            stream.strict = image.format not in ("JPEG2000", "PPM")  # these may read past a sound end
            unsure = "PIL's LOAD_TRUNCATED_IMAGES is on: a cut-off file would go unnoticed"
            notes = () if stream.strict else (unsure,)
        return _convert(image, name, notes)


def _identify(stream: _Stream, name: str) -> ImageFile.ImageFile:
    """Returns the opened image, header read, no pixel decoded.

    Asks PIL's registered formats directly: `Image.open` holds the size against a limit of its own, and warns
    or fails in words that name no size.
    """
    Image.init()
    head = b""
    failure: Exception | None = None
    try:
        head = stream.read(4096)
        for kind in _FORMATS:
            factory, accept = Image.OPEN.get(kind, (None, None))
            if factory is not None and accept is not None and accept(head[:16]) is True:
                stream.seek(0)
                return factory(stream, "")
    except Exception as error:  # a hostile header can make a decoder raise anything
        failure = error
    if failure is not None and not _is_text(head):
        raise ImageFileError(_damaged(name, failure)) from failure
    raise ImageFileError(f"{name}: expected an image file ({_READABLE}), but it is {_other(head)}.")


def _damaged(name: str, error: Exception) -> str:
    reason = _printable(str(error) or type(error).__name__)[:200]
    if isinstance(error, Image.DecompressionBombError):
        return f"{name}: expected at most {MAX_PIXELS // 10**6} megapixels, but {reason}; shrink it first."
    return f"{name}: expected a whole image, but it is truncated or damaged ({reason}); copy or save it again."


def _is_text(head: bytes) -> bool:
    return all(byte in b"\t\n\r\x0c\x1b" or (byte >= 32 and byte != 127) for byte in head)


def _other(head: bytes) -> str:
    """Returns what a file that is no image seems to be, and the way out."""
    for offset, signs, verdict in _OTHERS:
        if head[offset:].startswith(signs):
            return verdict
    text = head.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").lower()
    if text.startswith(b"<") and b"<svg" in text:
        return "an SVG drawing, not supported; export it as PNG"
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page, not an image; download the picture itself"
    if _is_text(head):
        return "text, not an image; check that it is the right file"
    return "not an image in any of these formats; check the file, or convert it to PNG"


def _convert(image: Image.Image, name: str, notes: tuple[str, ...] = ()) -> Picture:
    """Returns the picture of an opened PIL image; its size is checked before anything is decoded."""
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageFileError(f"{name}: expected at least one pixel, but it has {width}x{height}; save it again.")
    if width * height > MAX_PIXELS:
        raise ImageFileError(
            f"{name}: expected at most {MAX_PIXELS // 10**6} megapixels, but it has {width}x{height} "
            f"({width * height // 10**6} megapixels); shrink it first."
        )
    if getattr(image, "tag_v2", {}).get(ExifTags.Base.NewSubfileType) == 1:
        raise ImageFileError(
            f"{name}: expected a picture, but its first page is a mere preview (a camera's raw file?); "
            "develop it to JPEG or PNG."
        )
    found = list(notes)
    try:
        found += _frames(image)
        image.load()
        pixels = np.asarray(_flatten(_upright(image, found), found))
    except ImageFileError as error:
        raise ImageFileError(f"{name}: {error}") from None
    except Exception as error:  # a hostile file can make a decoder raise anything
        raise ImageFileError(_damaged(name, error)) from error
    return Picture(pixels, name, tuple(found))


def _frames(image: Image.Image) -> list[str]:
    frames: int = getattr(image, "n_frames", 1)
    if frames == 1:
        return []
    where = "first" if image.tell() == 0 else f"number {image.tell() + 1}"
    several = f"animated {image.format}: {{}} of {{}} frames used"
    return [_SEVERAL.get(image.format or "", several).format(where, frames)]


def _upright(image: Image.Image, notes: list[str]) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged metadata is no reason to refuse sound pixels
        notes.append("EXIF data unreadable: shown as stored, not turned")
        return image
    turn = _TURNS.get(orientation)
    if turn is None:
        return image
    notes.append(f"turned upright (EXIF orientation {orientation})")
    turned = image.transpose(turn)
    turned.format = image.format
    return turned


def _flatten(image: Image.Image, notes: list[str]) -> Image.Image | NDArray[np.uint8]:
    """Returns the loaded image as RGB pixels, whatever its mode."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_grey(image, notes)
    if image.mode == "CMYK":
        notes.append("CMYK converted without its colour profile")
        if image.format == "JPEG" and "adobe" not in image.info:
            image = ImageChops.invert(image)  # PIL takes every CMYK JPEG for Adobe's, which stores 255 - ink
        return image.convert("RGB")
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB") or image
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    alpha = rgba.getchannel("A")
    if alpha.getextrema()[0] == 255:
        return rgba.convert("RGB")
    notes.append("transparency composited on white")
    white = Image.new("RGB", rgba.size, "white")
    white.paste(rgba, mask=alpha)
    return white


def _deep_grey(image: Image.Image, notes: list[str]) -> NDArray[np.uint8]:
    """Returns 16- or 32-bit grey as 8-bit RGB; raises ImageFileError where no scale holds the values."""
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())  # NaN anywhere makes both NaN
    scales = {"F": (1, 255, 65535), "I": (255, 65535)}.get(image.mode, (65535,))
    scale = next((top for top in scales if high <= top), None)
    if scale is None or not low >= 0:
        raise ImageFileError(
            f"expected grey values from 0 to {scales[-1]} at most, but mode {image.mode} holds "
            f"{low:g} to {high:g}; rescale them to 0..255 and save as 8-bit."
        )
    notes.append(f"mode {image.mode} grey ({low:g} to {high:g}) read on the scale 0..{scale}")
    grey = np.rint(values.astype(np.float32) * np.float32(255 / scale)).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int) and bool((values == transparent).any()):
        notes.append("transparency composited on white")
        grey[values == transparent] = 255
    return np.repeat(grey[:, :, None], 3, axis=2)


def _from_array(array: NDArray[Any]) -> Picture:
    name = f"array {array.shape} {array.dtype}"
    if isinstance(array, np.ma.MaskedArray):
        raise InputTypeError(f"{name}: expected a plain array, but it is masked; use a.filled(0) first.")
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or array.size == 0:
        channels_first = array.size > 0 and array.ndim == 3 and array.shape[0] in (1, 3, 4)
        advice = "use np.moveaxis(a, 0, -1)" if channels_first else "give one picture, not empty"
        if array.ndim == 4 and array.size > 0:
            advice = "give one picture, a[0]; model input is a float array or tensor (N, C, H, W)"
        raise InputError(f"{name}: expected shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); {advice}.")
    levels = _levels(np.asarray(array), name).reshape(*array.shape[:2], channels)
    if channels < 4:
        return Picture(np.repeat(levels, 3 // channels, axis=2), name)
    notes: list[str] = []
    pixels = np.asarray(_flatten(Image.fromarray(levels), notes))
    return Picture(pixels, name, tuple(notes))


def _levels(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Returns the array on the scale 0..255, rounded, as a copy."""
    if array.dtype == np.uint8:
        return np.array(array, dtype=np.uint8, order="C")
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        return np.asarray(np.rint(array.astype(np.float32) / np.float32(257)), dtype=np.uint8, order="C")
    if array.dtype.kind != "f":
        raise InputTypeError(
            f"{name}: expected uint8 (0..255), uint16 (0..65535) or float (0..1), but it is {array.dtype}; "
            "convert it: a.astype(np.uint8) where the values are 0..255."
        )
    low, high = float(array.min()), float(array.max())  # NaN anywhere makes both NaN
    if not (low >= -1e-3 and high <= 1 + 1e-3):  # rounding elsewhere may overshoot by a little
        raise InputError(
            f"{name}: expected float values from 0 to 1, but they run from {low:g} to {high:g}; divide by "
            "the largest possible value (255?) and replace NaN."
        )
    return np.asarray(np.rint(np.clip(array.astype(np.float32), 0, 1) * 255), dtype=np.uint8, order="C")
