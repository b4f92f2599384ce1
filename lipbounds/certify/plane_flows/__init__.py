"""Flows of the plane with piecewise linear conditioners, affine or by splines: boxes of z with windows of linear pieces."""
