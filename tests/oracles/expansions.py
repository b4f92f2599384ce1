"""Feed-forward maps, their derivatives and polynomials of boxes at a point, in ball arithmetic."""

import numpy as np
from flint import arb, arb_mat

from lipbounds.arb import column, exact_row


def exact_value_and_derivative(network, point):
    """Return f(z), and its derivative by the chain rule."""
    values, slopes = point, arb_mat(np.eye(len(point)).tolist())
    for stage in network.stages:
        matrix = arb_mat(stage.matrix.tolist())
        product, slopes = matrix * column(values), matrix * slopes
        values = [product[i, 0] + arb(b) for i, b in enumerate(stage.bias.tolist())]
        steep = stage.activation.slope_balls(values)
        slopes = arb_mat([[steep[i] * slopes[i, j] for j in range(slopes.ncols())] for i in range(slopes.nrows())])
        values = stage.activation.balls(values)
    return values, slopes


def exact_polynomial(x, box, point):
    """Return P at a point t of a box of an expansion or a composition, and its derivative in z."""
    h = exact_row(x.radii[box])
    values = [arb(0) for _ in range(x.terms.shape[2])]
    slopes = [[arb(0) for _ in h] for _ in values]
    for row, exponents in enumerate(x.order.exponents.tolist()):
        power = arb(1)
        for variable, exponent in zip(point, exponents, strict=True):
            power *= variable**exponent
        for unit, coefficient in enumerate(x.terms[row, box].tolist()):
            values[unit] += arb(coefficient) * power
            for axis, exponent in enumerate(exponents):
                if exponent:
                    part = arb(coefficient) * exponent / h[axis]
                    for other, variable in enumerate(point):
                        part *= variable ** (exponents[other] - (other == axis))
                    slopes[unit][axis] += part
    return values, arb_mat(slopes)


def length(row):
    """Return the Euclidean norm."""
    return sum((value * value for value in row), arb(0)).sqrt()
