"""`kloister serve node`: the agent of one node, composed."""

from __future__ import annotations

import asyncio
import logging
import os
import platform as machine
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry

from kloister.errors import Misconfigured, Unavailable
from kloister.kubernetes import logs
from kloister.kubernetes.node.agent import NO_QUOTES, Agent, Parts
from kloister.kubernetes.node.allocations.book import Allocations
from kloister.kubernetes.node.allocations.cgroups import Cgroups
from kloister.kubernetes.node.allocations.watching import Watch
from kloister.kubernetes.node.detection import NodeFacts, detect, simulated
from kloister.kubernetes.node.epc import EpcSection, parse_block, parse_sizes
from kloister.kubernetes.node.plugin import cdi
from kloister.kubernetes.node.plugin.service import DevicePlugin, Settings
from kloister.kubernetes.node.quotes import (
    ForwardBackend,
    LibraryBackend,
    QuoteBackend,
    QuoteMetrics,
    QuoteServer,
    QuoteSettings,
    Readiness,
    SimulatedBackend,
)
from kloister.kubernetes.node.report import Reporter
from kloister.kubernetes.node.reporting import ACCOUNT, InCluster
from kloister.kubernetes.node.tcb import TcbWatch
from kloister.serve.node_platform import ITS_OWN, SimulatedPlatform, sections_at
from kloister.serve.node_tcb import configured_judge, simulated_judge
from kloister.services.broker.binding import bind_tcp

