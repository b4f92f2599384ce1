"""Boxes of data, with a proof that they contain the preimage of the domain."""
