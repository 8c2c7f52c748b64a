"""Is it genuine (verifier)? Is it what we want (policy)? Pure: all it judges comes in as arguments."""