_LOG = logging.getLogger("kloister.node")
_PRIVATE, _OPEN = 0o711, 0o755
_INCAPABLE = Misconfigured(
    "node-incapable",
    "This node cannot run enclaves.",
    "`kloister doctor` says why; --simulate 64Gi offers the simulated platform.",
)


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator says.

    Attributes:
        simulate: EPC of a simulated node by NUMA node, `32Gi,32Gi`; `platform`: as the platform has it; empty: the
            node's own SGX.
        kubelet: the kubelet's folder.
        run: the agent's folder, on a tmpfs, under the same path on the host: containers get parts of it mounted.
        quotes: the quote socket's folder; None: `quotes` in `run`.
        platform: control socket of the simulated platform; None: nobody builds enclaves or makes quotes.
        aesm: socket of Intel's aesmd, which makes the quotes of real SGX.
        library: Intel's quote library, for where aesmd is not; empty: never.
        abstract: name of an abstract socket beside the quote socket; empty: none.
        root: where the host's files are: /dev, and /proc and /sys.
        listen: HOST:PORT of health and metrics.
        node: name of the Node object whose ConfidentialNode is written; empty: none is.
        places: containers that may have the device nodes at once.
        block: bytes of an EPC block, one size for all nodes of a cluster, `64Mi`; empty: by the node's own EPC.
        cdi: where the container runtime looks for names of devices; None: devices are listed to the kubelet.
        account: the pod's service account, with which it reports; a kubeconfig where there is none.
    """

    simulate: str
    block: str
    kubelet: Path
    run: Path
    quotes: Path | None
    platform: Path | None
    aesm: Path
    root: Path
    listen: str
    node: str
    places: int
    cdi: Path | None = None
    library: str = ""
    abstract: str = ""
    account: Path = ACCOUNT


def run(options: Options) -> None:
    """Run until SIGTERM; on a node of a cluster that cannot run enclaves it says so, and offers nothing.

    Raises:
        Misconfigured: `cdi-folder`, `simulated-epc`, `node-incapable`, `node-folder`, `listen-address`, `port-in-use`,
            `socket-path`, `cluster-unknown`.
    """
    logs.configure()
    facts = _facts(options)
    quotes = options.quotes or options.run / "quotes"
    for folder, mode in ((options.run, _PRIVATE), (quotes, _OPEN)):
        _make(folder, mode)
    if options.cdi is not None:
        cdi.write(options.cdi, facts)
    with bind_tcp(options.listen) as sock:
        asyncio.run(_run(options, facts, quotes, sock))


def _facts(options: Options) -> NodeFacts:
    simulate = options.simulate
    facts = simulated(_sections(options), machine.release()) if simulate else detect(options.root)
    for finding in facts.findings:
        _LOG.log(
            logging.WARNING if finding.remedy else logging.INFO,
            finding.text,
            extra={"code": finding.code, "remedy": finding.remedy},
        )
    if not facts.capable and not options.node:
        raise _INCAPABLE
    return replace(facts, block=parse_block(options.block, facts.epc)) if options.block else facts


def _sections(options: Options) -> tuple[EpcSection, ...]:
    return sections_at(options.platform) if options.simulate == ITS_OWN else parse_sizes(options.simulate)


def _make(folder: Path, mode: int) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(mode)
    except OSError as error:
        raise Misconfigured(
            "node-folder", f"{folder} cannot be used: {error.strerror}.", "Choose another with --run or --quotes."
        ) from None


async def _run(options: Options, facts: NodeFacts, quotes: Path, sock: socket.socket) -> None:
    control = options.platform if facts.simulated else None
    platform = SimulatedPlatform(control, options.run, facts.epc) if control else None
    allocations = Allocations(options.run / "allocations", platform)
    watch = Watch(options.kubelet, allocations, Cgroups(options.root))
    settings = Settings(options.kubelet, quotes, options.places, cdi=options.cdi is not None)
    plugin = DevicePlugin(
        settings, facts, allocations, partial(_healthy, Path("/") if facts.simulated else options.root, facts, watch)
    )
    registry = CollectorRegistry()
    server = _quotes(options, facts, quotes, registry)
    judge = simulated_judge(control) if control else configured_judge(os.environ, options.run / "collateral")
    tcb = TcbWatch(lambda: server.quote if server is not None else None, judge if facts.capable else None)
    async with _reporting(options) as reporter:
        parts = Parts(
            facts=facts,
            plugin=plugin,
            registry=registry,
            allocations=allocations,
            watch=watch,
            quotes=server.serve if server is not None else None,
            readiness=partial(_readiness, facts, server),
            name=options.node,
            reporter=reporter,
            tcb=tcb,
        )
        await Agent(parts, sock).run()


def _quotes(options: Options, facts: NodeFacts, folder: Path, registry: CollectorRegistry) -> QuoteServer | None:
    backend: QuoteBackend
    if not facts.capable:
        return None
    if not facts.simulated:
        backend = _intels(options)
    elif options.platform is not None:
        backend = SimulatedBackend(options.platform)
    else:
        return None
    settings = QuoteSettings(folder / "aesm.socket", options.abstract, proc=options.root / "proc")
    return QuoteServer(settings, backend, QuoteMetrics(registry))


def _intels(options: Options) -> QuoteBackend:
    """Intel's aesmd where it is; else Intel's quote library, if it is here and none of it is waited for."""
    if not options.aesm.exists() and options.library:
        try:
            backend = LibraryBackend(options.library)
        except Unavailable as error:
            _LOG.warning(error.text, extra={"code": error.code, "remedy": error.hint})
        else:
            _LOG.info("quotes of Intel's library", extra={"library": options.library})
            return backend
    return ForwardBackend(options.aesm)


def _readiness(facts: NodeFacts, server: QuoteServer | None) -> Readiness:
    if not facts.capable:
        return Readiness.of(_INCAPABLE)
    return NO_QUOTES if server is None else server.readiness


@asynccontextmanager
async def _reporting(options: Options) -> AsyncIterator[Reporter | None]:
    """Where the node's reports go: to the API server, or nowhere without a name."""
    inside = InCluster.find(os.environ, options.account)
    if not options.node or inside is not None:
        yield inside.write_report if inside is not None and options.node else None
        return
    from kloister.kubernetes.cluster import Cluster  # noqa: PLC0415 -- 15 MB for whoever has a kubeconfig

    cluster = Cluster()
    try:
        yield cluster.write_report
    finally:
        await cluster.close()


def _healthy(root: Path, facts: NodeFacts, watch: Watch) -> bool:
    """Whether the device nodes are there, and the platform that builds the enclaves of a simulated one answers."""
    present = all((root / device.host.lstrip("/")).exists() for device in facts.devices)
    return present and not isinstance(watch.platform_error, Unavailable | Misconfigured)
