"""The first code that runs inside, on every target; it keeps under 1,500 lines."""
