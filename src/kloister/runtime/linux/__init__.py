"""Thin bindings to Linux system calls that Python 3.11 lacks (x86-64); no policy lives here."""
