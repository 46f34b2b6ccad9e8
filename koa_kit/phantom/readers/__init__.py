"""Readers with limits and errors of their own, and the best scores that follow."""
