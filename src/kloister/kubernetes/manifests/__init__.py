"""What a cluster gets, as data: `base` (Kustomize), `simulated` over it, and the same rendered without any program."""
