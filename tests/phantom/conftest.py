import numpy as np
import pytest

from koa_kit.phantom.population.population import SHARES
from koa_kit.phantom.population.sampling import sample_signs


@pytest.fixture(scope="session")
def signs_of():
    """Function that draws signs of knees whose severity lies in the five grades' bands in the named shares."""

    def draw(shares, knees):
        rng = np.random.default_rng(1)
        return sample_signs(rng.choice(5, knees, p=SHARES[shares]) + rng.random(knees), rng)

    return draw
