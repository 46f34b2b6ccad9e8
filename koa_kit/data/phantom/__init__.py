"""Made-up knees with known anatomy: signs first, then the grade that follows from them, then the radiograph."""

from koa_kit.data.phantom.cohort import phantom_cohort, write_phantom_files
from koa_kit.data.phantom.drawing import draw_knee, landmark_pixels
from koa_kit.data.phantom.features import Exposure, KneeFeatures, kl_grade, sample_exposure, sample_features

__all__ = [
    "Exposure",
    "KneeFeatures",
    "draw_knee",
    "kl_grade",
    "landmark_pixels",
    "phantom_cohort",
    "sample_exposure",
    "sample_features",
    "write_phantom_files",
]
