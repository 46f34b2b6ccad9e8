"""Damaged image files: each is refused by a `KoaError`, or gives the right pixels. ``KOA_FAULTS`` sets how many."""

import io
import os
import random
import struct
import zlib
from functools import cache

import numpy as np
import pytest
from PIL import Image, ImageOps

from koa_kit.data.radiograph import decode_radiograph
from koa_kit.errors import KoaError
from koa_kit.phantom.cohort import phantom_cohort

FAULTS = int(os.environ.get("KOA_FAULTS", "500"))
BATCHES = 10
CHECKED = ("png8", "png16", "png-rgb", "png-interlaced", "png-chunks")
"""Files whose every byte is under a checksum: the pixels must be those of the intact file."""


@cache
def intact() -> dict[str, bytes]:
    """Sound files of one phantom knee, 48 pixels wide and 40 high, by their kind."""
    grey = phantom_cohort(2, size=48, seed=0).images[0][:40].copy()
    deep, colour = grey.astype(np.uint16) * 257, np.repeat(grey[..., None], 3, axis=2)
    noisy = colour.astype(int) + np.random.default_rng(0).integers(-1, 2, colour.shape)
    images = {"grey": grey, "deep": deep, "colour": colour, "noisy": np.clip(noisy, 0, 255).astype(np.uint8)}
    kinds = {
        "png8": ("grey", "PNG", {}),
        "png16": ("deep", "PNG", {}),
        "png-rgb": ("colour", "PNG", {}),
        "jpeg": ("grey", "JPEG", {"quality": 90}),
        "jpeg-rgb": ("noisy", "JPEG", {"quality": 95}),
        "jpeg-progressive": ("grey", "JPEG", {"quality": 90, "progressive": True}),
        "tiff8": ("grey", "TIFF", {}),
        "tiff16": ("deep", "TIFF", {}),
        "tiff-rgb": ("colour", "TIFF", {}),
        "tiff-lzw": ("grey", "TIFF", {"compression": "tiff_lzw"}),
        "tiff16-deflate": ("deep", "TIFF", {"compression": "tiff_adobe_deflate"}),
    }
    files = {}
    for kind, (image, form, options) in kinds.items():
        buffer = io.BytesIO()
        Image.fromarray(images[image]).save(buffer, form, **options)
        files[kind] = buffer.getvalue()
    chunks = _chunks(files["png8"])
    lines = zlib.decompress(dict(chunks)[b"IDAT"])
    packed = zlib.compress(lines)
    pieces = [(b"IDAT", packed[start : start + 200]) for start in range(0, len(packed), 200)]
    files["png-chunks"] = _joined([chunks[0], (b"tEXt", b"a\0b"), *pieces, chunks[-1]])
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    adam7 = b"".join(b"\0" + row.tobytes() for x, y, dx, dy in passes for row in grey[y::dy, x::dx])
    header = chunks[0][1][:12] + b"\1"
    files["png-interlaced"] = _joined([(b"IHDR", header), (b"IDAT", zlib.compress(adam7)), chunks[-1]])
    return files


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, place = [], 8
    while place < len(data):
        length, name = struct.unpack_from(">I4s", data, place)
        found.append((name, data[place + 8 : place + 8 + length]))
        place += 12 + length
    return found


def _joined(chunks) -> bytes:
    """PNG of these chunks, every checksum right."""
    parts = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@cache
def pixels_of(kind: str) -> np.ndarray:
    """What Pillow decodes from the intact file, as the kit should give it."""
    return _plain(intact()[kind])


