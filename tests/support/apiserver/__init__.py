"""A small API server for the ordinary suite: objects, versions, patches, watches. The real one is in tests/cluster."""
