"""Layers: tar entries read and checked one by one, merged into one root, written again."""
