"""Boxes of the latent plane."""
