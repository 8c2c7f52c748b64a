"""Which daemon needs what: one image per role, with only its extra."""

from __future__ import annotations

from dataclasses import dataclass

USER = ("kloister", 65532)


@dataclass(frozen=True, slots=True)
class Role:
    """One daemon.

    Attributes:
        name: of the image and of `kloister serve NAME`.
        requirements: file of hashed pins, in `requirements/`.
        root: the daemon needs user 0 inside (folders of the host that only root may use); without capabilities still.
    """

    name: str
    requirements: str
    root: bool = False


ROLES = {
    role.name: role
    for role in (
        Role("node", "node.txt", root=True),
        Role("controller", "node.txt"),
        Role("webhook", "node.txt"),
        Role("platform", "base.txt", root=True),
        Role("broker", "service.txt"),
        Role("attestation", "service.txt"),
    )
}
