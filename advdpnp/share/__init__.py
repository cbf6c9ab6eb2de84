"""What leaves the machine: exported models, their cards, the published copy of the results."""
