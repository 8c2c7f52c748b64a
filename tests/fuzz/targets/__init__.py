"""Every target by its name."""

from __future__ import annotations

from tests.fuzz.target import Target
from tests.fuzz.targets import documents, evidence, guests, images, messages, policies, tees

TARGETS: dict[str, Target] = {
    one.name: one for room in (evidence, documents, guests, images, messages, policies, tees) for one in room.targets()
}
