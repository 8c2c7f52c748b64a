"""What everyone who uses the simulated platform is told, in one place."""

from __future__ import annotations

SIMULATED = (
    "SIMULATED SGX: this platform is software. It shows how confidential containers work and protects nothing from "
    "this machine's root, who can read its enclaves and its keys."
)

NOT_HELD_AS_ONE_USER = (
    "Platform, spawner and enclaves run as one user: another process of that user can read the fuses and signal the "
    "platform, and one that may create user namespaces can enter an enclave's namespaces. "
    "Set KLOISTER_PLATFORM_USER and start as root to give the platform a user of its own."
)

INHERITED_SOCKET_ONLY = (
    "This kernel does not name the sender of a message (SO_PASSPIDFD, Linux 6.5): only the socket that an enclave's "
    "first process inherits is answered, and whoever gets hold of that socket is taken for the enclave."
)
