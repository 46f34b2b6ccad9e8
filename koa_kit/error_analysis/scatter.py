"""An interactive figure of every knee, with what the model says about it on hover."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from koa_kit.error_analysis.predictions import grade_column, margin, probabilities
from koa_kit.grades import GRADES, grade_label
from koa_kit.style import GRADE_COLOURS, PAPER

if TYPE_CHECKING:
    import plotly.graph_objects as go


def similarity_scatter(predictions: pd.DataFrame, *, height: int = 460) -> go.Figure:
    """Plotly figure of all knees: expected grade across, margin of the winning prompt up, colour the reader's grade.

    The expected grade is the mean of 0 to 4 weighted by the probabilities. Hover shows the knee, its side, both grades
    and the five probabilities; the legend switches grades off. It needs no kernel, and about 80 bytes a knee.
    """
    import plotly.graph_objects as go

    p = probabilities(predictions)
    shares = [" · ".join(f"{100 * share:.0f}" for share in knee) for knee in p]
    expected = (p @ np.array(GRADES)).round(3)
    table = predictions.assign(expected=expected, margin=margin(predictions).round(3), shares=shares)
    figure = go.Figure()
    for grade, knees in table.groupby(grade_column(predictions)):
        figure.add_scatter(
            x=knees["expected"].tolist(),
            y=knees["margin"].tolist(),
            customdata=knees[["knee_id", "side", "pred", "shares"]].to_numpy().tolist(),
            mode="markers",
            name=grade_label(grade),
            marker={"size": 7, "color": GRADE_COLOURS[grade], "opacity": 0.8, "line": {"width": 0.5, "color": PAPER}},
            hovertemplate=(
                "<b>%{customdata[0]}</b> (%{customdata[1]})<br>reader KL"
                f"{grade}, model KL%{{customdata[2]}}<br>p of KL0 … KL4: %{{customdata[3]}} %<extra></extra>"
            ),
        )
    figure.update_layout(
        template="simple_white",
        height=height,
        margin={"l": 60, "r": 10, "t": 50, "b": 55},
        title="Knees near the bottom are close calls",
        legend_title="graded by the reader",
        xaxis={"title": "expected grade", "range": [-0.1, 4.1], "dtick": 1},
        yaxis={"title": "margin of the winning prompt", "rangemode": "tozero"},
    )
    return figure
