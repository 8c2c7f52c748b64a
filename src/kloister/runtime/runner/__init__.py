"""Outside, simulated target only: builds the sandbox and fills it with verified files."""