def _plain(data: bytes) -> np.ndarray:
    """Grey levels by Pillow alone."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):
            return np.round(np.asarray(upright).astype(float) / 257).astype(np.uint8)
        return np.asarray(upright.convert("RGB").convert("L"))


def bytes_changed(data, chance):
    altered = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8, 32))):
        altered[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(altered)


def header_changed(data, chance):
    altered = bytearray(data)
    altered[chance.randrange(min(64, len(data)))] = chance.choice((0, 1, 2, 3, 4, 127, 128, 255, chance.randrange(256)))
    return bytes(altered)


def cut(data, chance):
    return data[: chance.randrange(len(data))]


def part_missing(data, chance):
    start = chance.randrange(len(data))
    return data[:start] + data[start + chance.randrange(1, 200) :]


def part_twice(data, chance):
    start = chance.randrange(len(data))
    return data[:start] + data[start : start + chance.randrange(1, 200)] * 2 + data[start + 200 :]


def part_zero(data, chance):
    start = chance.randrange(len(data))
    return data[:start] + bytes(min(chance.randrange(1, 400), len(data) - start)) + data[start + 400 :]


def appended(data, chance):
    return data + chance.randbytes(chance.randrange(1, 400))


def chunks_swapped(data, chance):
    chunks = _chunks(data)
    chance.shuffle(chunks)
    return _joined(chunks)


def chunk_lost_or_doubled(data, chance):
    chunks = _chunks(data)
    place = chance.randrange(len(chunks))
    return _joined(chunks[:place] + chunks[place : place + 1] * chance.choice((0, 2)) + chunks[place + 1 :])


def png_header_forged(data, chance):
    """Another width, height, depth, colour or interlacing, under a right checksum."""
    chunks = _chunks(data)
    header = bytearray(chunks[0][1])
    header[chance.randrange(13)] = chance.choice((0, 1, 2, 3, 4, 6, 8, 16, 32, 48, 255))
    return _joined([(b"IHDR", bytes(header)), *chunks[1:]])


def png_metadata(data, chance):
    chunks = _chunks(data)
    name = chance.choice(
        (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"pHYs", b"gAMA", b"tIME", b"acTL", b"sRGB", b"PLTE", b"quIt")
    )
    body = chance.choice((b"", chance.randbytes(chance.randrange(40)), b"a\0\0" + zlib.compress(bytes(2_000_000))))
    chunks.insert(chance.randrange(1, len(chunks)), (name, body))
    return _joined(chunks)


def jpeg_cut_and_closed(data, chance):
    return data[: chance.randrange(len(data))] + b"\xff\xd9"


def jpeg_metadata(data, chance):
    marker = bytes([0xFF, chance.choice((*range(0xE0, 0xF0), 0xFE))])
    body = chance.choice(
        (b"Exif\0\0II*\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0", b"8BIM", b"")
    ) + chance.randbytes(chance.randrange(60))
    return data[:2] + marker + struct.pack(">H", len(body) + 2) + body + data[2:]


def tiff_tag_changed(data, chance):
    (place,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, place)
    altered = bytearray(data)
    entry = place + 2 + 12 * chance.randrange(count)
    if chance.random() < 0.5:
        altered[entry + chance.randrange(12)] = chance.choice((0, 1, 2, 3, 5, 12, 16, 255))
    else:
        value = chance.choice((0, 1, 2**16, 2**31, 2**32 - 1, chance.randrange(2**32)))
        struct.pack_into("<HI", altered, entry + 2, chance.randrange(20), value)
    return bytes(altered)


ANY = (bytes_changed, header_changed, cut, part_missing, part_twice, part_zero, appended)
FAULT = {
    "png": (*ANY, chunks_swapped, chunk_lost_or_doubled, png_header_forged, png_metadata),
    "jpeg": (*ANY, jpeg_cut_and_closed, jpeg_metadata),
    "tiff": (*ANY, tiff_tag_changed, tiff_tag_changed),
}
LEFT_WHOLE = (cut, jpeg_cut_and_closed, appended)
"""Faults after which only the intact file's pixels are right, checksum or not."""


def outcome(number: int) -> tuple[str, str]:
    """Kind and fault of the file of this number, and how it ended: ``refused``, ``right`` or what is wrong."""
    chance = random.Random(number)
    kind = chance.choice(sorted(intact()))
    fault = chance.choice(next(faults for form, faults in FAULT.items() if kind.startswith(form)))
    damaged = fault(intact()[kind], chance)
    label = f"{number}: {kind}, {fault.__name__}"
    try:
        pixels, inverted = decode_radiograph(damaged, "P1L", polarity="as it is")
    except KoaError:
        return label, "refused"
    except BaseException as error:
        return label, f"ended in {error!r}"
    if pixels.dtype != np.uint8 or inverted:
        return label, f"gave {pixels.dtype}"
    right = [pixels_of(kind)]
    if kind not in CHECKED and fault not in LEFT_WHOLE:  # nothing in the file tells that it was altered
        right.append(_plain(damaged))
    return label, "right" if any(np.array_equal(pixels, one) for one in right) else "gave other pixels"


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("batch", range(BATCHES))
def test_a_damaged_image_is_refused_or_gives_the_right_pixels(batch):
    results = [outcome(number) for number in range(batch, FAULTS, BATCHES)]
    assert [result for result in results if result[1] not in ("refused", "right")] == []
    assert {"refused", "right"} == {end for _, end in results}


@pytest.mark.parametrize("kind", sorted(intact()))
def test_the_intact_file_is_read(kind):
    assert np.array_equal(decode_radiograph(intact()[kind], "P1L", (40, 48), "as it is")[0], pixels_of(kind))
