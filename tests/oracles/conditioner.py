"""A conditioner's s and t in ball arithmetic."""

from lipbounds.maps.conditioner import BallNetwork
from lipbounds.maps.scales import as_scale


def coefficients_at(network, inputs, scale):
    """s after the clamp, and t, at balls; a number is the bound of the paper's clamp."""
    values, half = BallNetwork(network).values(inputs), network.outputs // 2
    return [as_scale(scale).ball(raw) for raw in values[:half]], values[half:]
