"""The layout ``expert/grade/<file>.png`` of digital-knee: many shapes, no patients named; for external testing only."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from PIL import Image

from koa_kit.data.files import hash_files, in_threads, survey
from koa_kit.data.manifest import Entry
from koa_kit.data.polarity import Polarity
from koa_kit.data.radiograph import decode_radiograph
from koa_kit.data.sources.plan import Plan
from koa_kit.errors import KoaError

SPLIT = "external"
TWO_KNEES_WIDTH = 640


def choose_parts(name: str, root: Path, splits: list[str] | None, entry: Entry) -> list[str]:
    """Folders to read, one per expert; `KoaError` if another split than "external" is asked for."""
    if splits not in (None, [SPLIT]):
        raise KoaError(f"{name} has the one split {SPLIT!r}: it is for testing only.", remedy="Leave out splits.")
    return list(entry.folders)


def plan(name: str, root: Path, parts: list[str], shape: tuple[int, int], entry: Entry) -> Plan:
    """Plan for all one-knee images graded by the first expert, one row per distinct file.

    ``kl`` is expert I's grade, ``kl_expert2`` expert II's of the same bytes (missing where the second folder lacks
    them, or has them under two grades). No patient is named: ``patient`` is the file's stem, so intervals over patients
    treat each image as one person; ``side`` is "?".
    """
    result = Plan(name, root, shape, read_padded, f"Fetch the data set again, or lay it out as {entry.layout}.")
    first, second = (_graded_files(result, expert, entry.folders[expert]) for expert in parts)
    second_grade = second.groupby("sha256")["kl"].agg(lambda grades: grades.iloc[0] if grades.nunique() == 1 else pd.NA)

    looks = in_threads(_look, [root / file for file in first["file"]], "looking", False)
    look = pd.Series(looks, index=first.index, dtype=str)
    marked, wide, first = first[look == "marked"], (look == "wide").sum(), first[look == "plain"]
    contradicted = first.groupby("sha256")["kl"].transform("nunique") > 1
    repeated = first.duplicated("sha256") & ~contradicted
    too_wide = f"{TWO_KNEES_WIDTH} pixels wide: both knees are in the image, one grade cannot belong to both"
    left_out = (
        ("two knees in one image", int(wide), too_wide),
        *((file, 1, "its colour channels differ: marks were drawn into the image") for file in marked["file"]),
        ("files under two grades", int(contradicted.sum()), "the same bytes lie under two grades of one expert"),
        ("repeated files", int(repeated.sum()), "the same bytes as another image of the same grade"),
    )
    result.excluded += [part for part in left_out if part[1]]

    knees = first[~contradicted & ~repeated].reset_index(drop=True)
    knee_id = knees["file"].str.extract(r"^[^/]+/(.+)\.[^.]+$", expand=False)
    stem = knee_id.str.split("/").str[-1]
    result.knees = pd.DataFrame(
        {
            "knee_id": knee_id,
            "patient": stem.where(~stem.duplicated(keep=False), knee_id),
            "side": "?",
            "split": SPLIT,
            "kl": knees["kl"],
            "file": knees["file"],
            "kl_expert2": knees["sha256"].map(second_grade).astype("Int64"),
        }
    )
    return result


def read_padded(
    data: bytes, where: str, shape: tuple[int, int], polarity: Polarity = "auto"
) -> tuple[np.ndarray, bool]:
    """Pixels, uint8 of this shape, and inversion: scaled to fit (antialiased, proportions kept), centred on black."""
    pixels, inverted = decode_radiograph(data, where, polarity=polarity)
    scale = min(shape[0] / pixels.shape[0], shape[1] / pixels.shape[1])
    height, width = (max(1, round(length * scale)) for length in pixels.shape)
    padded = np.zeros(shape, np.uint8)
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    scaled = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    padded[top : top + height, left : left + width] = np.asarray(scaled)
    return padded, inverted


def _graded_files(plan: Plan, expert: str, grades: list[str]) -> pd.DataFrame:
    """One expert's image files with grade and sha256; absent folders and stray files become problems."""
    for name in grades:
        if not os.path.isdir(plan.root / expert / name):
            plan.problems.append(f"{expert}/{name}: the grade folder is missing")
    rows = []
    for file in plan.images(survey(plan.root, [expert]), [f"{expert}/{name}" for name in grades]):
        path = PurePosixPath(file)
        if len(path.parts) != 3 or path.parts[1] not in grades:
            plan.refused[file] = f"not in one of the folders {', '.join(grades)}"
        else:
            rows.append((file, grades.index(path.parts[1])))
    table = pd.DataFrame(rows, columns=["file", "kl"]).astype({"file": str, "kl": int})
    table = table.assign(sha256=hash_files(plan.root / file for file in table["file"]))
    plan.refused |= dict.fromkeys(table.loc[table["sha256"] == "", "file"], "cannot be read")
    return table[table["sha256"] != ""].reset_index(drop=True)


def _look(path: Path) -> str:
    """``wide`` for an image of two knees, ``marked`` for one with colour, else ``plain``, also if unreadable."""
    try:
        with Image.open(path) as image:
            if image.width == TWO_KNEES_WIDTH:
                return "wide"
            red, *others = image.split() if image.mode == "RGB" else [image]
            return "marked" if any(red != other for other in others) else "plain"
    except Exception:  # Reading it will tell what is wrong with it.
        return "plain"
