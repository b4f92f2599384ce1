"""What a map is: layers, activations, and adapters of the flow libraries."""
