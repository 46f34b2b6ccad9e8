"""The form for a reader's review of the knee that is shown large, and what was said of it so far."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from uuid import uuid4

from markupsafe import Markup

from koa_kit.errors import KoaError
from koa_kit.grades import GRADES
from koa_kit.workbench.page.html import part
from koa_kit.workbench.page.review import NO_KNEE, ReviewControls
from koa_kit.workbench.panels.panel import Panel
from koa_kit.workbench.reviews.review import Review, in_words

NO_LOG = "Make the workbench with log='verdicts.jsonl', or start it by koa explore."


class ReviewForm(Panel):
    """Agree, propose another grade, or bad image; a note, kept with its knee; what was said last of the knee."""

    def __init__(self, bench):
        super().__init__(bench)
        self._row: int | None = None
        self._said: tuple = (None, {})
        place = "" if bench.log is None else str(bench.log.path.absolute())
        self.widget = ReviewControls(store=hashlib.sha256(place.encode()).hexdigest()[:16])
        self.widget.on_msg(lambda _, content, buffers: bench.guard(lambda: self._receive(content.get("review"))))

    def press(self, answer: str, grade: int | None = None, *, reader: str | None = None, note: str = "") -> None:
        """What pressing a button in the page does, with this name and note in the form."""
        shown, reader = self.widget.shown, self.widget.reader if reader is None else reader
        said = {"id": uuid4().hex, "reader": reader, "answer": answer, "grade": grade, "note": note}
        said |= {"knee": shown["knee"], "kl": shown["kl"], "seen": shown["last"].get(reader, "")}
        self.bench.guard(lambda: self._receive(said))

    def uses(self) -> list[Callable[[], None]]:
        """A press of each button that is live, without a name in the form."""
        shown = self.widget.shown
        if not shown["knee"] or shown["closed"]:
            return []
        answers = [("agree", None), ("bad_image", None), *(("disagree", g) for g in GRADES if g != shown["kl"])]
        return [partial(self.press, answer, grade, reader="") for answer, grade in answers]

    def _receive(self, said: object) -> None:
        """Keep a review as the page sends it, and tell the page whether it is kept."""
        if not isinstance(said, dict):
            raise KoaError("The page sent no review.", remedy="Load it again.")
        try:
            self._save(**said)
        except Exception:
            self.widget.send({"refused": said.get("id")})
            raise
        else:
            self.widget.send({"saved": said["id"]})
        finally:
            self.show(self._row)

    def _save(
        self, *, id: str, knee: str, kl: int, reader: str, answer: str, grade: int | None, note: str, seen: str
    ) -> None:
        tables = self.bench.tables
        if not knee:
            raise KoaError("There is no knee to judge.", remedy="Pick one in the gallery first.")
        if self.bench.log is None:
            raise KoaError("This workbench keeps no reviews.", where="log", remedy=NO_LOG)
        if not reader:
            raise KoaError("Whose review is it?", where="your name", remedy="Type your name beside the buttons.")
        if knee not in tables.row_of:
            raise KoaError("This knee is not in these predictions.", where=knee, remedy="Open the run it belongs to.")
        row = tables.predictions.iloc[tables.row_of[knee]]
        if int(row["kl"]) != kl:
            what = f"The given grade of this knee is KL{row['kl']} here, and was KL{kl} when it was judged."
            raise KoaError(what, where=knee, remedy="Look at it again.")
        about: dict = {"knee_id": knee, "patient": str(row["patient"]), "kl": kl}
        review = Review(id=id, reader=reader, **about, answer=answer, grade=grade, note=note)
        self.bench.log.add(review, seen=seen)

    def show(self, row: int | None) -> None:
        """The form for this knee of the predictions table; ``None`` for no knee."""
        self._row = row
        if row is None:
            self.widget.shown = NO_KNEE
            return
        tables, name = self.bench.tables, str(self.bench.tables.names[row])
        said, closed = self._last(name), ""
        if not tables.mask(self.bench.state)[row]:
            closed = "This knee does not pass the filters: to judge it, take them away or press “all knees”."
        words = [Markup("<b>{}</b> {} ({})").format(one.reader, in_words(one), one.time[:16]) for one in said]
        last = Markup(" · ").join(words[-3:]) if words else "No review of this knee yet."
        if self.bench.log is None:
            last = "Reviews are not kept here: make the workbench with a log."
        self.widget.shown = {
            "knee": name,
            "kl": int(tables.predictions["kl"].iat[row]),
            "closed": closed,
            "last": {one.reader: one.id for one in said},
            "summary": part.wrapped(part.quiet([closed, last] if closed else [last])),
        }

    def _last(self, knee: str) -> list:
        """The last review of each reader of a knee; the log is read again only when it has grown."""
        log = self.bench.log
        if log is None:
            return []
        size = log.size()
        if size != self._said[0]:
            said: dict[str, list] = {}
            for row in log.latest().itertuples() if size else ():
                said.setdefault(row.knee_id, []).append(row)
            self._said = (size, said)
        return self._said[1].get(knee, [])
