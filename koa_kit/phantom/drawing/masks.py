"""Where the signs lie: ground truth for explanations, at the image's own resolution."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from koa_kit.phantom.drawing.anatomy import COMPARTMENT_MM, MARGIN_MM, build_anatomy, value_at
from koa_kit.phantom.drawing.radiograph import check_picture
from koa_kit.phantom.drawing.shadow import millimetres, place_bones
from koa_kit.phantom.drawing.tissue import F
from koa_kit.phantom.knee.features import OSTEOPHYTES, KneeFeatures

# Thickness of the strip of bone along the joint that sclerosis whitens, and half its length.
BAND_MM, HALF_BAND_MM = 5.0, 13.0
# How far from the joint margin an osteophyte is still counted as one; beyond it thins out along the flank.
SPUR_MM = 10.0
# How far a joint space's mask reaches into the bone: the gap is seen by its edges.
EDGE_MM = 0.5
# Sclerosis of a compartment below this has no mask.
VISIBLE = 0.25
MASKS = ("joint_space_medial", "joint_space_lateral", *OSTEOPHYTES, "sclerosis")


def knee_masks(features: KneeFeatures, *, side: str = "R", size: int = 224, seed: int = 0) -> dict[str, np.ndarray]:
    """Where each sign lies in the image `draw_knee` makes of the same arguments: name to bool ``(size, size)``.

    - ``joint_space_medial``, ``joint_space_lateral``: the gap of the compartment, from 13 to 37 mm off the middle, and
      half a millimetre of bone on either side.
    - ``osteophyte_medial_femur`` and so on for all `SITES`: the bone that was not there before the osteophyte grew,
      up to 10 mm from the margin; empty where there is none.
    - ``sclerosis``: five millimetres of bone above and below the joint in the compartments that are sclerotic; empty
      where none is.

    An unknown side or a size below 16 is a `KoaError`.
    """
    check_picture(side, size)
    anatomy = build_anatomy(features, np.random.default_rng(seed).spawn(2)[0])
    none: dict = dict.fromkeys(OSTEOPHYTES, 0.0)
    smooth = replace(features, **none)
    before = build_anatomy(smooth, np.random.default_rng(seed).spawn(2)[0])
    _, down, x, y = millimetres(features.exposure, size)
    femur, tibia = place_bones(anatomy, down, x, y)
    femur_before, tibia_before = place_bones(before, down, x, y)
    masks = {name: np.zeros((size, size), bool) for name in MASKS}

    across = np.abs(x)
    rows = slice(tibia.rows.start, femur.rows.stop)
    shared = slice(rows.start, rows.stop), slice(rows.start - tibia.rows.start, rows.stop - tibia.rows.start)
    gap = (femur.from_joint[shared[0]] < EDGE_MM) & (tibia.from_joint[shared[1]] < EDGE_MM)
    gap &= (across[rows] > 2 * COMPARTMENT_MM - MARGIN_MM) & (across[rows] < MARGIN_MM)
    for compartment, of_side in (("medial", x > 0), ("lateral", x <= 0)):
        masks[f"joint_space_{compartment}"][rows] = gap & of_side[rows]
        of_femur, of_tibia = (anatomy.condyles, femur, femur_before), (anatomy.plateau, tibia, tibia_before)
        for bone, (surface, now, then) in (("femur", of_femur), ("tibia", of_tibia)):
            lip = value_at(surface, MARGIN_MM if compartment == "medial" else -MARGIN_MM)
            grown = (now.depth > 0) & (then.depth <= 0) & of_side[now.rows] & (np.abs(y[now.rows] - F(lip)) < SPUR_MM)
            masks[f"osteophyte_{compartment}_{bone}"][now.rows] = grown
    shares = np.where(x > 0, F(features.medial_share), F(1 - features.medial_share))
    sclerotic = (shares * F(features.sclerosis) >= VISIBLE) & (np.abs(across - 21) < HALF_BAND_MM)
    for now in (femur, tibia):
        band = (now.depth > 0) & (now.from_joint < BAND_MM)
        masks["sclerosis"][now.rows] |= band & sclerotic[now.rows]
    return {name: np.ascontiguousarray(mask[:, ::-1]) for name, mask in masks.items()} if side == "L" else masks
