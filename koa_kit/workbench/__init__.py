"""The KL1 workbench: one page on which an analyst sees, filters, explains, rewords, decides and judges."""

from koa_kit.workbench.drive import drive
from koa_kit.workbench.state import WorkbenchState
from koa_kit.workbench.workbench import Message, Workbench, workbench

__all__ = ["Message", "Workbench", "WorkbenchState", "drive", "workbench"]
