import io

import numpy as np
import pytest
from knee_files import knee_tree, save
from PIL import Image

from koa_kit.data import load_cohort
from koa_kit.data.audit import audit_cohort
from koa_kit.data.polarity import looks_inverted
from koa_kit.data.radiograph import decode_radiograph, read_radiograph
from koa_kit.errors import KoaError
from koa_kit.phantom.cohort import phantom_cohort


def framed(knee, level, width=4):
    """The knee under a frame as wide as `width` is in 224 pixels."""
    width = max(1, round(width * len(knee) / 224))
    return np.pad(knee[width:-width, width:-width], width, constant_values=level)


def padded(knee, level, sides):
    """The knee with a quarter of its size added at these sides: top, bottom, left, right."""
    quarter = len(knee) // 4
    top, bottom, left, right = (quarter * side for side in sides)
    return np.pad(knee, ((top, bottom), (left, right)), constant_values=level)


def two_knees(knee, level, gap):
    return np.hstack([knee, np.full((len(knee), int(len(knee) * gap)), level, np.uint8), knee[:, ::-1]])


def compressed(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=75)
    return np.asarray(Image.open(buffer))


def narrow(knee):
    """The knee on half the width, soft tissue fading at both sides of it."""
    quarter = len(knee) // 4
    half = np.asarray(Image.fromarray(knee).resize((2 * quarter, len(knee)))).astype(float)
    fade = np.linspace(0.3, 1, quarter)
    return np.hstack([half[:, :1] * fade, half, half[:, -1:] * fade[::-1]]).astype(np.uint8)


SETTINGS = {
    "alone": lambda knee, level: knee,
    "frame of 1 px": lambda knee, level: framed(knee, level, 1),
    "frame of 4 px": framed,
    "frame of 10 px": lambda knee, level: framed(knee, level, 10),
    "padding all round": lambda knee, level: padded(knee, level, (1, 1, 1, 1)),
    "padding left and right": lambda knee, level: padded(knee, level, (0, 0, 1, 1)),
    "padding at the left": lambda knee, level: padded(knee, level, (0, 0, 1, 0)),
    "padding at the bottom": lambda knee, level: padded(knee, level, (0, 1, 0, 0)),
    "padding, compressed": lambda knee, level: compressed(padded(knee, level, (1, 1, 1, 1))),
    "frame in other padding": lambda knee, level: padded(framed(knee, level), 255 - level, (1, 1, 1, 1)),
    "two knees": lambda knee, level: two_knees(knee, level, 0),
    "two knees, narrow gap": lambda knee, level: two_knees(knee, level, 0.2),
    "two knees, wide gap, padding": lambda knee, level: padded(two_knees(knee, level, 1), level, (1, 1, 1, 1)),
    "weak contrast": lambda knee, level: (100 + knee * 0.2).astype(np.uint8),
}


@pytest.fixture(scope="module", params=[64, 112, 224])
def knees(request):
    return phantom_cohort(12, size=request.param, seed=4).images


@pytest.mark.parametrize("level", [0, 255])
@pytest.mark.parametrize("setting", SETTINGS)
def test_bone_tells_whether_a_film_is_a_negative_whatever_lies_round_it(knees, setting, level):
    show = SETTINGS[setting]
    assert not any(looks_inverted(show(knee, level)) for knee in knees)
    assert all(looks_inverted(show(255 - knee, level)) for knee in knees)


def test_a_leg_that_fills_half_the_width_is_not_taken_for_two(knees):
    assert not any(looks_inverted(narrow(knee)) for knee in knees)
    assert all(looks_inverted(255 - narrow(knee)) for knee in knees)


@pytest.mark.parametrize(("level", "width"), [(255, 4), (255, 10), (0, 4), (0, 10)])
def test_exactly_the_known_negatives_among_real_knees_are_found_also_under_a_frame(real_data, level, width):
    files = sorted((real_data / "oai-kl224" / "val").rglob("*.png"))
    stored = [decode_radiograph(file.read_bytes(), file, polarity="as it is")[0] for file in files]
    dark = [looks_inverted(pixels) for pixels in stored]
    assert sum(dark) == 14
    assert [looks_inverted(framed(pixels, level, width)) for pixels in stored] == dark


def test_as_it_is_nothing_is_turned(tmp_path):
    negative = 255 - phantom_cohort(2, size=64, seed=0).images[0]
    file = save(tmp_path / "P1L.png", negative)
    pixels, inverted = read_radiograph(file, polarity="as it is")
    assert np.array_equal(pixels, negative)
    assert not inverted
    assert np.array_equal(read_radiograph(file)[0], 255 - negative)
    with pytest.raises(KoaError, match=r'no polarity \'as is\'[\s\S]*"auto" or "as it is"'):
        read_radiograph(file, polarity="as is")


def test_a_cohort_says_how_many_files_were_turned_and_keeps_them_apart_from_the_same_as_they_are(tmp_path):
    root = knee_tree(tmp_path / "mine")
    file = next(root.rglob("VAL*.png"))
    stored = 255 - np.asarray(Image.open(file))
    save(file, stored)
    turned, kept = (load_cohort(root, size=32, cache_dir=tmp_path, polarity=one) for one in ("auto", "as it is"))
    assert "1 showed bone dark and were inverted" in repr(turned)
    assert "inverted" not in repr(kept)
    assert audit_cohort(turned).inverted["inverted"].sum() == 1
    row = turned.table.index[turned.table["inverted"]][0]
    assert np.array_equal(kept.images[row], stored)
    assert np.array_equal(turned.images[row], 255 - stored)
    assert turned.fingerprint != kept.fingerprint
    with pytest.raises(KoaError, match="no polarity"):
        load_cohort(root, size=32, cache_dir=tmp_path, polarity="dark")
