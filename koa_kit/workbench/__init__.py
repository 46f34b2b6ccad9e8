"""The KL1 workbench: one page on which an analyst sees, filters, explains, rewords, decides and judges."""

from koa_kit.workbench.bench import Workbench
from koa_kit.workbench.driving import drive
from koa_kit.workbench.message import Message, workbench
from koa_kit.workbench.state import WorkbenchState

__all__ = ["Message", "Workbench", "WorkbenchState", "drive", "workbench"]
