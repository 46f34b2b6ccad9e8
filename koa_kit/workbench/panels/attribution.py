"""Why this grade rather than that one? A map of where in the radiograph the difference of two prompts comes from."""

from __future__ import annotations

import io
from html import escape

import ipywidgets as widgets
import numpy as np

from koa_kit.attribution.figures import METHOD_NAMES, attribution_figure
from koa_kit.attribution.scores import Attribution, area_share, energy_inside, pointing
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES, grade_label
from koa_kit.workbench.page.html import soft, wrapped
from koa_kit.workbench.panels.panel import Panel, heading, side_by_side


class WhyPanel(Panel):
    """Two prompts, a method, and the map on the knee that is shown large.

    Attributes
    ----------
    towards, rather_than, method, mirror
        Controls; the two grades follow the knee until they are set.
    explain
        Button that computes the map.
    picture, told
        The map on the radiograph; what it says, and on phantoms how much of it lies on the true signs.
    """

    title = "Why"

    def __init__(self, bench):
        super().__init__(bench)
        methods = [(text, name) for name, text in METHOD_NAMES.items()]
        options = [(grade_label(grade), grade) for grade in GRADES]
        wide = {"layout": widgets.Layout(width="280px"), "style": {"description_width": "90px"}}
        self.towards = widgets.Dropdown(options=options, value=2, description="Why", **wide)
        self.rather_than = widgets.Dropdown(options=options, value=1, description="rather than", **wide)
        self.method = widgets.Dropdown(options=methods, description="Method", **wide)
        self.mirror = widgets.Checkbox(description="its mirror image", indent=False)
        self.explain = self.button("explain", self._explain, "koa-explain")
        self.told = widgets.HTML().add_class("koa-why")
        self.picture = widgets.Image(format="png", layout=widgets.Layout(width="560px", height="auto", flex="0 0 auto"))
        self._knee = ""
        controls = [heading("Ask about the knee shown large"), self.towards, self.rather_than, self.method, self.mirror]
        left = widgets.VBox([*controls, self.explain, self.told], layout=widgets.Layout(flex="0 0 330px"))
        self.widget = side_by_side(left, self.picture)

    def _explain(self) -> None:
        bench = self.bench
        if bench.explain is None or bench.find is None:
            raise KoaError(
                "A map needs the model and the radiograph, and one of them is not here.",
                where="Why",
                remedy="Open the run folder with its model, where the images are at hand.",
            )
        knee = bench.knee()
        if knee is None:
            raise KoaError("There is no knee to explain.", remedy="Pick one in the gallery first.")
        name, image = str(knee["knee_id"]), bench.find(knee["knee_id"])
        grades = {"towards": self.towards.value, "rather_than": self.rather_than.value}
        how = {"method": self.method.value, "mirror": self.mirror.value}
        found = bench.explain(image, side=str(knee["side"]), **grades, **how)
        masks = bench.masks(name) if bench.masks else None
        self.picture.value = map_png(image, found, masks)
        self.told.value = wrapped(map_words(name, found, masks))
        self._knee = name

    def render(self) -> None:
        knee = self.bench.knee()
        if knee is None:
            return
        name = str(knee["knee_id"])
        if name != self._knee:
            self._knee = name
            pred, kl = int(knee["pred"]), int(knee["kl"])
            with self.syncing():
                self.towards.value = pred
                self.rather_than.value = kl if kl != pred else runner_up(knee)
            self.picture.value = b""
            self.told.value = soft(f"Knee {name}: press “explain”.")

    def controls(self):
        return [("explain", self.explain.click)] if self.bench.explain and self.bench.find else []


def runner_up(knee) -> int:
    """The grade with the second largest similarity."""
    return sorted(GRADES, key=lambda grade: -knee[f"s{grade}"])[1]


def map_png(image, found: Attribution, masks: dict | None) -> bytes:
    """The map over the radiograph as a PNG; on phantoms with the outline of all signs."""
    import matplotlib.pyplot as plt

    mask = union(masks)
    figure = attribution_figure(image, found, mask)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    plt.close(figure)
    return buffer.getvalue()


def union(masks: dict | None):
    """Where any sign lies, bool ``(H, W)``; ``None`` where nobody knows or none is there."""
    if not masks:
        return None
    every = np.logical_or.reduce(list(masks.values()))
    return every if every.any() else None


def map_words(name: str, found: Attribution, masks: dict | None) -> str:
    """What the map says in a few lines, and how far to trust it."""
    lean = f"The two prompts differ by {found.difference:+.2f}."
    lines = [f"<b>{escape(name)}</b>: {escape(found.question)}.", lean]
    mask = union(masks)
    if mask is not None:
        hit = "on" if pointing(found.heat, mask) else "beside"
        inside, chance = energy_inside(found.heat, mask), area_share(mask)
        lines.append(f"The hottest point lies {hit} a true sign.")
        lines.append(f"{inside:.0%} of the heat lies on signs, which cover {chance:.0%} of the film.")
    else:
        lines.append(
            "Where the signs of a real knee lie, nobody has marked: notebook 05 scores these maps on phantoms."
        )
    return "".join(f'<p class="koa-soft">{line}</p>' for line in lines)
