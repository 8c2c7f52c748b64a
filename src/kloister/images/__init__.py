"""Images in and out: sources, import, conversion, encryption, the pack that a sandbox is filled from."""
