"""Piecewise linear maps: branch and bound over the signs of neurons, and the proof that a region is empty."""
