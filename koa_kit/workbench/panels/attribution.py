"""Why this grade rather than that one? A map of where in the radiograph the difference of two prompts comes from."""

from __future__ import annotations

import io

import ipywidgets as widgets
import numpy as np

from koa_kit.attribution.figures import METHOD_NAMES, attribution_figure
from koa_kit.attribution.scores import Attribution, area_share, energy_inside, pointing
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES, grade_label
from koa_kit.workbench.page.html import part
from koa_kit.workbench.panels.panel import Panel, column, heading, html, menu, side_by_side, wide

NOT_HERE = (
    "A map needs the model and the radiograph, and one of them is not here. "
    "Open the run folder with its model, where the images are at hand."
)


class AttributionPanel(Panel):
    """Two prompts, a method, and the map on the knee that is shown large; the prompts follow the knee until set."""

    title = "Why"

    def __init__(self, bench):
        super().__init__(bench)
        grades = {grade: grade_label(grade) for grade in GRADES}
        self.towards = menu(grades, "Why", value=2, **wide(280, 90))
        self.rather_than = menu(grades, "rather than", value=1, **wide(280, 90))
        self.method = menu(METHOD_NAMES, "Method", **wide(280, 90))
        self.mirror = widgets.Checkbox(description="its mirror image", indent=False)
        self.explain = self.button("explain", self._explain, "koa-explain")
        self.explain.disabled = bench.explain is None or bench.find is None
        self.summary = html("koa-why")
        self.picture = widgets.Image(format="png", layout=widgets.Layout(width="560px", height="auto", flex="0 0 auto"))
        self._knee = ""
        controls = [heading("Ask about the knee shown large"), self.towards, self.rather_than, self.method, self.mirror]
        self.widget = side_by_side(column(*controls, self.explain, self.summary, flex="0 0 330px"), self.picture)

    def _explain(self) -> None:
        bench, knee = self.bench, self.bench.knee()
        if knee is None:
            raise KoaError("There is no knee to explain.", remedy="Pick one in the gallery first.")
        name, image = str(knee["knee_id"]), bench.find(knee["knee_id"])
        options = {name: getattr(self, name).value for name in ("towards", "rather_than", "method", "mirror")}
        found = bench.explain(image, side=str(knee["side"]), **options)
        signs = union(bench.masks(name) if bench.masks else None)
        self.picture.value = map_png(image, found, signs)
        self.summary.value = map_html(name, found, signs)
        self._knee = name

    def render(self) -> None:
        knee = self.bench.knee()
        if knee is None or str(knee["knee_id"]) == self._knee:
            return
        self._knee = str(knee["knee_id"])
        pred, kl = int(knee["pred"]), int(knee["kl"])
        runner_up = sorted(GRADES, key=lambda grade: -knee[f"s{grade}"])[1]
        with self.syncing():
            self.towards.value, self.rather_than.value = pred, kl if kl != pred else runner_up
        self.picture.value = b""
        self.summary.value = part.soft(NOT_HERE if self.explain.disabled else f"Knee {self._knee}: press “explain”.")


def map_png(image: np.ndarray, found: Attribution, signs: np.ndarray | None) -> bytes:
    """The map over the radiograph as a PNG; on phantoms with the outline of all signs."""
    import matplotlib.pyplot as plt

    figure, buffer = attribution_figure(image, found, signs), io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    plt.close(figure)
    return buffer.getvalue()


def union(masks: dict[str, np.ndarray] | None) -> np.ndarray | None:
    """Where any sign lies, bool ``(H, W)``; ``None`` where nobody knows or none is there."""
    every = np.logical_or.reduce(list(masks.values())) if masks else None
    return every if every is not None and every.any() else None


def map_html(name: str, found: Attribution, signs: np.ndarray | None) -> str:
    """What the map says in a few lines, and how far to trust it."""
    lines = [f"{name}: {found.question}.", f"The two prompts differ by {found.difference:+.2f}."]
    if signs is None:
        lines += ["Where the signs of a real knee lie, nobody has marked: notebook 05 scores these maps on phantoms."]
    else:
        inside, chance = energy_inside(found.heat, signs), area_share(signs)
        lines += [
            f"The hottest point lies {'on' if pointing(found.heat, signs) else 'beside'} a true sign.",
            f"{inside:.0%} of the heat lies on signs, which cover {chance:.0%} of the film.",
        ]
    return part.wrapped(part.quiet(lines))
