"""Records of choices: frozen dataclasses that pydantic checks, changed by name, kept as YAML."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, dataclass_transform

import yaml
from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import core_schema

from koa_kit.errors import KoaError
from koa_kit.paths import replacing

LIMITS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


@dataclass_transform(frozen_default=True)
def choices(record: type) -> type:
    """`record` as a frozen dataclass whose fields are checked strictly when it is made.

    A choice is declared once, by its type: ``Literal`` or `OneOf` names the options, ``Annotated[float, Field(gt=0)]``
    the range.
    Strictly: ``True`` is no number, ``1.9`` no whole one, and nan lies in no range.

    Raises
    ------
    KoaError
        When the record is made with a value that is none of its options, out of range or of another type.
    """
    made: Any = dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))(record)
    checked = made.__init__

    def __init__(self, *values: Any, **named: Any) -> None:
        try:
            checked(self, *values, **named)
        except ValidationError as error:
            raise _in_words(error) from None

    made.__init__ = __init__
    return made


class OneOf:
    """The options of a choice that are names in a table: ``Annotated[str, OneOf(METHODS)]``."""

    def __init__(self, options: Collection):
        self.options = list(options)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.literal_schema(self.options)


def _in_words(error: ValidationError) -> KoaError:
    first = error.errors()[0]
    name, value, limits = str(first["loc"][0]) if first["loc"] else "choice", first["input"], first.get("ctx", {})
    if first["type"] == "literal_error":
        options = limits["expected"].replace(" or ", ", ").replace("'", "")
        return KoaError(f"There is no {name} {value!r}.", remedy=f"Choose from {options}.")
    if first["type"] == "unexpected_keyword_argument":
        return KoaError(f"There is no choice {name!r}.", remedy="Look at the spelling.")
    said = [f"{LIMITS[key]} {limit:g}" for key, limit in limits.items() if key in LIMITS]
    what = f"must be {said[0]}" if said else first["msg"][0].lower() + first["msg"][1:]
    return KoaError(f"{name}: {what}.", where=f"{name}={value!r}")


def changed(record: Any, changes: dict[str, Any]) -> Any:
    """The same record with other choices; a misspelt name is refused."""
    known = [entry.name for entry in fields(record)]
    if unknown := set(changes) - set(known):
        raise KoaError(f"A run has no choice {min(unknown)!r}.", remedy=f"Choose from {', '.join(known)}.")
    return replace(record, **changes)


def parsed(texts: Iterable[str]) -> dict[str, Any]:
    """Choices by name from texts ``NAME=VALUE``, each value read as YAML."""
    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise KoaError("A choice must be written NAME=VALUE.", where=text, remedy="For example epochs=12.")
        # YAML reads 1e-3 as text
        number = re.fullmatch(r"\s*[-+]?\d+(\.\d*)?e[-+]?\d+\s*", value, re.IGNORECASE)
        try:
            values[name.strip()] = float(value) if number else frozen(plain_yaml(value))
        except (yaml.YAMLError, ValueError) as error:
            raise KoaError("A choice cannot be read as YAML.", where=text, remedy="For example epochs=12.") from error
    return values


def write_yaml(record: Any, path: Path) -> None:
    """Keep the choices of a record as YAML."""
    with replacing(path) as temporary:
        temporary.write_text(yaml.safe_dump(asdict(record), sort_keys=False), encoding="utf-8")


def read_yaml(path: Path) -> dict[str, Any]:
    """Choices by name, as `write_yaml` kept them."""
    if not Path(path).is_file():
        raise KoaError("There is no run here.", where=path, remedy="Train first: koa train --help.")
    try:
        raw = plain_yaml(Path(path).read_text(encoding="utf-8"))
        return {str(name): frozen(value) for name, value in raw.items()}
    except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
        remedy = "Restore the file, or train again."
        raise KoaError(f"The choices of the run cannot be read: {error}.", where=path, remedy=remedy) from error


def read_json(path: Path) -> dict:
    """Record in a file of JSON; `KoaError` if the file holds none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_each_once)
        if not isinstance(record, dict):
            raise ValueError("it is no record")
    except (OSError, ValueError, RecursionError) as error:
        remedy = "Restore the file, or train again."
        raise KoaError(f"A file of the run cannot be read: {error}.", where=path, remedy=remedy) from error
    return record


def plain_yaml(text: str) -> Any:
    """Value of a text of YAML; ``ValueError`` or ``yaml.YAMLError`` if it is none or could be read in two ways."""
    try:
        return yaml.load(text, _PlainLoader)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _each_once(pairs: list[tuple[Any, Any]]) -> dict:
    """Record of these pairs; ``ValueError`` if a name is there twice, of which one value would go unnoticed."""
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError(f"{max(names, key=names.count)!r} is there twice")
    return dict(pairs)


class _PlainLoader(yaml.SafeLoader):
    """Reads whole numbers in plain decimal digits only: YAML takes 010 for eight and 1:30 for ninety.

    No name is read twice, and no value stands for another (``*``), with which ten lines grow into a billion values.
    """

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            raise ValueError("a value stands for another one")
        return super().compose_node(parent, index)

    def construct_mapping(self, node, deep=False):
        if isinstance(node, yaml.MappingNode):
            _each_once([(key.value, None) for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
        return super().construct_mapping(node, deep)


_PlainLoader.add_constructor(
    "tag:yaml.org,2002:int",
    lambda _, node: int(node.value) if re.fullmatch(r"[-+]?(0|[1-9]\d{0,17})", node.value) else node.value,
)


def frozen(value: object) -> object:
    """Lists, as YAML gives them, at any depth, as the tuples a record of choices holds."""
    return tuple(map(frozen, value)) if isinstance(value, list | tuple) else value
