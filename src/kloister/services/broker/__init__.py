"""The broker: keeps policies and secrets, and releases secrets to what a policy expects."""
