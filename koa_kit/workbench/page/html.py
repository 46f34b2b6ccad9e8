"""Pieces of HTML the workbench repeats; texts are escaped here, markup is not."""

from __future__ import annotations

from html import escape


def wrapped(markup: str) -> str:
    """Markup under the workbench's style sheet."""
    return f'<div class="koa-ex">{markup}</div>'


def empty(text: str) -> str:
    """What stands where there is nothing to show, and says what to do."""
    return wrapped(f'<div class="koa-empty">{escape(text)}</div>')


def soft(text: str) -> str:
    """A quiet line of text."""
    return wrapped(f'<p class="koa-soft">{escape(text)}</p>')


def say(text: str) -> str:
    """A line that is read first."""
    return f'<p class="koa-say">{escape(text)}</p>'


def line(pick: object, markup: str, end: str) -> str:
    """A line of a list that can be picked, with a short text at its end."""
    return f'<div class="koa-line" data-pick="{escape(str(pick))}">{markup} <i>{escape(end)}</i></div>'


def table(heads: list[str], rows: list[list[str]], css: str = "koa-table") -> str:
    """A table of markup; the first cell of a row is its head."""
    head = "".join(f"<th>{text}</th>" for text in heads)
    body = "".join(f"<tr><th>{row[0]}</th>{''.join(f'<td>{cell}</td>' for cell in row[1:])}</tr>" for row in rows)
    return f'<table class="{css}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
