"""What a reader typed or pressed is kept, with its knee, whatever happens to the server; the page talks to it alone."""

import time

import psutil
import pytest
from explored import explored, family, free_port

from koa_kit.workbench.reviews.log import ReviewLog

pytestmark = pytest.mark.browser
NOTE, READER, AGREE, BANNER, OFFER = (
    f".koa-{name}" for name in ("note textarea", "reader input", "agree", "lost", "offer")
)


@pytest.fixture(scope="module")
def table(tmp_path_factory, make_predictions):
    path = tmp_path_factory.mktemp("tables") / "predictions.parquet"
    make_predictions(40).to_parquet(path)
    return path


@pytest.fixture
def context(chromium):
    made = chromium.new_context(viewport={"width": 1120, "height": 1500})
    made.set_default_timeout(120_000)
    yield made
    made.close()


@pytest.fixture
def log(tmp_path):
    return ReviewLog(tmp_path / "verdicts.jsonl")


def opened(context, address):
    """A new page of the workbench, drawn."""
    page = context.new_page()
    page.goto(address, timeout=120_000)
    page.wait_for_selector(".koa-cell-1-0")
    page.wait_for_selector(".koa-grid .koa-card")
    return page


def names(page):
    """The knees in the gallery."""
    return page.locator(".koa-grid .koa-card").evaluate_all("cards => cards.map(card => card.dataset.pick)")


def open_knee(page, knee):
    page.locator(f".koa-grid [data-pick='{knee}']").click()
    page.wait_for_function("knee => document.querySelector('.koa-knee').innerText.includes(knee)", arg=knee)


def agree(page, reader, note=None):
    page.locator(READER).fill(reader)
    if note is not None:
        page.locator(NOTE).fill(note)
    page.locator(AGREE).click()


def heard(page, text):
    page.wait_for_function("text => document.querySelector('.koa-reviewed').innerText.includes(text)", arg=text)


def test_a_note_belongs_to_the_knee_it_was_typed_on_and_survives(context, table, log, tmp_path):
    with explored(table, "--log", log.path, cwd=tmp_path) as (_, address):
        page = opened(context, address)
        first, second = names(page)[:2]
        page.locator(NOTE).press_sequentially("about the first")
        open_knee(page, second)  # at once, before anything has reached the kernel
        assert page.locator(NOTE).input_value() == ""
        page.locator(NOTE).fill("about the second")
        page.reload()
        page.wait_for_selector(".koa-grid .koa-card")
        assert page.locator(NOTE).input_value() == "about the first"
        open_knee(page, second)
        assert page.locator(NOTE).input_value() == "about the second"
        agree(page, "Ann")
        heard(page, "Ann agrees “about the second”")
        assert page.locator(NOTE).input_value() == ""
        open_knee(page, first)
        assert page.locator(NOTE).input_value() == "about the first"
        assert log.read()[["knee_id", "note"]].to_numpy().tolist() == [[second, "about the second"]]


def test_a_killed_server_is_noticed_and_what_was_pressed_is_offered_again(context, table, log, tmp_path):
    port = free_port()
    with explored(table, "--log", log.path, cwd=tmp_path, port=port) as (process, address):
        page = opened(context, address)
        knee = names(page)[0]
        kernels = family(process)
        process.kill()
        for kernel in kernels:
            kernel.kill()
        agree(page, "Ann", "osteophyte <b>medial</b>")
        page.wait_for_selector(BANNER, timeout=15_000)
        assert "does not answer" in page.locator(BANNER).inner_text()
        assert page.locator(".koa-workbench button:not([disabled])").count() == 0
        assert page.locator(".koa-workbench select:not([disabled])").count() == 0
        assert page.locator(".koa-clickable:not([inert])").count() == 0
        page.locator(NOTE).fill("typed later")
    assert log.read().empty
    with explored(table, "--log", log.path, cwd=tmp_path, port=port) as (_, address):
        page = opened(context, address)
        assert page.locator(NOTE).input_value() == "typed later"
        assert f"Ann, knee {knee}: agree, KL1 “osteophyte <b>medial</b>”" in page.locator(OFFER).inner_text()
        page.locator(".koa-save").click()
        heard(page, "Ann agrees “osteophyte <b>medial</b>”")
        page.wait_for_selector(OFFER, state="detached")
        assert page.locator(NOTE).input_value() == "typed later"
        said = log.read()
        assert said[["reader", "knee_id", "note"]].to_numpy().tolist() == [["Ann", knee, "osteophyte <b>medial</b>"]]
        page.reload()
        page.wait_for_selector(".koa-grid .koa-card")
        assert page.locator(OFFER).count() == 0


