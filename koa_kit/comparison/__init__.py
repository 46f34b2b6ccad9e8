"""The same knees and budget under many choices: grids of trainings, published and read again."""

from koa_kit.comparison.grid import method_grid, run_grid
from koa_kit.comparison.published import read_arms

__all__ = ["method_grid", "read_arms", "run_grid"]
