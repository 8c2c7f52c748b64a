"""Nodes and clusters. Its rooms talk to the platform through ports; what runs in a pod is `runtime`, not here."""
