import io

import numpy as np
import pytest
from knee_files import SIZE, bright_knee, save
from PIL import Image

from koa_kit.data import read_radiograph
from koa_kit.errors import KoaError


def encoded(image, format="PNG", **options):
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png(pixels):
    return encoded(Image.fromarray(pixels))


@pytest.mark.parametrize(
    ("on_file", "bone_dark"),
    [(bright_knee(), False), (255 - bright_knee(), True), (bright_knee().astype(np.uint16) * 257, False)],
    ids=["8 bits", "bone dark", "16 bits"],
)
def test_a_knee_is_read_with_8_bits_and_bone_bright_and_marked_where_the_file_shows_bone_dark(
    tmp_path, on_file, bone_dark
):
    pixels, inverted = read_radiograph(save(tmp_path / "P1L.png", on_file))
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, bright_knee())
    assert inverted == bone_dark


def test_grey_saved_as_rgb_is_read_and_colour_is_refused(tmp_path):
    grey = np.repeat(bright_knee()[..., None], 3, axis=2)
    assert np.array_equal(read_radiograph(save(tmp_path / "P1L.png", grey))[0], bright_knee())
    grey[3, 3, 2] += 1
    with pytest.raises(KoaError, match=r"channels differ[\s\S]*P2L\.png"):
        read_radiograph(save(tmp_path / "P2L.png", grey))


def _four_bits():
    image = Image.fromarray(bright_knee() >> 4).convert("P")
    image.putpalette([level for level in range(0, 256, 17) for _ in range(3)])
    return encoded(image, bits=4)


KNEE, OTHER = (Image.fromarray(bright_knee(seed)) for seed in (0, 1))
REFUSED = {
    "truncated": (png(bright_knee())[:-400], "truncated or damaged"),
    "no image": (b"PNG? no.", "no PNG, JPEG, TIFF image"),
    "empty": (b"", "no PNG, JPEG, TIFF image"),
    "constant": (png(np.full((SIZE, SIZE), 7, np.uint8)), "same grey level, 7"),
    "one bit": (png(bright_knee() > 100), "1 bit"),
    "four bits": (_four_bits(), "4 bit"),
    "palette": (encoded(KNEE.convert("P")), "mode is P"),
    "transparent": (encoded(KNEE.convert("RGBA")), "mode is RGBA"),
    "12 of 16 bits": (png(bright_knee().astype(np.uint16) * 16), "uses no level above"),
    "two frames": (encoded(KNEE, "TIFF", save_all=True, append_images=[OTHER]), "2 frames"),
    "wrong size": (png(bright_knee(size=SIZE + 2)), "34 x 34 pixels, not 32 x 32"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_file_that_is_no_sound_x_ray_is_refused_by_name_and_reason(tmp_path, fault):
    data, reason = REFUSED[fault]
    (tmp_path / "P1L.png").write_bytes(data)
    with pytest.raises(KoaError, match=rf"{reason}[\s\S]*P1L\.png"):
        read_radiograph(tmp_path / "P1L.png", size=SIZE)
