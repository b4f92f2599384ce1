"""A zoo of trained networks that people use: flows of four libraries, decoders, samplers, networks with published constants."""
