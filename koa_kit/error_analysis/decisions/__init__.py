"""From similarities to a grade."""
