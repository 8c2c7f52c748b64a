"""Mutation testing: are the tests able to notice a change of the verifier? `make mutants`."""
