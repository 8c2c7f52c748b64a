"""The kubelet's device plugin: what is offered, served on sockets of its own, registered and registered again."""
