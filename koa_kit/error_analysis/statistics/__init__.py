"""Intervals over patients, paired differences, several trainings."""
