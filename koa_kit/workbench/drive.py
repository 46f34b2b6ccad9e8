"""Use every control of a workbench once, as a reader would, so that a broken one fails the run."""

from __future__ import annotations

from koa_kit.workbench.workbench import Message, Workbench


def drive(bench: Workbench | Message) -> int:
    """Number of controls used; afterwards the workbench shows what it showed before.

    Raises
    ------
    Exception
        The first error of a control.
    """
    if isinstance(bench, Message):
        raise bench.error
    before, tab, steps = bench.state, bench.tabs.selected_index, 0
    for place, title in enumerate(bench.titles):
        panel = bench.panels.get(title)
        bench.tabs.selected_index = place
        actions = panel.controls() if panel else []
        if title == "Knees":
            actions = [*bench.filters.controls(), *actions]
        for name, action in actions:
            if bench.tabs.selected_index != place:
                bench.tabs.selected_index = place
            action()
            if bench.failure is not None and "refused" not in name and "needs" not in name:
                raise RuntimeError(f"The control {name!r} failed: {bench.failure}") from bench.failure
            steps += 1
    while bench.playground and bench.playground.can_undo:
        bench.playground.undo()
    bench.tables.reword(bench.playground.table if bench.playground else bench.tables.predictions)
    bench.mended()
    bench.state = before
    bench.tabs.selected_index = tab
    bench.draw()
    return steps
