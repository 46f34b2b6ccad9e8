"""The phantom laboratory: move a sign and see the X-ray, the readers and the report follow."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial

import ipywidgets as widgets

from koa_kit.phantom.knee.features import FURTHER, OSTEOPHYTES
from koa_kit.phantom.laboratory import page
from koa_kit.phantom.laboratory.page import FILMS, LIMITS, LabState, Similarities

_CONTROLS, _READINGS, _LEAST_PICTURE = 244, 282, 280
_LABELS = {
    "jsw_medial_mm": "medial, mm",
    "jsw_lateral_mm": "lateral, mm",
    "osteophyte_medial_femur": "med. femur",
    "osteophyte_medial_tibia": "med. tibia",
    "osteophyte_lateral_femur": "lat. femur",
    "osteophyte_lateral_tibia": "lat. tibia",
    "valgus_deg": "valgus, °",
    "largest": "osteophytes",
}


class PhantomLaboratory:
    """Sliders for the signs of one synthetic knee, with its X-ray, who would give it which grade, and a report.

    Where no kernel runs its HTML snapshot stands in for it. An error of a control is shown in the page, and raised as
    well under ``KOA_STRICT=1``.

    Parameters
    ----------
    similarities
        A model to compare with the readers: function of uint8 images ``(n, H, W)`` and n sides ("R" or "L") that
        returns probabilities or similarities ``(n, 5)``. Every move asks it for the knee and its mirror image.
    state
        Where to begin, and where the reset button leads back to; omitted, a healthy right knee.

    Attributes
    ----------
    state
        What is shown.
    controls
        The sliders and toggles, by the name of the attribute of `LabState` they set; ``largest`` sets all osteophytes.
    failure
        The error of the last control used, or ``None``.
    """

    def __init__(self, *, similarities: Similarities | None = None, state: LabState | None = None):
        self.similarities = similarities
        self.start = self.state = state or LabState()
        self.failure: Exception | None = None
        self._syncing = False
        self._build()
        self._render()

    def _build(self) -> None:
        half = {"width": f"{_CONTROLS // 2 - 4}px", "padding": "0"}
        column = {"width": f"{_CONTROLS}px", "flex": "0 0 auto"}
        sides = widgets.ToggleButtons(options=[("right knee", "R"), ("left knee", "L")])
        sides.style.button_width = f"{_CONTROLS // 2 - 5}px"
        films = widgets.Dropdown(options=[(text, name) for name, text in FILMS.items()], layout={"width": "auto"})
        self.controls = {name: _slider(name) for name in (*LIMITS, "largest")} | {"side": sides, "film": films}
        for name, control in self.controls.items():
            control.add_class(f"koa-lab-{name.replace('_', '-')}").observe(self._on_value(name), "value")
        self.person = widgets.Button(description="another person", layout=half).add_class("koa-lab-person")
        self.person.on_click(lambda _: self._apply(seed=self.state.seed + 1))
        self.reset = widgets.Button(description="reset", layout=half).add_class("koa-lab-reset")
        self.reset.on_click(lambda _: self._apply(**asdict(self.start)))
        shape = {"flex": f"0 1 {page.SHOWN}px", "min_width": f"{_LEAST_PICTURE}px", "max_width": f"{page.SHOWN}px"}
        self.picture = widgets.Image(format="png", layout={"height": "auto", **shape}).add_class("koa-lab-picture")
        fixed = {"width": f"{_READINGS}px", "min_height": f"{page.SHOWN}px", "flex": "0 0 auto"}
        self.readings = widgets.HTML(layout=fixed).add_class("koa-lab-readings")
        self.report = widgets.HTML(layout={"height": "126px", "overflow": "auto", "flex": "1 1 0"})
        self.report.add_class("koa-lab-words")
        own = widgets.VBox([self.controls[name] for name in (*OSTEOPHYTES, *FURTHER)])
        signs = [
            widgets.HTML(page.part.heading("Joint space")),
            *(self.controls[name] for name in ("jsw_medial_mm", "jsw_lateral_mm")),
            widgets.HTML(page.part.heading("Signs, 0 none to 3 severe")),
            *(self.controls[name] for name in ("largest", "sclerosis", "deformity", "side", "film")),
            widgets.HBox([self.person, self.reset]),
            widgets.Accordion([own], titles=("each osteophyte, and more",), selected_index=None),
        ]
        report = [widgets.HTML(page.part.heading("A radiologist’s report")), self.controls["detail"]]
        left, below = (widgets.VBox(parts, layout=column) for parts in (signs, report))
        row = {"grid_gap": "8px", "align_items": "flex-start"}
        parts = [
            widgets.HTML(page.part.style(), layout={"height": "0", "margin": "0"}),
            widgets.HBox([left, self.picture, self.readings], layout=row),
            widgets.HBox([below, self.report], layout=row),
        ]
        self.widget = widgets.VBox(parts, layout={"max_width": "960px"}).add_class("koa-lab")

    def _on_value(self, name: str) -> Callable:
        return lambda change: None if self._syncing else self._apply(**{name: change["new"]})

    def show(self, **changes) -> PhantomLaboratory:
        """The laboratory itself, with attributes of its state, or ``largest``, changed: ``show(jsw_medial_mm=1.2)``."""
        state, largest = self.state, changes.pop("largest", None)
        if largest is not None:
            state = state.with_largest(largest)
        self.state = replace(state, **changes)
        self._render()
        return self

    def _apply(self, **changes) -> None:
        """What every control does; its error is kept and shown, since ipywidgets drops what a click raises."""
        try:
            self.failure = None
            # A slider's steps add up to 2.8000000000000003, which is not below a limit of 2.8 where 2.8 would be.
            self.show(**{name: round(new, 2) if isinstance(new, float) else new for name, new in changes.items()})
        except Exception as error:
            self.failure = error
            self.readings.value = page.part.error(f"{type(error).__name__}: {error}")
            if os.environ.get("KOA_STRICT") == "1":
                raise

    def _render(self) -> None:
        pixels = page.draw(self.state)
        model = None if self.similarities is None else page.answers(pixels, self.state.side, self.similarities)
        self.picture.value = page.png(pixels)
        self.readings.value = page.readings_html(self.state, model)
        self.report.value = page.report_html(self.state)
        self._syncing = True
        try:
            for name, control in self.controls.items():
                new = getattr(self.state, name)
                # A slider that stands within rounding of its place is left alone: moved, it would stick there.
                if not (isinstance(new, float) and abs(new - control.value) < 1e-6):
                    control.value = new
        finally:
            self._syncing = False

    def snapshot(self) -> str:
        """The present state as HTML that needs no kernel."""
        return page.snapshot_html(self.state, self.similarities)

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        text = f"PhantomLaboratory({self.state})"
        return {**self.widget._repr_mimebundle_(), "text/html": self.snapshot(), "text/plain": text}


def _slider(name: str) -> widgets.FloatSlider:
    low, high = LIMITS[OSTEOPHYTES[0] if name == "largest" else name]
    return widgets.FloatSlider(
        min=low,
        max=high,
        step=0.5 if name == "valgus_deg" else 0.1,
        description=_LABELS.get(name, name),
        readout_format=".1f",
        style={"description_width": "82px"},
        layout={"width": "auto"},
    )


def drive_laboratory(lab: PhantomLaboratory) -> int:
    """Number of controls used: every slider, toggle and button of the laboratory, which then shows what it did before.

    The first error of a control is raised, and a ``RuntimeError`` if one did not do what it should.
    """
    before, shown = lab.state, (lab.picture, lab.readings, lab.report)

    def uses() -> Iterator[tuple[Callable, dict]]:
        for name, control in lab.controls.items():
            if isinstance(control, widgets.FloatSlider):
                # An end of the range that is not where the slider stands.
                new = control.min if control.value > (control.min + control.max) / 2 else control.max
            else:
                new = next(value for _, value in control.options if value != control.value)
            yield partial(setattr, control, "value", new), {name: new}
        yield lab.person.click, {"seed": lab.state.seed + 1}
        yield lab.reset.click, asdict(lab.start)

    steps = 0
    for use, expected in uses():
        old = [part.value for part in shown]
        use()
        if lab.failure is not None:
            raise lab.failure
        found = {name: getattr(lab.state, name) for name in expected}
        if found != expected or [part.value for part in shown] == old:
            raise RuntimeError(f"A control of the laboratory failed: wanted {expected}, found {found}.")
        steps += 1
    lab.show(**asdict(before))
    return steps
