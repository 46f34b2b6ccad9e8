"""digital-knee: two experts' folders, many shapes, no patient identifiers; for external testing only."""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from PIL import Image, UnidentifiedImageError

from koa_kit.data.acquire.verify import hash_files
from koa_kit.data.manifest import Entry
from koa_kit.data.radiograph import SUFFIXES, decode_radiograph
from koa_kit.data.sources.plan import Plan, survey

SPLIT = "external"
TWO_KNEES_WIDTH = 640


def plan(entry: Entry, root: Path, size: int) -> Plan:
    """Plan for all one-knee images graded by the first expert, one row a distinct file.

    ``kl`` is expert I's grade, ``kl_expert2`` expert II's of the same bytes (missing where the second folder lacks
    them, or has them under two grades). There are no patient identifiers: ``patient`` is the file's stem, so intervals
    over patients treat each image as one person; ``side`` is "?". Images 640 pixels wide show two knees and are left
    out, as are repeated files and files that one expert put under two grades.
    """
    result = Plan(
        name=entry.name,
        root=root,
        knees=pd.DataFrame(),
        shape=(size, size),
        read=partial(read_padded, size=size),
        remedy=f"Fetch the data set again, or lay it out as {entry.layout}.",
    )
    first, second = (_graded(result, expert, grades) for expert, grades in entry.folders.items())
    first = first[~_two_knees(result, first)]
    by_expert2 = second.groupby("sha256")["kl"].agg(lambda grades: grades.iloc[0] if grades.nunique() == 1 else pd.NA)
    contradicted = first.groupby("sha256")["kl"].transform("nunique") > 1
    repeated = first.duplicated("sha256") & ~contradicted
    for rows, what, reason in (
        (contradicted, "files under two grades", "the same bytes lie under two grades of one expert"),
        (repeated, "repeated files", "the same bytes as another image of the same grade"),
    ):
        if rows.any():
            result.leave_out(what, int(rows.sum()), reason)
    knees = first[~contradicted & ~repeated].reset_index(drop=True)
    stems = knees["file"].map(lambda file: PurePosixPath(file).stem)
    paths = knees["file"].map(lambda file: "/".join(PurePosixPath(file).with_suffix("").parts[1:]))
    result.knees = pd.DataFrame(
        {
            "knee_id": paths,
            "patient": stems.where(~stems.duplicated(keep=False), paths),
            "side": "?",
            "split": SPLIT,
            "kl": knees["kl"],
            "file": knees["file"],
            "kl_expert2": knees["sha256"].map(by_expert2).astype("Int64"),
        }
    )
    return result


def read_padded(data: bytes, where: str, *, size: int) -> tuple[np.ndarray, bool]:
    """Pixels, uint8 ``(size, size)``, and inversion: scaled to fit (antialiased, shape kept), centred on black."""
    pixels, inverted = decode_radiograph(data, where=where)
    height, width = pixels.shape
    scale = size / max(height, width)
    new = max(1, round(height * scale)), max(1, round(width * scale))
    scaled = np.asarray(Image.fromarray(pixels).resize(new[::-1], Image.Resampling.BILINEAR))
    padded = np.zeros((size, size), np.uint8)
    top, left = (size - new[0]) // 2, (size - new[1]) // 2
    padded[top : top + new[0], left : left + new[1]] = scaled
    return padded, inverted


def _graded(result: Plan, expert: str, grades: list[str]) -> pd.DataFrame:
    """One expert's image files with grade and sha256; absent folders and stray files become problems."""
    for name in grades:
        if not (result.root / expert / name).is_dir():
            result.problems.append(f"{expert}/{name}: the grade folder is missing")
    rows = []
    for file, _, _ in survey(result.root, [expert]):
        path = PurePosixPath(file)
        if len(path.parts) != 3 or path.parts[1] not in grades or path.suffix.lower() not in SUFFIXES:
            result.problems.append(f"{file}: not an image in one of the folders {', '.join(grades)}")
        else:
            rows.append((file, grades.index(path.parts[1])))
    table = pd.DataFrame(rows, columns=["file", "kl"]).astype({"kl": int})
    return table.assign(sha256=hash_files(result.root / file for file in table["file"]))


def _two_knees(result: Plan, table: pd.DataFrame) -> pd.Series:
    wide = pd.Series(
        [_width(result.root / file) == TWO_KNEES_WIDTH for file in table["file"]], index=table.index, dtype=bool
    )
    if wide.any():
        reason = f"{TWO_KNEES_WIDTH} pixels wide: both knees are in the image, one grade cannot belong to both"
        result.leave_out("two knees in one image", int(wide.sum()), reason)
    return wide


def _width(path: Path) -> int | None:
    try:
        with Image.open(path) as image:
            return image.width
    except (UnidentifiedImageError, OSError):
        return None  # Refused with a reason when it is read.
