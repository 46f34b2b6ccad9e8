"""Figures of training: how runs learn, what each loss does to a handful of knees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from koa_kit.cohort import Cohort
from koa_kit.grades import GRADES
from koa_kit.losses import CONSISTENCY_FORMS, consistency_loss
from koa_kit.style import ACCENT, FAINT, GRADE_COLOURS, INK, RADIOGRAPH

LINE_COLOURS = ("#22303c", "#3b6fb6", "#56a67a", "#b3589a", "#e69f00", "#8c2d19")
VIEW_COLOURS = (INK, ACCENT)


def history_figure(histories: Mapping[str, pd.DataFrame], *, metrics: Sequence[str] = ("loss", "val_qwk")) -> Figure:
    """Curves over epochs of histories by name, one panel per column of `metrics`, one line per run."""
    import matplotlib.pyplot as plt

    labels = {"loss": "training loss", "val_qwk": "QWK on val", "val_accuracy": "accuracy on val"}
    figure, axes = plt.subplots(1, len(metrics), figsize=(4.6 * len(metrics), 3.6), squeeze=False)
    for ax, metric in zip(axes[0], metrics, strict=True):
        for (name, history), colour in zip(histories.items(), _cycle(len(histories)), strict=True):
            ax.plot(history["epoch"], history[metric], color=colour, linewidth=1.8, label=name)
        ax.set(xlabel="epoch", title=labels.get(metric, metric.replace("_", " ")))
        ax.xaxis.get_major_locator().set_params(integer=True)
    if len(histories) > 1:
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=min(len(histories), 3))
    return figure


def pairs_figure(cohort: Cohort, logits: np.ndarray) -> Figure:
    """A handful of knees, their mirror images and the probabilities of both, one column per knee.

    `logits` are those of each knee and of its mirror image, ``(N, 2, 5)``.
    """
    import matplotlib.pyplot as plt

    count = len(cohort)
    p = torch.softmax(torch.tensor(np.array(logits), dtype=torch.float64), -1).numpy()
    figure, axes = plt.subplots(
        3, count, figsize=(1.85 * count, 5.2), squeeze=False, height_ratios=(1, 1, 0.85), sharey="row"
    )
    for column in range(count):
        image, row = cohort.images[column], cohort.table.iloc[column]
        for place, view in enumerate((image, image[:, ::-1])):
            axes[place, column].imshow(view, **RADIOGRAPH)
            axes[place, column].axis("off")
        axes[0, column].set_title(f"KL{row['kl']} · {row['side']}", loc="center")
        _bars(axes[2, column], p[column], int(row["kl"]))
    axes[2, 0].set_ylabel("probability")
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in VIEW_COLOURS]
    figure.legend(handles, ["as it lies", "mirrored"], loc="outside lower center", ncols=2)
    return figure


def _bars(ax: Axes, p: np.ndarray, kl: int) -> None:
    places = np.arange(len(GRADES))
    ax.axvspan(kl - 0.5, kl + 0.5, color=FAINT, alpha=0.6, linewidth=0)
    for view, colour in enumerate(VIEW_COLOURS):
        ax.bar(places + (view - 0.5) * 0.38, p[view], width=0.36, color=colour)
    ax.set(ylim=(0, 1), xticks=places, xlabel="grade")


def descend(logits: np.ndarray, kl: np.ndarray, loss, *, steps: int = 60, rate: float = 2.0) -> np.ndarray:
    """Logits after each step of plain gradient descent on the logits themselves: what a loss wants, with no model.

    From `logits` ``(N, 2, 5)`` of knees and their mirror images, and grades, to float64 ``(steps + 1, N, 2, 5)``;
    `loss` is a function of (logits, logits_flip, kl), tensors, to a scalar, `rate` the length of a step.
    """
    values = torch.tensor(np.array(logits), dtype=torch.float64, requires_grad=True)
    grades = torch.tensor(np.array(kl))
    path = [values.detach().numpy().copy()]
    for _ in range(steps):
        (slope,) = torch.autograd.grad(loss(values[:, 0], values[:, 1], grades), values)
        with torch.no_grad():
            values -= rate * slope
        path.append(values.detach().numpy().copy())
    return np.stack(path)


def descent_figure(paths: Mapping[str, np.ndarray], kl: np.ndarray) -> Figure:
    """Probability of the true grade, mean over knees, for both views along each path of `descend`; one panel per loss.

    The shaded band between the two lines is how far the views disagree.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(paths), figsize=(2.5 * len(paths), 3.0), sharey=True, squeeze=False)
    for ax, (name, path) in zip(axes[0], paths.items(), strict=True):
        p = torch.softmax(torch.from_numpy(path), -1).numpy()
        own = p[:, np.arange(len(kl)), :, np.asarray(kl)].mean(0)  # advanced indexing moves the knees to the front
        for view, (label, colour) in enumerate(zip(("as it lies", "mirrored"), VIEW_COLOURS, strict=True)):
            ax.plot(own[:, view], color=colour, linewidth=2, label=label)
        ax.fill_between(np.arange(len(own)), own[:, 0], own[:, 1], color=FAINT, alpha=0.7, linewidth=0)
        ax.set(xlabel="step", ylim=(0, 1.02))
        ax.set_title(name, fontsize=9.5)  # four titles side by side must not touch
    axes[0, 0].set_ylabel("probability of the true grade")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def consistency_curves_figure(*, reach: float = 6.0, ax: Axes | None = None) -> Axes:
    """Each form of the Consistency Loss as the mirror image's evidence for one grade is moved away from the knee's.

    Both views start from equal logits; the mirror image's logit of KL1 is shifted by -`reach` to `reach`. Every curve
    is scaled to 1 at the right end, so that shapes can be compared.
    """
    import matplotlib.pyplot as plt

    ax = ax or plt.subplots(figsize=(6.4, 3.8))[1]
    shifts = np.linspace(-reach, reach, 121)
    for form, colour in zip(CONSISTENCY_FORMS, LINE_COLOURS[1:], strict=True):
        values = [_shifted(form, shift) for shift in shifts]
        ax.plot(shifts, np.array(values) / values[-1], color=colour, linewidth=2, label=form.replace("_", " "))
    ax.set(xlabel="shift of the mirror image's KL1 logit", ylabel="loss, 1 at the right end", ylim=(0, 1.6))
    ax.legend(loc="upper center", ncols=3, fontsize=9)
    return ax


def _shifted(form: str, shift: float) -> float:
    logits = torch.zeros(1, len(GRADES), dtype=torch.float64)
    moved = logits.clone()
    moved[0, 1] = shift
    return consistency_loss(logits, moved, form).item()


def _cycle(count: int) -> list[str]:
    colours = (*LINE_COLOURS, *GRADE_COLOURS)
    return [colours[number % len(colours)] for number in range(count)]
