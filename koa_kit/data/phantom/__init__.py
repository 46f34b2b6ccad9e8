"""Made-up knees with known anatomy: signs first, then the readers' grades that follow, then the radiograph."""

from importlib import import_module

from koa_kit.data.phantom.build import Build, sample_build
from koa_kit.data.phantom.ceiling import Ceiling, ceiling, kl1_frontier, sampled_ceiling
from koa_kit.data.phantom.cohort import phantom_cohort, phantom_masks, write_phantom_files
from koa_kit.data.phantom.drawing import draw_knee, landmark_pixels
from koa_kit.data.phantom.exposure import Exposure, sample_exposure
from koa_kit.data.phantom.features import KneeFeatures, Rules, kl_grade, kl_grades
from koa_kit.data.phantom.masks import knee_masks
from koa_kit.data.phantom.population import sample_population
from koa_kit.data.phantom.readers import READERS, Reader, agreement, consensus_probabilities, grade_probabilities
from koa_kit.data.phantom.reports import report, reports
from koa_kit.data.phantom.sampling import sample_features

# These need ipywidgets or matplotlib, which come with the notebooks' extra.
_HOMES = {
    "LabState": "laboratory",
    "PhantomLaboratory": "laboratory",
    "anatomy_figure": "figures",
    "drive_laboratory": "laboratory",
    "grade_row_figure": "figures",
    "laboratory_figure": "laboratory",
    "readers_figure": "figures",
}
__all__ = [
    "READERS",
    "Build",
    "Ceiling",
    "Exposure",
    "KneeFeatures",
    "LabState",
    "PhantomLaboratory",
    "Reader",
    "Rules",
    "agreement",
    "anatomy_figure",
    "ceiling",
    "consensus_probabilities",
    "draw_knee",
    "drive_laboratory",
    "grade_probabilities",
    "grade_row_figure",
    "kl1_frontier",
    "kl_grade",
    "kl_grades",
    "knee_masks",
    "laboratory_figure",
    "landmark_pixels",
    "phantom_cohort",
    "phantom_masks",
    "readers_figure",
    "report",
    "reports",
    "sample_build",
    "sample_exposure",
    "sample_features",
    "sample_population",
    "sampled_ceiling",
    "write_phantom_files",
]


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(import_module(f"koa_kit.data.phantom.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
