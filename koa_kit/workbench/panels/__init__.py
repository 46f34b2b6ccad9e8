"""The panels of the workbench: controls over pure functions."""
