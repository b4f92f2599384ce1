"""Boxes of latent space."""
