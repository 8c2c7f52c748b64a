"""Debian's redis, whose password and configuration come from the broker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kloister.images.samples import make_sample
from tests.cluster.applications.application import Application, Converted
from tests.e2e.redis_commands import Failure, Redis

PROGRAM = Path("/usr/bin/redis-server")
PASSWORD = "cache-9d0e3b7a51c24f68"
_RELEASED = """\
secrets: [{name: password, kind: value}]
services:
  - name: app
    arguments: ["/usr/bin/redis-server", "/run/redis.conf"]
    files:
      - path: /run/redis.conf
        mode: "0444"
        content: |
          bind 0.0.0.0
          port 6379
          save ""
          requirepass {{ secrets.password.value }}
"""
REDIS = Application(
    name="redis",
    policy="cache/redis",
    released=_RELEASED,
    make=lambda destination: make_sample("redis", destination),
    port=6379,
    places=("/run", "/tmp", "/data"),  # noqa: S108 (in the container)
    uploaded={"password": PASSWORD},
)


@dataclass(frozen=True, slots=True)
class RedisCache(Converted):
    """It serves who knows the password."""

    def answers(self, door: int) -> bool:
        """To who knows the password, and nobody else."""
        try:
            with Redis(door, PASSWORD) as known, Redis(door, "another") as other:
                served = known.ask(("SET", "seen", "yes"), ("GET", "seen")) == [b"OK", b"yes"]
                return served and isinstance(other.ask(("GET", "seen"))[0], Failure)
        except OSError:  # it is Ready before it listens
            return False
