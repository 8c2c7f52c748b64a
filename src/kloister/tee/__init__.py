"""Ports to a TEE from inside and outside."""
