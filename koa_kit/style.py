"""One look for every figure of the kit: colours a colour-blind reader can tell apart, text readable at 100 %."""

from __future__ import annotations

GRADES = (0, 1, 2, 3, 4)
LABEL_NAMES = ("Normal", "Doubtful", "Minimal", "Moderate", "Severe")
GRADE_COLOURS = ("#3b6fb6", "#e69f00", "#56a67a", "#b3589a", "#8c2d19")
"""One colour a KL grade; KL1, the grade the kit asks about, is the warm one."""

INK, PAPER, FAINT, ACCENT = "#22303c", "#ffffff", "#d9dee3", "#d55e00"
SEQUENTIAL = "Blues"
DIVERGING = "RdBu_r"
RADIOGRAPH = {"cmap": "gray", "vmin": 0, "vmax": 255, "interpolation": "bilinear"}
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


def grade_label(grade: int) -> str:
    """Grade and its name on one line, for example ``KL1 Doubtful``."""
    return f"KL{grade} {LABEL_NAMES[grade]}"
