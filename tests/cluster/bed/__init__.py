"""A Kubernetes cluster of two nodes on this machine, in namespaces of its own, built from Debian's packages."""
