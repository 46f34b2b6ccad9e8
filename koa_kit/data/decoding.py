"""Grey pixels from the bytes of a PNG, JPEG or TIFF: what Pillow lets pass is checked, and nothing is guessed."""

from __future__ import annotations

import io
import re
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from koa_kit.errors import KoaError

FORMATS = ("PNG", "JPEG", "TIFF")
LARGEST = 8192
"""Longest side in pixels that is read; a whole long-leg radiograph stays below it."""

CHROMA_NOISE = 12
"""Levels by which the channels of a JPEG may differ: compressing grey as colour makes a few, a mark many more."""

DARKEST_SHARE = 0.98
"""Share of the pixels below the brightest level of a 16-bit file (markers, padding) that must not all lie in the lower
half of its range: of a film of 15 bits or fewer they do; in digital-knee they reach .69 of the range and more."""

BITS_PER_SAMPLE, LARGEST_SAMPLE = 258, 281  # tags of TIFF
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by its type of colour
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column and row and steps of each pass of an interlaced PNG."""
JPEG_MARK = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def grey_pixels(data: bytes, where: object, size: tuple[int, int] | None = None) -> np.ndarray:
    """uint8 ``(H, W)``, upright as the file's orientation says; `KoaError`, naming `where`, as `read_radiograph`."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image.size, size, where)
            if (frames := getattr(image, "n_frames", 1)) > 1:
                raise _refusal(f"it holds {frames} frames", where)
            bits, largest = _check_png(data) if image.format == "PNG" else (8, None)
            # Image.verify() accepts half a file; only load() decodes to the end.
            image.load()
            lossy = image.format == "JPEG"
            if lossy:
                _check_jpeg(data, image)
            elif isinstance(image, TiffImageFile):
                bits, largest = _tiff_depth(image)
                lossy = image.info.get("compression") == "jpeg"
            upright = ImageOps.exif_transpose(image)  # of a TIFF, load() has done it
            pixels = _grey(upright, bits, largest, lossy, where)
    except KoaError:
        raise
    except UnidentifiedImageError as error:
        raise _refusal(f"it is no {', '.join(FORMATS)} image", where) from error
    except Image.DecompressionBombError as error:
        raise _refusal("it claims to be larger than any X-ray", where) from error
    except Exception as error:  # of damaged files Pillow raises whatever its parsers meet: KeyError, TypeError, …
        raise _refusal(f"it is truncated or damaged ({error})", where, "Get the file again.") from error
    if size and pixels.shape != size:
        raise _wrong_size(pixels.shape, size, where)
    if pixels.min() == pixels.max():
        raise _refusal(f"every pixel has the same grey level, {pixels.min()}", where)
    return pixels


def _refusal(reason: str, where: object, remedy: str | None = None) -> KoaError:
    return KoaError(f"The image is refused: {reason}.", where=where, remedy=remedy)


def _check_size(header: tuple[int, int], size: tuple[int, int] | None, where: object) -> None:
    """Refuse by the header alone, before memory is taken; an orientation may exchange width and height."""
    if max(header) > LARGEST:
        raise _refusal(f"it is {header[0]} x {header[1]} pixels, over {LARGEST}", where)
    if size and tuple(size) not in (header, header[::-1]):
        raise _wrong_size(header[::-1], size, where)


def _wrong_size(shape: tuple[int, int], size: tuple[int, int], where: object) -> KoaError:
    return _refusal(f"it is {shape[1]} x {shape[0]} pixels, not {size[1]} x {size[0]}", where)


