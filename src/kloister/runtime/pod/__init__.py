"""The first process of a converted image that a container runtime starts by itself, without privileges.

What this profile holds and what it does not is in docs/how-to/pod-profile.md.
"""
