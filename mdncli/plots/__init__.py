"""Pictures of a conditional density: arrays in, a Figure out."""
