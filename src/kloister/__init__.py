"""Kloister runs existing, unmodified containers confidentially on Kubernetes."""

__version__ = "0.1.0"
