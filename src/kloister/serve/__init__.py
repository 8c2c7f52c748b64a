"""The composition root: reads settings, picks storage, clock and platform, mounts services, runs daemons."""
