"""Hostile and unusual picture files: each is opened right, or refused in one line that names it."""

from __future__ import annotations

import io
import os
import socket
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, PngImagePlugin
from skimage import color, data

from seewhy.core.errors import ImageFileError, InputError, InputTypeError, SeewhyError
from seewhy.models.images import Picture, open_picture

CAT: NDArray[np.uint8] = data.chelsea()[40:160:1, 100:180].copy()  # 120 x 80


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def cat() -> Image.Image:
    return Image.fromarray(CAT)


def refused(source: Any, *words: str) -> str:
    with pytest.raises(ImageFileError) as caught:
        open_picture(source)
    message = str(caught.value)
    assert "\n" not in message
    assert message.isprintable()
    for word in words:
        assert word in message
    return message


def opened_or_refused(content: bytes) -> Picture | str:
    try:
        return open_picture(content)
    except ImageFileError as error:
        return str(error)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nearly nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


# ---------------------------------------------------------------------------------------- what opens, and how


def test_every_way_of_giving_a_picture_gives_the_same_one(tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    cat().save(path)
    for source in (path, str(path), path.read_bytes(), cat(), CAT, CAT / 255, CAT.astype(np.uint16) * 257):
        picture = open_picture(source)
        assert np.array_equal(picture.pixels, CAT)
        assert picture.pixels.dtype == np.uint8
        assert picture.size == (120, 80)
        assert picture.notes == ()
    assert open_picture(path).source == str(path)


def test_a_picture_cannot_be_changed_and_does_not_change_the_users_array() -> None:
    array = CAT.copy()
    picture = open_picture(array)
    with pytest.raises(ValueError, match="read-only"):
        picture.pixels[0, 0] = 0
    array[:] = 0
    assert np.array_equal(picture.pixels, CAT)
    assert array.flags.writeable


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("PPM", {}),
        ("QOI", {}), ("WEBP", {"lossless": True}), ("JPEG2000", {"irreversible": False}),
    ],
)  # fmt: skip
def test_lossless_formats_come_back_exactly(kind: str, options: dict[str, Any]) -> None:
    assert np.array_equal(open_picture(saved(cat(), kind, **options)).pixels, CAT)


def test_wrong_extension_loads_by_content(tmp_path: Path) -> None:
    path = tmp_path / "wrong_ext.png"
    path.write_bytes(saved(cat(), "JPEG", quality=95))
    assert np.abs(open_picture(path).pixels.astype(int) - CAT).mean() < 4


@pytest.mark.parametrize(
    "name", ["Füchse_狐_é.jpg", "with space.jpg", "new\nline.jpg", "\x1b[31mred.jpg", "no_extension"]
)
def test_odd_names(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(saved(cat(), "JPEG"))
    picture = open_picture(path)
    assert picture.size == (120, 80)
    assert picture.source.isprintable()
    if name.startswith("F"):
        assert picture.source.endswith(name)
    path.write_bytes(b"")
    refused(str(path), "empty")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_no_unicode(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    with open(raw, "wb") as file:
        file.write(saved(cat(), "JPEG"))
    picture = open_picture(os.fsdecode(raw))
    picture.source.encode()  # can be written anywhere
    with open(raw, "wb"):
        pass
    refused(Path(os.fsdecode(raw)), "caf", "empty").encode()


def test_cmyk_has_the_right_colours() -> None:
    colours = np.repeat(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]]], np.uint8), 32, axis=1)
    colours = np.repeat(colours, 32, axis=0)
    adobe = saved(Image.fromarray(colours).convert("CMYK"), "JPEG", quality=100, subsampling=0)
    marker = adobe.index(b"\xff\xee")
    length = struct.unpack(">H", adobe[marker + 2 : marker + 4])[0]
    assert adobe[marker + 4 : marker + 9] == b"Adobe"
    # Adobe stores 255 - ink. Without its marker the numbers are ink: the same colours need inverted numbers.
    plain_ink = Image.fromarray(255 - np.array(Image.fromarray(colours).convert("CMYK")), mode=None)
    plain_ink = Image.frombytes("CMYK", plain_ink.size, plain_ink.tobytes())
    stored = saved(plain_ink, "JPEG", quality=100, subsampling=0)
    unmarked = stored[: stored.index(b"\xff\xee")] + stored[stored.index(b"\xff\xee") + 2 + length :]
    tiff = saved(Image.fromarray(colours).convert("CMYK"), "TIFF")
    for content in (adobe, unmarked, tiff):
        picture = open_picture(content)
        assert np.abs(picture.pixels.astype(int) - colours).max() <= 6
        assert "CMYK" in picture.notes[0]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    upright = np.zeros((120, 80, 3), np.uint8)
    upright[:60, :40] = (250, 10, 10)  # the upper left quarter is red
    stored = {  # how a camera that was held so stores it: the inverse of the turn, written with numpy
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.transpose(1, 0, 2), 6: np.rot90(upright), 7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif)
    for source in (content, Image.open(io.BytesIO(content))):
        picture = open_picture(source)
        assert picture.size == (120, 80)
        assert np.abs(picture.pixels.astype(int) - upright)[4:56, 4:36].mean() < 8
        assert np.abs(picture.pixels.astype(int) - upright)[64:].mean() < 8


