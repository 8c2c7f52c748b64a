"""Applications that are converted for the broker of the bed and run there as deployments."""
