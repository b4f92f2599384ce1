"""From a torch module to stages: the graph of its operations, affine expressions of the units, and their order."""

from lipbounds.maps.lowering.graph import lowered

__all__ = ["lowered"]
