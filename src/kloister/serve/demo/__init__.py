"""The main job and the attacks on it, on an embedded stack in a temporary state."""
