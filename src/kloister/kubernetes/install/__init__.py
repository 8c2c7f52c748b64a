"""Kloister in somebody's cluster, through their `kubectl`: whatever logs in there works here too."""