def test_damaged_exif_does_not_stop_a_sound_picture() -> None:
    content = saved(cat(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + bytes(range(40)))
    assert open_picture(content).size == (120, 80)
    content = saved(cat(), "PNG", exif=b"Exif\0\0garbage that is no TIFF")
    picture = open_picture(content)
    assert np.array_equal(picture.pixels, CAT)
    assert "EXIF data unreadable" in picture.notes[0]


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.linspace(0, 0.56 * 65535, 6000).reshape(60, 100).astype(np.uint16)
    path = tmp_path / "gray16.png"
    Image.fromarray(values).save(path)
    expected = np.rint(values / 257)[:, :, None].repeat(3, axis=2)
    sources: dict[str, Any] = {
        "I;16 file": path,
        "I;16": Image.fromarray(values),
        "I;16B": Image.frombytes("I;16B", (100, 60), values.astype(">u2").tobytes()),
        "I": Image.fromarray(values.astype(np.int32)),
        "F 65535": Image.fromarray(values.astype(np.float32)),
        "F 1": Image.fromarray((values / 65535).astype(np.float32)),
        "tiff": saved(Image.fromarray(values), "TIFF"),
        "array": values,
    }
    for name, source in sources.items():
        picture = open_picture(source)
        assert np.abs(picture.pixels - expected).max() <= 1, name
        assert abs(picture.pixels.mean() / 255 - 0.28) < 0.01, name
    assert "0..65535" in open_picture(path).notes[0]


def test_modes_without_a_scale_use_the_smallest_that_holds_them() -> None:
    grey = np.asarray(cat().convert("L"))
    for mode in ("I", "F"):
        picture = open_picture(cat().convert("L").convert(mode))
        assert np.array_equal(picture.pixels[:, :, 0], grey)
        assert "0..255" in picture.notes[0]
    refused(Image.fromarray(np.array([[0, 70000]], np.int32)), "70000", "65535")
    refused(Image.fromarray(np.array([[-1, 5]], np.int32)), "-1")
    refused(Image.fromarray(np.array([[0.5, np.nan]], np.float32)), "nan")
    refused(Image.fromarray(np.array([[0.5, np.inf]], np.float32)), "inf")


def test_transparency_is_composited_on_white() -> None:
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[..., :3] = (200, 0, 0)
    rgba[:2, :, 3] = 255
    rgba[2, :, 3] = 128
    alpha = rgba[..., 3:] / 255
    expected = rgba[..., :3] * alpha + 255 * (1 - alpha)
    for source in (saved(Image.fromarray(rgba), "PNG"), Image.fromarray(rgba), rgba, rgba / 255):
        picture = open_picture(source)
        assert np.abs(picture.pixels - expected).max() <= 1
        assert "transparency composited on white" in picture.notes
    rgba[..., 3] = 255
    assert open_picture(rgba).notes == ()


def test_palette_with_transparency() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    half = saved(image, "PNG", transparency=bytes([255, 0, 128]))
    picture = open_picture(half)
    assert np.abs(picture.pixels[0] - np.array([[255, 0, 0], [255, 255, 255], [127, 127, 255]])).max() <= 1
    one = open_picture(saved(image, "PNG", transparency=1))
    assert one.pixels[0].tolist() == [[255, 0, 0], [255, 255, 255], [0, 0, 255]]
    assert one.notes == ("transparency composited on white",)
    assert open_picture(saved(image, "PNG")).pixels[0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


def test_a_transparent_level_of_grey_and_of_16_bits() -> None:
    eight = Image.fromarray(np.array([[0, 7, 200]], np.uint8))
    assert open_picture(saved(eight, "PNG", transparency=7)).pixels[0, :, 0].tolist() == [0, 255, 200]
    sixteen = Image.fromarray(np.array([[0, 1799, 51400]], np.uint16))
    picture = open_picture(saved(sixteen, "PNG", transparency=1799))
    assert picture.pixels[0, :, 0].tolist() == [0, 255, 200]
    assert "transparency composited on white" in picture.notes


@pytest.mark.parametrize("mode", ["1", "L", "LA", "La", "P", "PA", "RGBX", "RGBa", "YCbCr", "HSV"])
def test_other_modes(mode: str) -> None:
    through = {"La": ["LA"], "RGBa": ["RGBA"], "PA": ["P"], "LA": ["L"]}.get(mode, [])
    image = cat()
    for step in [*through, mode]:
        image = image.convert(step, palette=Image.Palette.ADAPTIVE)
    expected = np.asarray(cat().convert("L")) if mode in ("L", "LA", "La") else np.asarray(cat())
    if mode == "1":
        expected = np.asarray(cat().convert("1")).astype(np.uint8) * 255
    expected = expected if expected.ndim == 3 else expected[:, :, None].repeat(3, axis=2)
    picture = open_picture(image)
    assert picture.size == (120, 80)
    assert np.abs(picture.pixels.astype(int) - expected).mean() < 8  # palettes and hues are coarse


def test_lab_has_the_right_colours() -> None:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    image = ImageCms.profileToProfile(cat(), srgb, lab, outputMode="LAB")
    assert image is not None
    lightness = np.asarray(image)[:, :, 0] / 2.55
    assert np.abs(lightness - color.rgb2lab(CAT)[:, :, 0]).mean() < 1  # the file is what we think it is
    for source in (image, saved(image, "TIFF")):
        assert np.abs(open_picture(source).pixels.astype(int) - CAT).mean() < 2


def test_several_frames_or_pages(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (6, 4), shade) for shade in ("red", "lime", "blue")] * 4
    path = tmp_path / "anim.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=50, loop=0)
    picture = open_picture(path)
    assert picture.notes == ("animated GIF: first of 12 frames used",)
    assert picture.pixels[0, 0].tolist() == [255, 0, 0]
    with Image.open(path) as image:
        image.seek(2)
        later = open_picture(image)
        assert image.tell() == 2
    assert later.notes == ("animated GIF: number 3 of 12 frames used",)
    assert later.pixels[0, 0].tolist() == [0, 0, 255]
    for kind, note in (
        ("PNG", "animated PNG: first of 3 frames used"),
        ("WEBP", "animated WEBP: first of 3 frames used"),
        ("TIFF", "TIFF: first of 3 pages used"),
        ("MPO", "MPO: first of 3 pictures used"),
    ):
        picture = open_picture(saved(frames[0], kind, save_all=True, append_images=frames[1:3]))
        assert picture.notes == (note,)
        assert np.abs(picture.pixels[0, 0].astype(int) - [255, 0, 0]).max() < 8


def test_one_pixel() -> None:
    picture = open_picture(saved(Image.new("RGB", (1, 1), (9, 8, 7)), "PNG"))
    assert picture.pixels.tolist() == [[[9, 8, 7]]]
    assert open_picture(np.zeros((1, 1), np.uint8)).pixels.shape == (1, 1, 3)


def test_colour_profiles_are_ignored() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    assert np.array_equal(open_picture(saved(cat(), "PNG", icc_profile=profile)).pixels, CAT)
    assert np.array_equal(open_picture(saved(cat(), "PNG", icc_profile=b"rubbish")).pixels, CAT)


# -------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("lenient", [False, True])
def test_a_cut_off_file_is_never_half_a_picture(
    kind: str, lenient: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)  # as other packages do, for everyone
    content = saved(cat(), kind)
    whole = open_picture(content).pixels
    path = tmp_path / f"truncated.{kind.lower()}"
    for length in [*range(64, len(content), len(content) // 12), len(content) * 2 // 3, len(content) - 40]:
        path.write_bytes(content[:length])
        refused(path, path.name, "truncated")
    for missing in range(1, 14):  # what ends a file may be missing where every pixel is there
        outcome = opened_or_refused(content[:-missing])
        if isinstance(outcome, Picture):
            assert np.array_equal(outcome.pixels, whole)
        else:
            assert "truncated" in outcome
    assert ImageFile.LOAD_TRUNCATED_IMAGES is lenient


def test_where_a_cut_cannot_be_noticed_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert "LOAD_TRUNCATED_IMAGES" in open_picture(saved(cat(), "JPEG2000")).notes[0]


@pytest.mark.parametrize("size", [(60000, 60000), (11000, 9100), (2**31 - 1, 2**31 - 1)])
def test_a_bomb_is_refused_before_decoding(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(*size))
    limit = Image.MAX_IMAGE_PIXELS
    start = time.perf_counter()
    refused(path, "bomb.png", f"{size[0]}x{size[1]}", "100 megapixels")
    assert time.perf_counter() - start < 2
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.filterwarnings("error")
def test_pils_own_limit_neither_warns_nor_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    assert open_picture(saved(cat(), "PNG")).size == (120, 80)


def test_a_bomb_in_another_format() -> None:
    gif = bytearray(saved(cat(), "GIF"))
    gif[6:10] = struct.pack("<HH", 65535, 65535)
    refused(bytes(gif), "65535x65535", "100 megapixels")
    tiny = saved(Image.new("1", (16000, 16000)), "TIFF", compression="group4")
    assert len(tiny) < 60_000
    refused(tiny, "16000x16000")
    refused(Image.new("1", (12000, 12000)), "12000x12000", "PIL image")


@pytest.mark.skipif(sys.platform != "linux", reason="counts peak memory in kilobytes")
def test_a_real_bomb_in_its_own_process(tmp_path: Path) -> None:
    """The whole of it: time and peak memory of a fresh process, imports taken off."""
    path = tmp_path / "bomb.png"
    Image.new("1", (20000, 20000)).save(path)
    code = (
        "import resource, sys, time\n"
        "from seewhy.models.images import open_picture\n"
        "before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()\n"
        "try:\n    open_picture(sys.argv[1])\nexcept ValueError as error:\n    print(error)\n"
        "print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    message, numbers = done.stdout.strip().split("\n")
    seconds, kilobytes = map(float, numbers.split())
    assert "20000x20000" in message
    assert seconds < 2
    assert kilobytes < 100_000


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "zero.jpg").touch()
    refused(tmp_path / "zero.jpg", "zero.jpg", "empty")
    refused(b"", "empty")
    (tmp_path / "a_directory.jpg").mkdir()
    refused(tmp_path / "a_directory.jpg", "a_directory.jpg", "is a directory")
    refused(tmp_path / "missing.jpg", "missing.jpg", "no such file", str(tmp_path))
    refused(tmp_path / "zero.jpg" / "x.jpg", "x.jpg")
    refused("", "no such file")
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "gone.jpg")
    refused(tmp_path / "dangling.jpg", "dangling.jpg", "no such file", "gone.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    refused(tmp_path / "loop.jpg", "loop.jpg")
    refused("a\0b.jpg", "a\\x00b.jpg")
    refused("\ud800.jpg", "\\ud800.jpg")
    refused("x" * 5000)
    refused("https://example.org/cat.jpg", "download")


def test_permission_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.jpg"
    path.write_bytes(saved(cat(), "JPEG"))
    path.chmod(0)
    if os.access(path, os.R_OK):  # an administrator may read everything

        def deny(*_: object) -> int:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(os, "open", deny)
    refused(path, "secret.jpg", "Permission denied", "rights")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_pipes_sockets_and_devices_do_not_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    start = time.perf_counter()
    refused(tmp_path / "pipe.jpg", "pipe.jpg", "pipe")
    if os.path.exists("/dev/zero"):
        refused("/dev/zero", "device")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # a socket's path must be short
        server.bind("socket.jpg")
        refused("socket.jpg", "socket")
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("text.jpg", b"this is text, not a picture\n" * 50, "not an image"),
        ("utf8.jpg", "das hier ist kein Bild: äöü 狐\n".encode() * 200, "not an image"),
        ("bmw.jpg", b"BMW is a car maker, and this is text", "text, not an image"),
        ("page.jpg", b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
        ("pic.svg", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "SVG"),
        ("pic2.svg", b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- drawn by hand -->\n<svg></svg>', "SVG"),
        ("pic16.svg", '<?xml version="1.0" encoding="utf-16"?><svg></svg>'.encode("utf-16"), "SVG"),
        ("paper.pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", "PDF"),
        ("paper.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
        ("phone.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64), "HEIC"),
        ("clip.mp4", b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(64), "video"),
        ("new.jxl", b"\xff\x0a" + bytes(64), "JPEG XL"),
        ("layers.psd", b"8BPS\0\1" + bytes(64), "Photoshop"),
        ("all.zip", b"PK\3\4" + bytes(64), "archive"),
        ("lfs.jpg", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("zeros.png", bytes(5000), "not an image"),
        ("noise.png", np.random.default_rng(0).bytes(5000), "not an image"),
        ("tga.tga", saved(Image.fromarray(CAT), "TGA"), "not an image in any of these formats"),
    ],
)
def test_what_is_no_picture(tmp_path: Path, name: str, content: bytes, word: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    refused(path, name, word)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "sparse.webp"
    with path.open("wb") as file:
        file.write(b"RIFF\xff\xff\xff\x7fWEBPVP8 ")
        file.truncate(3 << 30)
    start = time.perf_counter()
    refused(path, "1024 MiB", "3072")
    assert time.perf_counter() - start < 1


def test_a_huge_text_chunk_is_refused() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "a" * 50_000_000, zip=True)
    content = saved(Image.fromarray(CAT[:4, :4]), "PNG", pnginfo=info)
    assert len(content) < 100_000
    refused(content, "too large")


def test_a_cameras_preview_is_not_taken_for_the_picture() -> None:
    refused(saved(cat(), "TIFF", tiffinfo={254: 1}), "preview")
    assert np.array_equal(open_picture(saved(cat(), "TIFF", tiffinfo={254: 0})).pixels, CAT)


def test_damaged_headers_raise_nothing_else() -> None:
    generator = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "QOI"):
        content = np.frombuffer(saved(Image.fromarray(CAT[:16, :16]), kind), np.uint8)
        for _ in range(40):
            broken = content.copy()
            where = generator.integers(0, min(80, len(broken)), size=generator.integers(1, 6))
            broken[where] = generator.integers(0, 256, size=len(where))
            outcome = opened_or_refused(broken.tobytes())
            assert isinstance(outcome, Picture) or "\n" not in outcome


# ----------------------------------------------------------------------------------------------------- arrays


def test_arrays_of_every_kind_that_is_taken() -> None:
    grey = np.asarray(cat().convert("L"))
    for array in (
        grey,
        grey[:, :, None],
        grey / 255,
        (grey / 255).astype(np.float16),
        grey.astype(">u2") * 257,
    ):
        assert np.array_equal(open_picture(array).pixels, grey[:, :, None].repeat(3, axis=2))
    assert np.array_equal(open_picture(CAT[::-1, ::2]).pixels, CAT[::-1, ::2])
    assert np.array_equal(open_picture(np.asfortranarray(CAT)).pixels, CAT)
    assert open_picture(np.array([[0.0, 1.0005]])).pixels.max() == 255  # a resize's overshoot
    assert "array (120, 80, 3) uint8" in open_picture(CAT).source


@pytest.mark.parametrize(
    ("array", "error", "words"),
    [
        (np.full((4, 4), np.nan), InputError, ["nan", "0 to 1"]),
        (np.array([[0.0, np.inf]]), InputError, ["inf"]),
        (CAT.astype(float), InputError, ["divide", "255"]),
        (-(CAT / 255), InputError, ["-"]),
        (np.zeros((4, 4, 2)), InputError, ["(4, 4, 2)"]),
        (np.zeros((4, 4, 5)), InputError, ["(4, 4, 5)"]),
        (np.zeros((3, 40, 40)), InputError, ["moveaxis"]),
        (np.zeros((1, 3, 40, 40)), InputError, ["(1, 3, 40, 40)"]),
        (np.zeros(5), InputError, ["(5,)"]),
        (np.zeros(()), InputError, ["()"]),
        (np.zeros((0, 5, 3), np.uint8), InputError, ["(0, 5, 3)", "empty"]),
        (np.zeros((5, 0), np.uint8), InputError, ["(5, 0)"]),
        (np.zeros((4, 4), np.int64), InputTypeError, ["int64", "uint8"]),
        (np.zeros((4, 4), bool), InputTypeError, ["bool"]),
        (np.zeros((4, 4), np.complex64), InputTypeError, ["complex64"]),
        (np.full((4, 4), "x"), InputTypeError, ["uint8"]),
        (np.ma.masked_equal(CAT, 0), InputTypeError, ["masked"]),
    ],
)
def test_arrays_that_are_refused(array: Any, error: type[SeewhyError], words: list[str]) -> None:
    with pytest.raises(error) as caught:
        open_picture(array)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("source", [None, 5, [[0, 1]], object(), io.BytesIO(b"x")])
def test_other_types_are_refused(source: Any) -> None:
    with pytest.raises(InputTypeError, match=type(source).__name__):
        open_picture(source)


def test_pil_images_that_cannot_be_read() -> None:
    closed = cat()
    closed.close()
    refused(closed, "PIL image")
    refused(Image.new("RGB", (0, 5)), "0x5")
    with pytest.raises(InputError, match="uint8"):
        Picture(np.zeros((4, 4), np.uint8), "x")
