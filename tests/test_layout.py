"""The house: imports go to lower floors only and never in circles, and the core stays an afternoon's reading."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "koa_kit"
FLOORS = (
    ("errors",),
    ("paths", "progress", "versions", "grades"),
    ("configuration", "style"),
    ("prompts", "losses", "cohort"),
    ("phantom", "engine"),
    ("data", "model", "error_analysis"),
    ("training",),
    ("attribution", "comparison", "pretrained"),
    ("series", "workbench"),
    ("commands",),
    ("cli",),
)
GROUND = {name for floor in FLOORS[:3] for name in floor}
CORE = (
    *("grades", "cohort", "data.manifest", "data.load", "data.radiograph", "data.polarity", "data.splits"),
    *("prompts", "model.spec", "model.grader", "model.torch_grader", "model.clip_koa", "model.words", "model.towers"),
    *("model.checkpoint",),
    *("losses", "training.config", "training.augmentation", "training.batches", "training.views", "training.step"),
    *("training.loop", "training.fitting", "training.prediction", "training.run"),
    *("error_analysis.predictions", "error_analysis.metrics", "error_analysis.statistics.intervals"),
)
"""What CONTRIBUTING says to read first, in this order."""

CORE_LINES = 3_605
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor}
FILES = {path: ".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in sorted(PACKAGE.rglob("*.py"))}
MODULES = {name.removesuffix(".__init__"): path for path, name in FILES.items() if name != "__init__"}


@cache
def imports(module: str, *, lazily: bool = True) -> frozenset[str]:
    """Modules of the kit that a module imports, by their names below ``koa_kit``; also inside functions if `lazily`."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    named = set()
    for node in ast.walk(tree) if lazily else tree.body:
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            named |= {
                f"{node.module}.{alias.name}" if _below(f"{node.module}.{alias.name}") in MODULES else node.module
                for alias in node.names
            }
    return frozenset(_below(name) for name in named if name.startswith("koa_kit."))


def _below(name: str) -> str:
    return name.removeprefix("koa_kit.")


def room(module: str) -> str:
    return module.split(".")[0]


def test_every_module_lies_in_a_room_that_has_a_floor():
    assert {room(module) for module in MODULES} == set(FLOOR)


@pytest.mark.parametrize("module", MODULES)
def test_a_room_imports_only_from_lower_floors(module):
    others = {room(name) for name in imports(module)} - {room(module)}
    assert {name for name in others if FLOOR[name] >= FLOOR[room(module)]} == set()


def test_nothing_outside_the_wheel_is_imported():
    for path in FILES:
        names = {alias.name for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) for alias in _names(node)}
        assert not {name for name in names if name.split(".")[0] in ("benchmarks", "results", "tests")}, path


def _names(node: ast.AST) -> list[ast.alias]:
    if isinstance(node, ast.ImportFrom):
        return [ast.alias(node.module or "")]
    return node.names if isinstance(node, ast.Import) else []


def test_no_import_goes_in_a_circle():
    seen, path = set(), []

    def visit(module: str) -> None:
        assert module not in path, f"circle: {' -> '.join([*path[path.index(module) :], module])}"
        if module in seen:
            return
        path.append(module)
        for name in sorted(imports(module) & set(MODULES)):
            visit(name)
        seen.add(path.pop())

    for module in MODULES:
        visit(module)


def test_no_function_bears_the_name_of_its_module():
    for module, path in MODULES.items():
        functions = {node.name for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)}
        assert module.split(".")[-1] not in functions, module


def test_the_core_is_an_afternoons_reading():
    lines = sum(len(MODULES[module].read_text(encoding="utf-8").splitlines()) for module in CORE)
    assert lines <= CORE_LINES


@pytest.mark.parametrize("module", CORE)
def test_a_core_file_imports_only_core_files_the_ground_floor_and_the_engine(module):
    others = {name for name in imports(module, lazily=False) if room(name) not in GROUND | {"engine"}}
    assert others <= set(CORE)


def test_contributing_names_the_core_in_this_order():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    places = [text.index(f"`{module.replace('.', '/')}.py`") for module in CORE]
    assert places == sorted(places)


def test_no_room_holds_a_fifth_of_the_house():
    lines = dict.fromkeys(FLOOR, 0)
    for module, path in MODULES.items():
        lines[room(module)] += len(path.read_text(encoding="utf-8").splitlines())
    assert max(lines.values()) < 0.2 * sum(lines.values()), max(lines, key=lines.get)
