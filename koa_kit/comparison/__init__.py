"""The same knees and budget under many choices: grids of trainings, published and read again."""

from koa_kit.comparison.grid import grid, run_grid
from koa_kit.comparison.published import read_rows

__all__ = ["grid", "read_rows", "run_grid"]
