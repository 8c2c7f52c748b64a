"""The runner builds the sandbox of a simulated enclave; the launcher is the first code that runs inside."""
