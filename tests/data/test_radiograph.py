import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from knee_files import SIZE, bright_knee, save
from PIL import Image

from koa_kit.data import read_radiograph
from koa_kit.data.radiograph import decode_radiograph
from koa_kit.errors import KoaError


def png(pixels, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_an_8_bit_knee_is_read_as_it_is(tmp_path):
    pixels, inverted = read_radiograph(save(tmp_path / "P1L.png", bright_knee()))
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, bright_knee())
    assert not inverted


def test_a_16_bit_knee_is_scaled_by_its_bit_depth_not_clipped(tmp_path):
    deep = bright_knee().astype(np.uint16) * 257
    pixels, _ = read_radiograph(save(tmp_path / "P1L.png", deep))
    assert np.array_equal(pixels, bright_knee())


def test_grey_saved_as_rgb_is_read_and_colour_is_refused(tmp_path):
    grey = np.repeat(bright_knee()[..., None], 3, axis=2)
    assert np.array_equal(read_radiograph(save(tmp_path / "P1L.png", grey))[0], bright_knee())
    grey[3, 3, 2] += 1
    with pytest.raises(KoaError, match=r"channels differ[\s\S]*P2L\.png"):
        read_radiograph(save(tmp_path / "P2L.png", grey))


def test_a_knee_with_dark_bone_is_turned_bone_bright_and_marked(tmp_path):
    pixels, inverted = read_radiograph(save(tmp_path / "P1L.png", 255 - bright_knee()))
    assert inverted
    assert np.array_equal(pixels, bright_knee())


REFUSED = {
    "truncated": (lambda: png(bright_knee())[:-400], "truncated or damaged"),
    "no image": (lambda: b"PNG? no.", "no PNG, JPEG, TIFF image"),
    "empty": (lambda: b"", "no PNG, JPEG, TIFF image"),
    "constant": (lambda: png(np.full((SIZE, SIZE), 7, np.uint8)), "same grey level, 7"),
    "one bit": (lambda: png(bright_knee() > 100), "1 bit"),
    "four bits": (lambda: _four_bits(), "4 bit"),
    "coloured palette": (lambda: _palette(colour=True), "channels differ"),
    "transparent": (lambda: png(np.dstack([bright_knee(), bright_knee()])), "parts of it are transparent"),
    "a transparent level": (lambda: png(bright_knee(), transparency=40), "parts of it are transparent"),
    "a transparent deep level": (lambda: png(deep := _deep(16), transparency=int(deep[3, 3])), "are transparent"),
    "cmyk": (lambda: _saved(Image.fromarray(bright_knee()).convert("CMYK"), "JPEG"), "mode is CMYK"),
    "colour in a JPEG": (lambda: _saved(_coloured(), "JPEG", quality=95), "channels differ"),
    "a wrong checksum": (lambda: _with_wrong_checksum(), "checksum of its part 'IDAT'"),
    "another width": (lambda: _with_width(SIZE), "do not fill"),
    "a JPEG cut and closed": (lambda: _shortened_jpeg(), "data end before the picture"),
    "TIFF with a bad tag": (lambda: _tiff_with_a_bad_tag(), "truncated or damaged"),
    "TIFF of 4 bits": (lambda: _four_bit_tiff(), "4 bit"),
    "12 bits in RGB of 16": (lambda: _rgb16(_deep(12)), "uses no level above"),
    "12 of 16 bits": (lambda: png(bright_knee().astype(np.uint16) * 16), "uses no level above"),
    "two frames": (lambda: _two_frames(), "2 frames"),
    "wrong size": (lambda: png(bright_knee(size=SIZE + 2)), "34 x 34 pixels, not 32 x 32"),
}


