"""E(rho) by its definition: the least integral of h over an interval of length rho, on a fine grid."""

import numpy as np
from scipy.stats import norm


def separation_cost_on_grid(rho, a, b, points=200_001, end=12.0):
    """Slow; absolute error about (2 end / points)^2 plus the step in rho."""
    u = np.linspace(-end, end, points)
    h = np.maximum(a - norm.cdf(u), 0) + np.maximum(norm.cdf(u) - (1 - b), 0)
    step = u[1] - u[0]
    integral = np.concatenate(([0.0], np.cumsum(0.5 * (h[1:] + h[:-1])) * step))
    k = round(rho / step)
    return float((integral[k:] - integral[:-k]).min())
