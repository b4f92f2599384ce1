"""Upper bounds on conditional slices, by boxes of their latent coordinates."""
