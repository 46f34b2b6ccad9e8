"""The prompt playground: other words for a grade, and at once what every knee is called then."""

from __future__ import annotations

import itertools
from html import escape
from typing import Protocol

import ipywidgets as widgets
import pandas as pd

from koa_kit.grades import GRADES, grade_label
from koa_kit.prompts import PromptSet
from koa_kit.workbench.page.clickable import ClickableHTML
from koa_kit.workbench.page.html import empty, line, say, soft, table, wrapped
from koa_kit.workbench.panels.panel import Panel, heading, side_by_side
from koa_kit.workbench.selection.changes import change_summary, changed_knees, confusion_difference

MOST = 12
"""Changed knees that are listed."""

DRAWS = 300
STEPS = 6
"""Steps of the history that are listed."""


class Words(Protocol):
    """What the panel needs of a playground; see `koa_kit.workbench.prompts.editor.Playground`."""

    present: PromptSet
    original: PromptSet
    before: pd.DataFrame
    table: pd.DataFrame
    history: list[PromptSet]
    can_undo: bool
    can_redo: bool

    def edit(self, grade: int, sentences: list[str]) -> PromptSet: ...
    def undo(self) -> PromptSet: ...
    def redo(self) -> PromptSet: ...
    def reset(self) -> PromptSet: ...


class WordsPanel(Panel):
    """Five texts to edit, each line a sentence of the grade's ensemble; what changed against the original words.

    Attributes
    ----------
    texts
        One text area a grade.
    undo, redo, reset
        Buttons through the history.
    told, knees
        What changed: scores and cells; knees that changed their grade, which can be picked.
    """

    title = "Words"

    def __init__(self, bench):
        super().__init__(bench)
        self.texts = [
            widgets.Textarea(
                description=f"KL{grade}", continuous_update=False, placeholder=grade_label(grade),
                layout=widgets.Layout(width="100%", height="54px"), style={"description_width": "40px"},
            )
            for grade in GRADES
        ]  # fmt: skip
        for grade, text in enumerate(self.texts):
            self.on_value(text, lambda value, grade=grade: self._edit(grade, value)).add_class(f"koa-text-{grade}")
        words = bench.playground
        self.undo = self.button("undo", lambda: self._step(words.undo), "koa-undo")
        self.redo = self.button("redo", lambda: self._step(words.redo), "koa-redo")
        self.reset = self.button("original words", lambda: self._step(words.reset), "koa-original")
        self.where = widgets.HTML()
        self.told = widgets.HTML(layout=widgets.Layout(min_height="300px")).add_class("koa-changed")
        self.knees = ClickableHTML().on_pick(lambda knee: bench.guard(lambda: bench.open_knee(knee)))
        buttons = widgets.HBox([self.undo, self.redo, self.reset, self.where], layout=widgets.Layout(grid_gap="6px"))
        lead = heading("One sentence a line; several lines are an ensemble. Click outside a field to read it.")
        self.past = widgets.HTML().add_class("koa-history")
        left = widgets.VBox([lead, *self.texts, buttons, self.past], layout=widgets.Layout(flex="1 1 400px"))
        right = widgets.VBox([self.told, self.knees], layout=widgets.Layout(flex="1 1 420px"))
        self.widget = side_by_side(left, right)

    def _edit(self, grade: int, text: str) -> None:
        try:
            self.bench.playground.edit(grade, [line.strip() for line in text.splitlines() if line.strip()])
        finally:
            # a text that was refused stays in its field, so that it can be mended; the others show what holds
            self._follow()

    def _step(self, step) -> None:
        step()
        self._follow()
        self.bench.mended()

    def _follow(self) -> None:
        self.bench.tables.reword(self.bench.playground.table)
        self.bench.draw()

    def render(self) -> None:
        words = self.bench.playground
        with self.syncing():
            for text, sentences in zip(self.texts, words.present.prompts, strict=True):
                lines = [line.strip() for line in text.value.splitlines() if line.strip()]
                if tuple(lines) != sentences and self.bench.failure is None:
                    text.value = "\n".join(sentences)
        self.undo.disabled, self.redo.disabled = not words.can_undo, not words.can_redo
        step = f"step {len(words.history) - 1}" if words.can_undo else "the original words"
        self.where.value = soft(step)
        self.past.value = history_html(words.history)
        mask = self.bench.tables.mask(self.bench.state)
        before, after = words.before[mask], words.table[mask]
        self.told.value = changes_html(before, after)
        changed = changed_knees(before, after) if len(before) else pd.DataFrame()
        self.knees.html = changed_html(changed)

    def controls(self):
        def edit():
            self.texts[1].value = "A knee with doubtful narrowing of the joint space.\nPossible osteophytic lipping."

        def refuse():
            before = self.bench.playground.present
            self.bench.quietly(lambda: setattr(self.texts[2], "value", "x" * 10_001))
            if self.bench.playground.present is not before:
                raise RuntimeError("A text of 10,001 characters was taken.")
            self.bench.draw()

        return [
            ("edit KL1", edit),
            ("a text too long is refused", refuse),
            ("undo", self.undo.click),
            ("redo", self.redo.click),
            ("original words", self.reset.click),
        ]


