import io

import numpy as np
import pytest
from knee_files import SIZE, bright_knee, save
from PIL import Image

from koa_kit.data import read_radiograph
from koa_kit.errors import KoaError


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
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
    "palette": (lambda: _converted("P"), "mode is P"),
    "transparent": (lambda: _converted("RGBA"), "mode is RGBA"),
    "12 of 16 bits": (lambda: png(bright_knee().astype(np.uint16) * 16), "uses no level above"),
    "two frames": (lambda: _two_frames(), "2 frames"),
    "wrong size": (lambda: png(bright_knee(size=SIZE + 2)), "34 x 34 pixels, not 32 x 32"),
}


def _converted(mode):
    buffer = io.BytesIO()
    Image.fromarray(bright_knee()).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


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
