"""The one writer of nodes: capacity, labels, taints, and the removal of pods that a reboot left behind."""