def changes_html(before: pd.DataFrame, after: pd.DataFrame) -> str:
    """Scores with the present words beside the original ones, and the change of every cell of the confusion matrix."""
    if not len(before):
        return empty("No knee passes the filters.")
    found = change_summary(before, after, draws=DRAWS)
    rows = []
    for name, label in (("accuracy", "accuracy"), ("qwk", "QWK"), ("kl1_recall", "KL1 recall")):
        scale, form, unit = (1, ".3f", "") if name == "qwk" else (100, ".1f", " %")
        old, new, gap, low, high = (
            scale * found[f"{name}_{part}"] for part in ("before", "after", "difference", "low", "high")
        )
        texts = [f"{old:{form}}{unit}", f"{new:{form}}{unit}", f"{gap:+{form}}", f"{low:+{form}} to {high:+{form}}"]
        texts = ["–" if "nan" in text else text for text in texts]
        rows.append([label, *texts])
    moved = confusion_difference(before, after).to_numpy()
    cells = [[f"KL{true}", *(f"{each:+d}" if each else "·" for each in moved[true])] for true in GRADES]
    heads = ["reader ↓ model →", *(f"KL{grade}" for grade in GRADES)]
    said = (
        f"{found['changed']:,} of {found['n_knees']:,} knees changed: {found['became_right']} became right, "
        f"{found['became_wrong']} wrong, {found['other_wrong']} from wrong to wrong."
    )
    scores = table(["", "original", "now", "change", "95 % interval"], rows)
    return wrapped(say(said) + scores + table(heads, cells, "koa-table koa-cm"))


def history_html(history: list[PromptSet]) -> str:
    """The steps from the original words to the present ones, the latest first: which grade got which words."""
    steps = []
    for number, (old, new) in enumerate(itertools.pairwise(history), 1):
        for grade in (grade for grade in GRADES if old.prompts[grade] != new.prompts[grade]):
            steps.append(f"{number}. KL{grade}: {escape(' / '.join(new.prompts[grade])[:160])}")
    return wrapped("".join(f'<p class="koa-soft">{step}</p>' for step in reversed(steps[-STEPS:])))


def changed_html(changed: pd.DataFrame) -> str:
    """The first knees that changed their grade, as rows that can be picked by ``knee_id``."""
    if not len(changed):
        return ""
    told = changed.head(MOST)[["knee_id", "kl", "from", "to", "became"]].to_numpy()
    rows = [
        line(knee, f"<b>{escape(str(knee))}</b> reader KL{kl}: KL{old} → KL{new}", became)
        for knee, kl, old, new, became in told
    ]
    return wrapped("".join(rows)) + (soft(f"and {len(changed) - MOST:,} more") if len(changed) > MOST else "")


def no_words() -> widgets.HTML:
    """What stands in the panel's place where there is no playground."""
    why = "There are no embeddings or no model beside these predictions."
    return widgets.HTML(empty(f"{why} Open a run folder with embeddings.npy and its model to try other words."))
