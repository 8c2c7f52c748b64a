"""Clients of our own services; standard library and `cryptography` only, because the launcher carries them."""
