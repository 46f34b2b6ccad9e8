"""One look for every figure of the kit: colours a colour-blind reader can tell apart, text readable at 100 %."""

from __future__ import annotations

import logging
import warnings

GRADE_COLOURS = ("#3b6fb6", "#e69f00", "#56a67a", "#b3589a", "#8c2d19")
"""One colour a KL grade; KL1, the grade the kit asks about, is the warm one."""

INK, PAPER, FAINT, ACCENT = "#22303c", "#ffffff", "#d9dee3", "#d55e00"
SEQUENTIAL = "Blues"
DIVERGING = "RdBu_r"
RADIOGRAPH: dict = {"cmap": "gray", "vmin": 0, "vmax": 255, "interpolation": "bilinear"}
"""Keywords for ``imshow`` of an X-ray: bone bright, the same grey scale for every knee."""


def use_style() -> None:
    """Set matplotlib's and seaborn's defaults to the kit's look; called once by a notebook's set-up cell."""
    import matplotlib.pyplot as plt
    import seaborn as sns

    sns.set_theme(style="ticks", palette=list(GRADE_COLOURS))
    plt.rcParams.update(
        {
            "figure.dpi": 96,
            "savefig.dpi": 96,
            "figure.facecolor": PAPER,
            "figure.constrained_layout.use": True,
            "font.size": 11,
            "axes.titlesize": 12,
            "axes.titlelocation": "left",
            "axes.titleweight": "bold",
            "axes.labelsize": 11,
            "axes.edgecolor": INK,
            "axes.labelcolor": INK,
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
        }
    )


IGNORED_WARNINGS = (
    (r".*pin_memory.*no accelerator.*", UserWarning),
    (r".*IProgress not found.*", Warning),
    (r".*torch\.jit\.(script|trace).*deprecated.*", Warning),
)
"""Warnings of libraries (message, category) that a reader can do nothing about."""


def quieten() -> None:
    """Leave out warnings of libraries that a reader can do nothing about."""
    for message, category in IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", message=message, category=category)
    # a substitute font looks the same; left alone, matplotlib says so on every page
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
