"""The clock of training steps: images per second, and the share of data."""

import math

import pytest

from koa_kit.engine.clock import StepClock


class HandClock:
    """Seconds that pass when told to."""

    def __init__(self):
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_the_clock_tells_images_a_second_and_the_share_of_data():
    hand = HandClock()
    clock = StepClock("cpu", now=hand)
    for _ in range(4):
        with clock.data():
            hand.seconds += 0.5
        hand.seconds += 1.5
        clock.step(16)
    assert clock.summary() == pytest.approx({"images_per_second": 64 / 8, "data_share": 0.25})


def test_time_between_epochs_does_not_count():
    hand = HandClock()
    clock = StepClock("cpu", now=hand)
    for _ in range(2):
        with clock.data():
            hand.seconds += 1
        hand.seconds += 1
        clock.step(10)
        summary = clock.summary()
        hand.seconds += 1000
    assert summary == pytest.approx({"images_per_second": 5.0, "data_share": 0.5})


def test_waiting_between_two_steps_of_an_epoch_counts():
    hand = HandClock()
    clock = StepClock("cpu", now=hand)
    for _ in range(2):
        with clock.data():
            hand.seconds += 1
        clock.step(10)
        hand.seconds += 8
    assert clock.summary()["images_per_second"] == pytest.approx(20 / 10)


def test_a_clock_without_steps_knows_nothing():
    assert all(math.isnan(value) for value in StepClock().summary().values())
