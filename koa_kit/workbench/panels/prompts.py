"""Other words for a grade, and at once what every knee is called then."""

from __future__ import annotations

import itertools

import ipywidgets as widgets
import pandas as pd

from koa_kit.error_analysis.metrics import confusion
from koa_kit.grades import GRADES, grade_label
from koa_kit.prompts import PromptSet
from koa_kit.workbench.page.figures import in_units
from koa_kit.workbench.page.html import part
from koa_kit.workbench.panels.panel import Panel, column, heading, html, side_by_side
from koa_kit.workbench.selection.scores import SCORES, change_summary, changed_knees

DRAWS = 300
MOST, STEPS = 12, 6
"""Changed knees, and steps of the history, that are listed."""

LABELS = {"accuracy": "accuracy", "qwk": "QWK", "kl1_recall": "KL1 recall"}
NO_MODEL = (
    "There are no embeddings or no model beside these predictions. "
    "Open a run folder with embeddings.npy and its model to try other words."
)


class PromptsPanel(Panel):
    """Five texts to edit, each line a sentence of the grade's ensemble; what changed, and knees of another grade."""

    title = "Words"

    def __init__(self, bench):
        super().__init__(bench)
        if bench.prompt_editor is None:
            self.widget = widgets.HTML(part.empty(NO_MODEL))
            return
        self.texts = [self._field(grade) for grade in GRADES]
        editor = bench.prompt_editor
        self.undo = self.button("undo", lambda: self._step(editor.undo), "koa-undo")
        self.redo = self.button("redo", lambda: self._step(editor.redo), "koa-redo")
        self.reset = self.button("original words", lambda: self._step(editor.reset), "koa-original")
        self.where, self.past, self.summary = html(), html("koa-history"), html("koa-changed", min_height="300px")
        self.knees = self.clickable(bench.open_knee)
        buttons = side_by_side(self.undo, self.redo, self.reset, self.where, gap=6)
        lead = heading("One sentence a line; several lines are an ensemble. Click outside a field to read it.")
        left = column(lead, *self.texts, buttons, self.past, flex="1 1 400px")
        self.widget = side_by_side(left, column(self.summary, self.knees, flex="1 1 420px"))

    def _field(self, grade: int) -> widgets.Textarea:
        made = widgets.Textarea(
            description=f"KL{grade}", continuous_update=False, placeholder=grade_label(grade),
            layout=widgets.Layout(width="100%", height="54px"), style={"description_width": "40px"},
        )  # fmt: skip
        return self.on_value(made, lambda value: self._edit(grade, value), f"koa-text-{grade}")

    def _edit(self, grade: int, text: str) -> None:
        try:
            self.bench.prompt_editor.edit(grade, sentences_of(text))
        finally:
            # a text that was refused stays in its field, so that it can be mended; the others show what holds
            self._follow()

    def _step(self, step) -> None:
        step()
        self._follow()
        self.bench.mended()

    def _follow(self) -> None:
        self.bench.tables.reword(self.bench.prompt_editor.table)
        self.bench.draw()

    def render(self) -> None:
        editor = self.bench.prompt_editor
        if editor is None:
            return
        with self.syncing():
            for text, sentences in zip(self.texts, editor.present.prompts, strict=True):
                if tuple(sentences_of(text.value)) != sentences and self.bench.failure is None:
                    text.value = "\n".join(sentences)
        self.undo.disabled, self.redo.disabled = not editor.can_undo, not editor.can_redo
        self.where.value = part.soft(f"step {len(editor.history) - 1}" if editor.can_undo else "the original words")
        self.past.value = history_html(editor.history)
        mask = self.bench.tables.mask(self.bench.state)
        before, after = editor.before[mask], editor.table[mask]
        self.summary.value = changes_html(before, after)
        self.knees.html = changed_html(changed_knees(before, after)) if len(before) else ""


def sentences_of(text: str) -> list[str]:
    """The lines of a text that say something, without spaces around."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def changes_html(before: pd.DataFrame, after: pd.DataFrame) -> str:
    """Scores with the present words beside the original ones, and the change of every cell of the confusion matrix."""
    if not len(before):
        return part.empty("No knee passes the filters.")
    found = change_summary(before, after, draws=DRAWS)
    rows = []
    for name in SCORES:
        old, new, gap, low, high = (found[f"{name}_{end}"] for end in ("before", "after", "difference", "low", "high"))
        change, *ends = (in_units(value, name, "+").removesuffix(" %") for value in (gap, low, high))
        span = "–" if "–" in ends else " to ".join(ends)
        rows.append([LABELS[name], in_units(old, name), in_units(new, name), change, span])
    moved = (confusion(after) - confusion(before)).to_numpy()
    cells = [[f"KL{true}", *(f"{each:+d}" if each else "·" for each in moved[true])] for true in GRADES]
    heads = ["reader ↓ model →", *(f"KL{grade}" for grade in GRADES)]
    lead = (
        f"{found['changed']:,} of {found['n_knees']:,} knees changed: {found['became_right']} became right, "
        f"{found['became_wrong']} wrong, {found['other_wrong']} from wrong to wrong."
    )
    scores = part.table(["", "original", "now", "change", "95 % interval"], rows)
    return part.wrapped(part.say(lead) + scores + part.table(heads, cells, "koa-table koa-cm"))


def history_html(history: list[PromptSet]) -> str:
    """The steps from the original words to the present ones, the latest first: which grade got which words."""
    steps = [
        f"{number}. KL{grade}: {' / '.join(new.prompts[grade])[:160]}"
        for number, (old, new) in enumerate(itertools.pairwise(history), 1)
        for grade in GRADES
        if old.prompts[grade] != new.prompts[grade]
    ]
    return part.wrapped(part.quiet(steps[: -STEPS - 1 : -1]))


def changed_html(changed: pd.DataFrame) -> str:
    """The first knees that changed their grade, as rows that can be picked by ``knee_id``."""
    shown = changed.head(MOST)[["knee_id", "kl", "from", "to", "became"]].to_numpy()
    lines = [(knee, f"reader KL{kl}: KL{old} → KL{new}", became) for knee, kl, old, new, became in shown]
    more = part.soft(f"and {len(changed) - MOST:,} more") if len(changed) > MOST else ""
    return part.listed(lines) + more if lines else ""
