"""Made-up knees with known anatomy: signs first, then the readers' grades that follow, then the radiograph."""

from importlib import import_module

from koa_kit.phantom.cohort import phantom_cohort, phantom_masks, write_phantom_files
from koa_kit.phantom.drawing.masks import knee_masks
from koa_kit.phantom.drawing.radiograph import draw_knee, landmark_pixels
from koa_kit.phantom.knee.build import Build, sample_build
from koa_kit.phantom.knee.exposure import Exposure, sample_exposure
from koa_kit.phantom.knee.features import KneeFeatures, Rules, kl_grade, kl_grades
from koa_kit.phantom.population.population import sample_population
from koa_kit.phantom.population.sampling import sample_features
from koa_kit.phantom.readers.ceiling import Ceiling, ceiling, kl1_frontier, sampled_ceiling
from koa_kit.phantom.readers.readers import READERS, Reader, agreement, consensus_probabilities, grade_probabilities
from koa_kit.phantom.reports import report, reports

# These need ipywidgets or matplotlib, which come with the notebooks' extra.
_HOMES = {
    "LabState": "laboratory.widget",
    "PhantomLaboratory": "laboratory.widget",
    "anatomy_figure": "figures",
    "drive_laboratory": "laboratory.widget",
    "grade_row_figure": "figures",
    "laboratory_figure": "laboratory.widget",
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
        return getattr(import_module(f"koa_kit.phantom.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
