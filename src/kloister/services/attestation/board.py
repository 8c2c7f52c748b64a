"""Metrics of all workers in one answer: each writes its own to a file now and then, who is asked adds them up."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from kloister import files

_MAX_FILE = 4 * 1024 * 1024  # bytes of one worker's metrics; some 10 KiB


class Board:
    """Where the workers of one service leave their metrics.

    Args:
        directory: private to them.
        number: of this worker.
    """

    def __init__(self, directory: Path, number: int) -> None:
        self._directory = directory
        self._own = directory / f"{number}.prom"

    def publish(self, text: bytes) -> None:
        """Leave this worker's."""
        files.replace(self._own, text)

    def merged(self, own: bytes) -> bytes:
        """Those of all workers, this one's as they are now."""
        texts = [own]
        for path in sorted(self._directory.glob("*.prom")):
            if path != self._own:
                with path.open("rb") as file:
                    texts.append(file.read(_MAX_FILE))
        return merge(texts)


def merge(texts: Iterable[bytes]) -> bytes:
    """Counters and histograms added up; of gauges, which all workers see alike, the last one that was given."""
    lines: dict[str, list[str]] = {}
    values: dict[str, float] = {}
    for text in texts:
        for family in text_string_to_metric_families(text.decode("utf-8")):
            name = family.name + ("_total" if family.type == "counter" else "")
            head = [f"# HELP {name} {family.documentation}", f"# TYPE {name} {family.type}"]
            keys = lines.setdefault(name, head)
            for sample in family.samples:
                labels = ",".join(f'{label}="{_escaped(value)}"' for label, value in sorted(sample.labels.items()))
                key = f"{sample.name}{{{labels}}}" if labels else sample.name
                if key not in values:
                    keys.append(key)
                adds = family.type in ("counter", "histogram")
                values[key] = (values.get(key, 0.0) if adds else 0.0) + sample.value
    rows = (line if line.startswith("#") else f"{line} {values[line]}" for each in lines.values() for line in each)
    return "\n".join([*rows, ""]).encode("utf-8")


def _escaped(value: str) -> str:
    """A label's value as the exposition format has it."""
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