def _saved(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def _deep(bits):
    """uint16 film of so many bits: the small knee's levels fill them up to nine tenths."""
    levels = bright_knee().astype(float)
    return np.round(levels / levels.max() * 0.9 * (2**bits - 1)).astype(np.uint16)


def _palette(*, colour=False):
    """The small knee as 8-bit palette PNG, its levels in another order; with a red entry if `colour`."""
    order = np.random.default_rng(0).permutation(256)
    entries = np.repeat(order[:, None], 3, axis=1)
    if colour:
        entries[order == bright_knee()[3, 3], 0] += 30
    image = Image.fromarray(np.argsort(order)[bright_knee()].astype(np.uint8), "L")
    image.putpalette(entries.astype(np.uint8).ravel().tolist())
    return _saved(image, "PNG")


def _coloured():
    pixels = np.repeat(bright_knee()[..., None], 3, axis=2)
    pixels[10:20, 10:20, 0] = 250
    return Image.fromarray(pixels)


def _chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _with_wrong_checksum():
    """A PNG whose pixel data were changed, in a part that Pillow reads without a word."""
    lines = bytearray(b"".join(b"\0" + line.tobytes() for line in bright_knee()))
    whole = _chunk(b"IDAT", zlib.compress(lines, 0))
    lines[300] ^= 8
    altered = whole[:8] + zlib.compress(lines, 0) + whole[-4:]
    data = png(bright_knee())[:33] + altered + _chunk(b"IEND", b"")
    assert not np.array_equal(np.asarray(Image.open(io.BytesIO(data))), bright_knee())
    return data


def _with_width(width):
    """A PNG whose header says another width, its checksum put right."""
    data = png(bright_knee(size=2 * width)[:width])
    return data[:8] + _chunk(b"IHDR", struct.pack(">I", width) + data[20:29]) + data[33:]


def _shortened_jpeg():
    data = _saved(Image.fromarray(bright_knee()), "JPEG", quality=95)
    return data[: len(data) // 2] + b"\xff\xd9"


def _tiff_with_a_bad_tag():
    data = _saved(Image.fromarray(bright_knee()), "TIFF")
    entry = data.index(struct.pack("<HHI", 273, 4, 1))
    return data[:entry] + struct.pack("<HHI", 273, 2, 4) + data[entry + 8 :]


def _four_bit_tiff():
    """A TIFF of 4 bits a pixel, written by hand."""
    tags = [
        (256, SIZE),
        (257, SIZE),
        (258, 4),
        (259, 1),
        (262, 1),
        (273, 8 + 2 + 8 * 12 + 4),
        (278, SIZE),
        (279, SIZE * SIZE // 2),
    ]
    entries = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags)
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + bytes(range(16)) * (SIZE * SIZE // 32)


def _rgb16(levels):
    """PNG of three equal channels of 16 bits, which Pillow cannot write."""
    height, width = levels.shape
    lines = np.repeat(levels.astype(">u2")[..., None], 3, axis=2).reshape(height, -1)
    body = zlib.compress(b"".join(b"\0" + line.tobytes() for line in lines))
    header = _chunk(b"IHDR", struct.pack(">2I5B", width, height, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _stating(data, bits):
    """The PNG with a part sBIT after its header, which says how many of its bits are used."""
    return data[:33] + _chunk(b"sBIT", bytes([bits])) + data[33:]


def _four_bits():
    buffer = io.BytesIO()
    image = Image.fromarray(bright_knee() >> 4).convert("P")
    image.putpalette([level for level in range(0, 256, 17) for _ in range(3)])
    image.save(buffer, "PNG", bits=4)
    return buffer.getvalue()


def _two_frames():
    buffer = io.BytesIO()
    frames = [Image.fromarray(bright_knee(seed)) for seed in (1, 2)]
    frames[0].save(buffer, "TIFF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


@pytest.mark.parametrize("fault", REFUSED)
def test_a_file_that_is_no_sound_x_ray_is_refused_by_name_and_reason(tmp_path, fault):
    make, reason = REFUSED[fault]
    (tmp_path / "P1L.png").write_bytes(make())
    with pytest.raises(KoaError, match=rf"{reason}[\s\S]*P1L\.png"):
        read_radiograph(tmp_path / "P1L.png", size=SIZE)


@pytest.mark.parametrize("bits", [12, 13, 14, 15])
@pytest.mark.parametrize("burnt_in", [0, 12])
def test_a_film_of_fewer_bits_in_16_is_refused_unless_the_file_says_its_depth(bits, burnt_in):
    film = _deep(bits)
    film.flat[:burnt_in] = 65535
    for data in (png(film), _saved(Image.fromarray(film), "TIFF")):
        with pytest.raises(KoaError, match=r"uses no level above[\s\S]*say its depth"):
            decode_radiograph(data, "P1L")
    if burnt_in:  # goes beyond the depth it states
        with pytest.raises(KoaError, match="uses no level above"):
            decode_radiograph(_stating(png(film), bits), "P1L")
        return
    right = np.round(film / (2**bits - 1) * 255)
    assert np.array_equal(decode_radiograph(_stating(png(film), bits), "P1L")[0], right)
    stated = _saved(Image.fromarray(film), "TIFF", tiffinfo={281: 2**bits - 1})
    assert np.array_equal(decode_radiograph(stated, "P1L")[0], right)


def test_a_full_16_bit_film_in_three_channels_is_read_within_a_level_of_the_grey_one():
    grey, colour = (decode_radiograph(data, "P1L")[0] for data in (png(_deep(16)), _rgb16(_deep(16))))
    assert np.abs(grey.astype(int) - colour).max() <= 1


def test_a_grey_palette_and_an_opaque_mask_change_nothing():
    opaque = np.full_like(bright_knee(), 255)
    grey = bright_knee()
    for data in (_palette(), png(np.dstack([grey, opaque])), png(np.dstack([grey, grey, grey, opaque]))):
        assert np.array_equal(decode_radiograph(data, "P1L")[0], grey)


@pytest.mark.parametrize("noise", [0, 1, 2, 4])
def test_a_grey_film_saved_as_colour_jpeg_is_read_in_spite_of_its_chroma_noise(noise):
    grey = bright_knee(size=64).astype(int)
    offset = np.random.default_rng(0).integers(-noise, noise + 1, (8, 8, 3)).repeat(8, 0).repeat(8, 1)
    film = Image.fromarray(np.clip(grey[..., None] + offset, 0, 255).astype(np.uint8))
    pixels, _ = decode_radiograph(_saved(film, "JPEG", quality=95, subsampling=0), "P1L")
    assert np.abs(pixels - grey).max() <= 8 + noise


ORIENTED = {  # what a viewer does with the stored pixels, for each value of the tag
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).T,
    8: np.rot90,
}


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize("orientation", ORIENTED)
def test_a_knee_is_turned_upright_as_its_orientation_says(form, orientation):
    stored = bright_knee(size=64)[:40]
    exif = Image.Exif()
    exif[274] = orientation
    options = {"tiffinfo": {274: orientation}} if form == "TIFF" else {"exif": exif}
    data = _saved(Image.fromarray(stored), form, **options)
    plain = decode_radiograph(_saved(Image.fromarray(stored), form), "P1L", polarity="as it is")[0]
    expected = ORIENTED[orientation](plain)
    assert np.array_equal(decode_radiograph(data, "P1L", expected.shape, "as it is")[0], expected)
    with pytest.raises(KoaError, match="pixels, not"):
        decode_radiograph(data, "P1L", expected.shape[::-1])


def test_16_bits_are_turned_upright_too():
    exif = Image.Exif()
    exif[274] = 6
    deep = bright_knee(size=64)[:40].astype(np.uint16) * 257
    for data in (png(deep, exif=exif), _saved(Image.fromarray(deep), "TIFF", tiffinfo={274: 6})):
        assert np.array_equal(decode_radiograph(data, "P1L", polarity="as it is")[0], np.rot90(deep // 257, -1))


def test_a_huge_image_that_was_not_asked_for_takes_no_memory(tmp_path):
    for form in ("png", "tif"):
        Image.new("I;16", (8192, 8192)).save(
            tmp_path / f"huge.{form}", **({"compression": "tiff_lzw"} if form == "tif" else {})
        )
    save(tmp_path / "P1L.png", bright_knee())
    code = """
import resource, sys
from koa_kit.data import read_radiograph
from koa_kit.errors import KoaError
read_radiograph(sys.argv[1])
peaks = [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]
for path in sys.argv[2:]:
    try:
        read_radiograph(path, size=224)
    except KoaError as error:
        assert "8192 x 8192 pixels, not 224 x 224" in str(error), error
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(peaks[-1] - peaks[0])
"""
    files = [str(tmp_path / name) for name in ("P1L.png", "huge.png", "huge.tif")]
    kilobytes = subprocess.run([sys.executable, "-c", code, *files], check=True, capture_output=True, text=True).stdout
    assert int(kilobytes) < 20_000


def test_what_is_no_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "P1L.png")
    for path in (tmp_path / "P1L.png", tmp_path, tmp_path / "absent.png", "null\0L.png"):
        with pytest.raises(KoaError, match="cannot be opened"):
            read_radiograph(path)