def test_a_review_whose_answer_was_lost_is_not_kept_twice(context, table, log, tmp_path):
    with explored(table, "--log", log.path, cwd=tmp_path) as (_, address):
        page = opened(context, address)
        page.evaluate(
            "() => { const drop = Storage.prototype.removeItem;"
            " Storage.prototype.removeItem = function (key) { if (!key.includes('/review/')) drop.call(this, key); }; }"
        )
        agree(page, "Ann")
        heard(page, "Ann agrees")
        page = opened(context, address)
        page.locator(".koa-save").click()
        page.wait_for_selector(OFFER, state="detached")
    assert len(log.path.read_bytes().splitlines()) == 1


def test_a_killed_kernel_is_noticed(context, table, log, tmp_path):
    with explored(table, "--log", log.path, cwd=tmp_path) as (process, address):
        page = opened(context, address)
        for kernel in family(process):
            kernel.kill()
        page.wait_for_selector(BANNER, timeout=30_000)
        assert "has ended" in page.locator(BANNER).inner_text()
        assert page.locator(AGREE).is_disabled()


def test_a_connection_that_comes_back_turns_the_controls_on_again(context, table, log, tmp_path):
    with explored(table, "--log", log.path, cwd=tmp_path) as (_, address):
        page = opened(context, address)
        context.set_offline(True)
        page.wait_for_selector(BANNER, timeout=30_000)
        assert page.locator(AGREE).is_disabled()
        context.set_offline(False)
        page.wait_for_selector(BANNER, state="detached", timeout=30_000)
        agree(page, "Ann")
        heard(page, "Ann agrees")
        grade = page.locator(".koa-say-1")
        assert grade.is_disabled()  # the given grade


def test_the_second_of_two_tabs_is_told_what_the_first_said(context, table, log, tmp_path):
    with explored(table, "--log", log.path, cwd=tmp_path) as (_, address):
        one, other = opened(context, address), opened(context, address)
        one.locator(READER).fill("Ann")
        one.locator(".koa-say-3").click()
        heard(one, "Ann disagrees: KL3")
        agree(other, "Ann", "second thoughts")
        other.wait_for_function("() => document.querySelector('.koa-message').innerText.includes('disagrees: KL3')")
        assert log.latest()["answer"].tolist() == ["disagree"]
        assert other.locator(NOTE).input_value() == "second thoughts"
        other.locator(AGREE).click()
        heard(other, "Ann agrees “second thoughts”")
        assert log.latest()["answer"].tolist() == ["agree"]


def test_a_filter_that_excludes_the_open_knee_closes_it(context, table, log, tmp_path):
    with explored(table, "--log", log.path, cwd=tmp_path) as (_, address):
        page = opened(context, address)
        left = next(knee for knee in names(page) if knee.endswith("L"))
        open_knee(page, left)
        page.locator(".koa-filter-sides select").select_option(label="right")
        page.wait_for_function("knee => !document.querySelector('.koa-knee').innerText.includes(knee)", arg=left)
        page.locator(".koa-column select").select_option("knee_id")
        page.locator(".koa-operator select").select_option("is")
        page.locator(".koa-value input").fill("nobody")
        page.locator(".koa-value input").press("Tab")
        page.locator(".koa-add-condition").click()
        page.wait_for_function("() => document.querySelector('.koa-agree').disabled")
        assert page.locator(".koa-knee").inner_text().strip() == ""


def test_the_page_asks_no_other_server_for_anything(context, table, log, tmp_path):
    asked, told = [], []
    context.on("request", lambda request: asked.append(request.url))
    context.on("console", lambda message: told.append(message.text))
    with explored(table, "--log", log.path, cwd=tmp_path) as (_, address):
        base = address.partition("?")[0]
        page = opened(context, address)
        for title in page.locator(".koa-tabs .lm-TabBar-tab").all():
            title.click()
            page.wait_for_timeout(300)
        context.new_page().goto(f"{base}nowhere/else")
        context.clear_cookies()
        refused = context.new_page()
        assert refused.goto(base).status == 403
    assert len(asked) > 20
    assert [url for url in asked if not url.startswith((base, "data:", f"blob:{base}"))] == []
    assert not [text for text in told if "Content Security Policy" in text]


def test_a_page_that_is_left_takes_its_kernel_with_it(context, table, log, tmp_path):
    with explored(table, "--log", log.path, cwd=tmp_path) as (process, address):
        page = opened(context, address)
        kernels = family(process)
        assert kernels
        page.goto("about:blank")
        until = time.monotonic() + 30
        while any(kernel.is_running() and kernel.status() != psutil.STATUS_ZOMBIE for kernel in kernels):
            assert time.monotonic() < until, "the kernel still runs"
            time.sleep(0.2)
