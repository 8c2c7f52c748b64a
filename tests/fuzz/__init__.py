"""Fuzzing of everything that reads foreign bytes: `make fuzz`, and a short run of each target in the suite."""
