"""Masks say where a sign lies: change the sign, and it is there that the picture changes."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from koa_kit.phantom import Exposure, KneeFeatures, draw_knee, knee_masks, phantom_cohort, phantom_masks
from koa_kit.phantom.drawing.masks import MASKS
from koa_kit.phantom.knee.features import SITES

STILL = Exposure(noise=0.0, trabeculae=0.0, blur=0.5)
PLACED = replace(STILL, tilt_deg=4, shift_x_mm=3, shift_y_mm=-2, scale=1.05)


def change(before: KneeFeatures, after: KneeFeatures) -> np.ndarray:
    """Absolute change of the picture, less what the windowing shifts everywhere."""
    difference = draw_knee(after, seed=3).astype(float) - draw_knee(before, seed=3)
    return np.clip(np.abs(difference - np.median(difference)) - 4, 0, None)


def share_within(energy: np.ndarray, mask: np.ndarray, margin: int = 3) -> float:
    return float(energy[binary_dilation(mask, iterations=margin)].sum() / energy.sum())


@pytest.mark.parametrize("site", SITES)
def test_a_growing_osteophyte_changes_the_picture_inside_its_mask(site):
    none, large = (KneeFeatures(**{f"osteophyte_{site}": size}, exposure=PLACED) for size in (0.0, 3.0))
    masks = knee_masks(large, seed=3)
    assert 20 < masks[f"osteophyte_{site}"].sum() < 600
    assert share_within(change(none, large), masks[f"osteophyte_{site}"]) > 0.75
    assert not knee_masks(none, seed=3)[f"osteophyte_{site}"].any()
    others = [name for name in MASKS if name.startswith("osteophyte") and not name.endswith(site)]
    assert not any(masks[name].any() for name in others)


@pytest.mark.parametrize("compartment", ["medial", "lateral"])
def test_the_joint_space_mask_covers_the_dark_gap_and_shrinks_with_it(compartment):
    knee = KneeFeatures(exposure=PLACED)
    image, mask = draw_knee(knee, seed=3).astype(float), knee_masks(knee, seed=3)[f"joint_space_{compartment}"]
    around = binary_dilation(mask, iterations=6) & ~binary_dilation(mask, iterations=2)
    assert image[mask].mean() < image[around].mean() - 8
    areas = [
        knee_masks(KneeFeatures(**{f"jsw_{compartment}_mm": width}))[f"joint_space_{compartment}"].sum()
        for width in (6.0, 4.0, 2.0, 0.2)
    ]
    assert np.all(np.diff(areas) < -100)
    assert areas[-1] > 0


def test_sclerosis_whitens_the_picture_inside_its_mask():
    without, with_it = (KneeFeatures(jsw_medial_mm=2.0, sclerosis=value, exposure=STILL) for value in (0.0, 3.0))
    mask = knee_masks(with_it, seed=3)["sclerosis"]
    assert share_within(change(without, with_it), mask) > 0.75
    assert not knee_masks(without, seed=3)["sclerosis"].any()
    # Medial disease: the band lies right of the middle of a right knee.
    assert mask[:, 120:].any()
    assert not mask[:, :100].any()


def test_the_masks_of_a_left_knee_are_those_of_the_right_one_mirrored():
    knee = KneeFeatures(osteophyte_medial_tibia=2, jsw_medial_mm=2, sclerosis=2, exposure=PLACED)
    left, right = (knee_masks(knee, side=side, size=100) for side in "LR")
    assert tuple(left) == MASKS
    for name in MASKS:
        np.testing.assert_array_equal(left[name], right[name][:, ::-1])


def test_a_cohorts_masks_lie_row_for_row_beside_its_images():
    table = phantom_cohort(4, size=48, seed=1).table
    masks = phantom_masks(table, size=48)
    assert {mask.shape for mask in masks.values()} == {(8, 48, 48)}
    assert {mask.dtype for mask in masks.values()} == {np.dtype(bool)}
    knee = table.iloc[5]
    alone = knee_masks(KneeFeatures.from_row(knee), side=knee["side"], size=48, seed=knee["draw_seed"])
    for name in MASKS:
        np.testing.assert_array_equal(masks[name][5], alone[name])
    grown = [masks[f"osteophyte_{site}"].any(axis=(1, 2)) for site in SITES]
    assert not any((of & (table[f"osteophyte_{site}"] == 0)).any() for of, site in zip(grown, SITES, strict=True))
