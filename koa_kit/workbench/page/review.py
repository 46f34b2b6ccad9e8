"""The form for a review as the page has it."""

from pathlib import Path

import anywidget
import traitlets

NO_KNEE = {"knee": "", "kl": 0, "closed": "", "last": {}, "summary": ""}


class ReviewControls(anywidget.AnyWidget):
    """The form in the page. A review comes as one message with the knee, the note and the name as they were seen.

    A note is kept in the browser with its knee from the first key on, and a review until it is known to be in the log;
    one that never was is offered again by the next page.
    """

    _esm = Path(__file__).with_name("review.js").read_text(encoding="utf-8")
    shown = traitlets.Dict(NO_KNEE).tag(sync=True)  # the knee, why it cannot be judged, who said what last, as HTML
    store = traitlets.Unicode("").tag(sync=True)  # what the browser keeps under: the same for every page of a log
    reader = traitlets.Unicode("").tag(sync=True)
