"""What may have become of a file: hypothesis strategies of changed bytes, records, tables and arrays."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from hypothesis import strategies as st

NUMBERS = (-1, 0, 1.5, 5, 10**30, 2**63, float("nan"), float("inf"), -float("inf"))
WORDS = ("", " ", "x", "L", "nan", "1e400", "\u202e", "../x", "!!python/name:os.system", "x" * 300)
ODD = st.sampled_from((None, True, *NUMBERS, *WORDS, [], [[]], {}, {"a": 1}))
"""Values of every kind that JSON and YAML have, most of them wrong wherever they stand."""

PLACES = ("missing", "empty", "folder", "pipe", "broken link", "looping link")


@st.composite
def changed_bytes(draw, content: bytes) -> bytes:
    """A file as a disk, a transfer or an editor may leave it."""
    place = draw(st.integers(0, max(0, len(content) - 1)))
    some = draw(st.binary(min_size=1, max_size=40))
    before, after = content[:place], content[place:]
    return draw(
        st.sampled_from(
            (
                before,
                before + some + after,
                before + some + after[len(some) :],
                before + after[len(some) :],
                before + bytes(len(some)) + after[len(some) :],
                before + bytes([(after[0] if after else 0) ^ 1 << some[0] % 8]) + after[1:],
                content + some,
                content + content,
                b"\xef\xbb\xbf" + content,
                content.replace(b"\n", b"\r\n"),
                content.decode("latin-1").encode("utf-16"),
                before + b"[" * 100_000 + after,
                b"{" * 100_000,
                b"\0" * 5000,
            )
        )
    )


@st.composite
def changed_record(draw, record):
    """The same record with one value, at any depth, gone, of another kind, under another name, or one too many."""
    if isinstance(record, dict | list) and record and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(list(record) if isinstance(record, dict) else range(len(record))))
        how, changed = draw(st.integers(0, 9)), record.copy()
        if how == 0:
            del changed[key]
        elif how == 1 and isinstance(record, dict):
            changed[f"{key}x"] = changed.pop(key)
        elif how == 2 and isinstance(record, dict):
            changed["x"] = draw(ODD)
        else:
            changed[key] = draw(changed_record(record[key]))
        return changed
    return draw(ODD)


@st.composite
def changed_text_record(draw, content: bytes, kind: str) -> bytes:
    """A JSON or YAML file with its record changed, or with one of its lines twice."""
    if not draw(st.integers(0, 5)):
        lines = content.splitlines(keepends=True)
        line = draw(st.integers(0, len(lines) - 1))
        return b"".join([*lines[: line + 1], *lines[line:]])
    read, write = (json.loads, json.dumps) if kind == "json" else (yaml.safe_load, yaml.safe_dump)
    return write(draw(changed_record(read(content)))).encode()


@st.composite
def changed_table(draw, table: pd.DataFrame) -> pd.DataFrame:
    """The same table with a column or a cell of another kind, and rows and columns too few or too many."""
    name = draw(st.sampled_from(list(table.columns)))
    row = draw(st.integers(0, len(table) - 1))
    value = draw(ODD)
    cells = table[name].astype(object).tolist()
    cells[row] = value
    kinds = ("float16", "str", "category", "bool", "complex128", "timedelta64[ns]", "Int64", object)
    change = draw(
        st.sampled_from(
            (
                lambda: table.assign(**{name: pd.Series(cells, dtype=object).infer_objects()}),
                lambda: table.assign(**{name: [value] * len(table)}),
                lambda: table.astype({name: kinds[row % len(kinds)]}),
                lambda: table.assign(**{name: table[name].to_numpy()[::-1]}),
                lambda: table.drop(columns=name),
                lambda: table.rename(columns={name: f"{name} "}),
                lambda: table.assign(x=value if not isinstance(value, list | dict) else str(value)),
                lambda: table.iloc[:row],
                lambda: pd.concat([table, table.iloc[[row]]]),
                lambda: table.set_index(name),
                lambda: table.rename(columns=str.upper),
            )
        )
    )
    try:
        return change()
    except (TypeError, ValueError):  # a column that cannot be of this kind
        return table.iloc[:row]


@st.composite
def changed_csv(draw, content: bytes, sep: str = ",") -> bytes:
    """A table of text with a cell changed, a row or a column cut, doubled or moved, or another separator."""
    rows = [line.split(sep) for line in content.decode().splitlines()]
    row, column = draw(st.integers(0, len(rows) - 1)), draw(st.integers(0, len(rows[0]) - 1))
    how = draw(st.integers(0, 7))
    if how < 3:
        rows[row][column % len(rows[row])] = str(draw(ODD))
    elif how == 3:
        rows = rows[:row]
    elif how == 4:
        rows.insert(row, rows[row])
    elif how == 5:
        rows = [[*cells[:column], *cells[column + 1 :]] for cells in rows]
    elif how == 6:
        rows = [[*cells, cells[column % len(cells)]] for cells in rows]
    return (";" if how == 7 else sep).encode().join(b"") + "\n".join(
        (";" if how == 7 else sep).join(cells) for cells in rows
    ).encode()


@st.composite
def changed_array(draw, array: np.ndarray) -> np.ndarray:
    """The same array in another shape or type, or with values that are none."""
    odd = array.copy()
    odd.flat[draw(st.integers(0, array.size - 1))] = draw(st.sampled_from((np.nan, np.inf, -np.inf)))
    others = (odd, array[:-1], array[:, :1], array[0], array.T, array.astype(int), array.astype(str), array * 0)
    return draw(st.sampled_from((*others, array.astype("c8"), array.astype(bool), np.float32(1), array[:0])))


def put(path: Path, place: str) -> None:
    """Put something else than a file, or nothing, where a file is."""
    path.unlink()
    if place == "empty":
        path.touch()
    elif place == "folder":
        path.mkdir()
    elif place == "pipe":
        os.mkfifo(path)
    elif "link" in place:
        path.symlink_to(path.name if place == "looping link" else "nowhere")
