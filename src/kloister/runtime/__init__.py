"""The runner builds the sandbox of a simulated enclave from outside; the launcher is the first code that runs inside."""
