"""The quote helper alone, as a process: `quote_helper.py CONTROL SOCKET`; notes its quotes like the node's agent."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry

from kloister.kubernetes import logs
from kloister.kubernetes.node.quotes import Limits, QuoteMetrics, QuoteServer, QuoteSettings, SimulatedBackend

UNLIMITED = Limits(rate=1e9, burst=1e9)  # the one caller here stands for the pods of a node

if __name__ == "__main__":
    logs.configure()
    control, path = map(Path, sys.argv[1:])
    server = QuoteServer(
        QuoteSettings(path, limits=UNLIMITED), SimulatedBackend(control), QuoteMetrics(CollectorRegistry())
    )
    asyncio.run(server.serve())
