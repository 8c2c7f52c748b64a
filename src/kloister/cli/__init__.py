"""One file per verb; reads the command line, calls a service, prints the result; no logic."""
