"""Is it genuine (verifier)? Is it what we want (policy)? Pure: bytes, collateral, roots and time come in as arguments."""
