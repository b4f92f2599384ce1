"""Smooth feed-forward maps z -> x of few latent dimensions: branch and bound over boxes of z with polynomial expansions."""
