"""An interactive figure of every knee, with what the model says about it on hover."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from koa_kit.error_analysis.predictions import grade_column, margin, probabilities
from koa_kit.grades import GRADES, grade_label
from koa_kit.style import FAINT, GRADE_COLOURS, INK, PAPER

if TYPE_CHECKING:
    import plotly.graph_objects as go


def similarity_scatter(predictions: pd.DataFrame, *, height: int = 460) -> go.Figure:
    """Plotly figure of all knees: expected grade across, margin of the winning prompt up, colour the reader's grade.

    The expected grade is the mean of 0 to 4 weighted by the probabilities. Hover shows the knee, its side, both grades
    and the five probabilities; the legend switches grades off. A plain ``go.Figure`` of SVG points, about 80 bytes a
    knee, which needs no kernel.
    """
    import plotly.graph_objects as go

    p = probabilities(predictions)
    expected, gap = (p @ np.array(GRADES)).round(3), margin(predictions).round(3)
    figure = go.Figure()
    for grade in GRADES:
        rows = np.flatnonzero(grade_column(predictions) == grade)
        if not len(rows):
            continue
        knees = predictions.iloc[rows]
        hover = [
            [str(knee), str(side), int(pred), " · ".join(f"{100 * share:.0f}" for share in shares)]
            for knee, side, pred, shares in zip(knees["knee_id"], knees["side"], knees["pred"], p[rows], strict=True)
        ]
        figure.add_scatter(
            x=expected[rows].tolist(),
            y=gap[rows].tolist(),
            customdata=hover,
            mode="markers",
            name=grade_label(grade),
            marker={"size": 7, "color": GRADE_COLOURS[grade], "opacity": 0.8, "line": {"width": 0.5, "color": PAPER}},
            hovertemplate=(
                f"<b>%{{customdata[0]}}</b> (%{{customdata[1]}})<br>reader KL{grade}, model KL%{{customdata[2]}}"
                "<br>p of KL0 … KL4: %{customdata[3]} %<extra></extra>"
            ),
        )
    axis = {"gridcolor": FAINT, "zeroline": False, "linecolor": INK, "ticks": "outside"}
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 60, "r": 10, "t": 50, "b": 55},
        paper_bgcolor=PAPER,
        plot_bgcolor=PAPER,
        font={"color": INK, "size": 13},
        title={"text": "Knees near the bottom are close calls", "x": 0.02, "font": {"size": 15}},
        legend={"title": {"text": "graded by the reader"}},
        hoverlabel={"bgcolor": PAPER, "font": {"color": INK}},
        xaxis={**axis, "title": {"text": "expected grade"}, "range": [-0.1, 4.1], "dtick": 1},
        yaxis={**axis, "title": {"text": "margin of the winning prompt"}, "rangemode": "tozero"},
    )
    return figure
