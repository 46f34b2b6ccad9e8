"""The page of the workbench, as pure functions."""
