"""Other words for a grade, and what every knee is called then."""