def _check_png(data: bytes) -> tuple[int, int | None]:
    """Bits of a sample, and the largest sample if the file says it (sBIT); ValueError if the file contradicts itself.

    Pillow skips the checksums of the pixel data, and reads data that belong to another width or depth.
    """
    place, kind, packed, significant = 8, b"", [], None
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, place)
        content = data[place + 8 : place + 8 + length]
        (checksum,) = struct.unpack_from(">I", data, place + 8 + length)
        if zlib.crc32(kind + content) != checksum:
            raise ValueError(f"the checksum of its part {kind.decode('latin-1')!r} is wrong")
        if kind == b"IDAT":
            packed.append(content)
        elif kind == b"sBIT":
            significant = min(content[:3])
        place += 12 + length
    # The header: after 8 bytes of signature and 8 of the first part's length and name. Pillow widens 2 and 4 bits.
    width, height, bits, colour, _, _, interlaced = struct.unpack_from(">2I5B", data, 16)
    expected = sum(
        -((y0 - height) // dy) * (1 + (-((x0 - width) // dx) * bits * PNG_CHANNELS[colour] + 7) // 8)
        for x0, y0, dx, dy in (ADAM7 if interlaced else ((0, 0, 1, 1),))
        if width > x0 and height > y0
    )
    unpack, remaining, unpacked = zlib.decompressobj(), b"".join(packed), 0
    while remaining and not unpack.eof and unpacked <= expected:
        unpacked += len(unpack.decompress(remaining, 1 << 20))
        remaining = unpack.unconsumed_tail
    if not unpack.eof or unpacked != expected:
        raise ValueError("its data do not fill its width and height")
    return bits, (1 << significant) - 1 if significant else None


def _check_jpeg(data: bytes, image: Image.Image) -> None:
    """Raise ValueError if the data end before the picture: libjpeg fills the rest with grey and says nothing.

    More data are put before the end mark. They are ignored where the last scan is whole; else they change the picture.
    A progressive JPEG must also have its finest scans: every coefficient of every channel to the last bit.
    """
    place, coefficients, channels, progressive = 2, set(), 1, False
    while (marker := data[place + 1]) != 0xD9:
        start = place + 4
        if marker in (0xC0, 0xC1, 0xC2):  # size and kind of the picture
            channels, progressive = data[start + 5], marker == 0xC2
        place += 1 if marker == 0xFF else 2 + int.from_bytes(data[place + 2 : start])
        if marker == 0xDA:  # a scan; what follows up to the next mark are its data
            identifiers = data[start + 1 : start + 1 + 2 * data[start] : 2]
            first, last, bit = data[place - 3 : place]
            if bit % 16 == 0:
                coefficients |= {(channel, number) for channel in identifiers for number in range(first, last + 1)}
            place = next(JPEG_MARK.finditer(data, place)).start()
    if progressive and len(coefficients) < 64 * channels:
        raise ValueError("its finest details are missing")
    end = place
    with Image.open(io.BytesIO(data[:end] + b"\x55" * 4096 + data[end:]), formats=("JPEG",)) as longer:
        if not np.array_equal(np.asarray(longer), np.asarray(image)):
            raise ValueError("its data end before the picture does")


def _tiff_depth(image: TiffImageFile) -> tuple[int, int | None]:
    """Bits of a sample, and the largest sample if the file says it (by its depth, or by MaxSampleValue)."""
    bits, largest = image.tag_v2.get(BITS_PER_SAMPLE, (1,)), image.tag_v2.get(LARGEST_SAMPLE)
    largest = largest[0] if isinstance(largest, tuple) else largest
    if 8 < max(bits) < 16:
        return 16, (1 << max(bits)) - 1
    return max(bits), (1 << largest.bit_length()) - 1 if largest else None


def _grey(image: Image.Image, bits: int, largest: int | None, lossy: bool, where: object) -> np.ndarray:
    if bits < 8:
        raise _refusal(f"it has {bits} bit(s) a pixel, at least 8 are needed", where)
    # Older Pillow opens a 16-bit grey PNG as 32-bit "I".
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        return _scaled(np.asarray(image), image.info.get("transparency"), largest, where)
    if image.mode not in ("L", "LA", "P", "PA", "RGB", "RGBA"):
        raise _refusal(f"its mode is {image.mode}, not grey", where, "Save it as an 8- or 16-bit grey PNG.")
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        if np.asarray(image.getchannel("A")).min() < 255:
            raise _refusal("parts of it are transparent", where, "Save the X-ray itself as grey, without a mask.")
    if image.mode == "L":
        pixels = np.asarray(image)
    else:
        channels = np.asarray(image.convert("RGB"))
        differ = int((channels.max(axis=-1) - channels.min(axis=-1)).max())
        if differ > (CHROMA_NOISE if lossy else 0):
            remedy = "Save the X-ray itself as grey, without annotations."
            raise _refusal(f"its colour channels differ by up to {differ} levels", where, remedy)
        pixels = np.asarray(image.convert("L")) if differ else np.ascontiguousarray(channels[..., 0])
    if bits == 16:  # of several channels Pillow keeps the upper 8 bits
        _check_range(pixels, 255, where)
    return pixels


def _scaled(pixels: np.ndarray, transparent: int | None, largest: int | None, where: object) -> np.ndarray:
    """uint8 of 16-bit grey: 255 for `largest`, for 65535 where the file states none or goes beyond what it states."""
    if transparent is not None and (pixels == transparent).any():
        raise _refusal("parts of it are transparent", where, "Save the X-ray itself as grey, without a mask.")
    if largest is None or pixels.max() > largest:
        largest = 65535
    _check_range(pixels, largest, where)
    return ((pixels.astype(np.uint32) * 255 + largest // 2) // largest).astype(np.uint8)


def _check_range(pixels: np.ndarray, largest: int, where: object) -> None:
    """Refuse a file that leaves the upper half of its range to markers or to nothing: it would be almost black."""
    below = pixels[pixels < pixels.max()]
    if below.size and (level := np.quantile(below, DARKEST_SHARE)) <= largest / 2:
        remedy = (
            "It was saved from fewer bits without scaling: scale it to the full range, or let the file say its depth "
            "(PNG: sBIT, TIFF: MaxSampleValue)."
        )
        what = f"it has 16 bits a pixel but {DARKEST_SHARE:.0%} of it uses no level above {level:.0f} of {largest}"
        raise _refusal(what, where, remedy)
