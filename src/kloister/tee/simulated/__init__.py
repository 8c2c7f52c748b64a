"""The simulated platform: daemon and client; the daemon alone holds the keys."""
