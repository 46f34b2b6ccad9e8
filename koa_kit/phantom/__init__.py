"""Synthetic knees with known anatomy: signs first, then the readers' grades that follow, then the radiograph."""

import lazy_loader as lazy

# Nothing is imported before it is used: the laboratory needs ipywidgets, the figures matplotlib.
__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "knee.records": ["Build", "Exposure", "sample_build", "sample_exposure"],
        "knee.features": ["KneeFeatures", "Rules", "kl_grade", "kl_grades"],
        "population.population": ["sample_population"],
        "population.sampling": ["sample_features"],
        "readers.readers": ["READERS", "Reader", "agreement", "consensus_probabilities", "grade_probabilities"],
        "readers.bounds": ["NoiseCeiling", "kl1_frontier", "noise_ceiling", "sampled_noise_ceiling"],
        "drawing.masks": ["knee_masks"],
        "drawing.radiograph": ["draw_knee", "landmark_pixels"],
        "cohort": ["phantom_cohort", "phantom_masks", "write_phantom_files"],
        "reporting": ["report", "reports"],
        "figures": ["anatomy_figure", "grade_row_figure", "laboratory_figure", "readers_figure"],
        "laboratory.page": ["LabState"],
        "laboratory.widget": ["PhantomLaboratory", "drive_laboratory"],
    },
)
