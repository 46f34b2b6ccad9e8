"""The clock of training steps: images per second, and the share of data."""

import math

import pytest

from koa_kit.engine.clock import StepClock


@pytest.fixture
def clock():
    """A clock whose time is its ``seconds``."""
    clock = StepClock(now=lambda: clock.seconds)
    clock.seconds = 100.0
    return clock


def take_steps(clock, steps, images, *, data, compute=0.0, idle=0.0):
    """Steps of so many seconds each: waiting for data, computing, and idle after the step."""
    for _ in range(steps):
        with clock.data():
            clock.seconds += data
        clock.seconds += compute
        clock.step(images)
        clock.seconds += idle


def test_the_clock_tells_images_a_second_and_the_share_of_data(clock):
    take_steps(clock, 4, 16, data=0.5, compute=1.5)
    assert clock.summary() == pytest.approx({"images_per_second": 64 / 8, "data_share": 0.25})


def test_time_between_epochs_does_not_count(clock):
    for _ in range(2):
        take_steps(clock, 1, 10, data=1, compute=1)
        assert clock.summary() == pytest.approx({"images_per_second": 5.0, "data_share": 0.5})
        clock.seconds += 1000


def test_waiting_between_two_steps_of_an_epoch_counts(clock):
    take_steps(clock, 2, 10, data=1, idle=8)
    assert clock.summary()["images_per_second"] == pytest.approx(20 / 10)


def test_a_clock_without_steps_knows_nothing(clock):
    assert all(math.isnan(value) for value in clock.summary().values())
