"""`kloister serve node`: the agent of one node of a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kloister.cli.console import guarded

_Simulate = Annotated[
    str,
    typer.Option(
        envvar="KLOISTER_NODE_SIMULATE",
        metavar="SIZE[,SIZE..]",
        help="Offer a simulated node with so much EPC, one size for each NUMA node; `platform`: what that has "
        "[default: the machine's SGX].",
    ),
]
_Kubelet = Annotated[Path, typer.Option(metavar="DIR", help="The kubelet's folder.")]
_Run = Annotated[
    Path,
    typer.Option(
        metavar="DIR",
        help="The agent's folder, on a tmpfs, under the same path on the host: containers get parts of it.",
    ),
]
_Quotes = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="The quote socket's folder on the host [default: RUN/quotes]."),
]
_Platform = Annotated[
    Path | None,
    typer.Option(
        envvar="KLOISTER_NODE_PLATFORM",
        metavar="SOCKET",
        help="With --simulate: the control socket of `kloister serve platform`, which builds the enclaves.",
    ),
]
_Aesm = Annotated[Path, typer.Option(metavar="SOCKET", help="Intel's aesmd, which makes the quotes of real SGX.")]
_Root = Annotated[Path, typer.Option(metavar="DIR", help="Where the host's /dev, /proc and /sys are.")]
_Listen = Annotated[str, typer.Option(envvar="KLOISTER_NODE_LISTEN", help="HOST:PORT of metrics and health.")]
_NodeName = Annotated[
    str,
    typer.Option(
        envvar="KLOISTER_NODE_NAME", help="Report as the ConfidentialNode of this name [default: report nothing]."
    ),
]
_Places = Annotated[
    int, typer.Option(min=1, max=4096, help="Containers of the node that may have the device nodes at once.")
]
_Library = Annotated[
    str,
    typer.Option(
        "--quote-library",
        metavar="NAME",
        envvar="KLOISTER_NODE_QUOTE_LIBRARY",
        help="Intel's quote library, loaded where aesmd is not there at the start; empty: never.",
    ),
]
_Abstract = Annotated[
    str,
    typer.Option(
        "--abstract-socket",
        metavar="NAME",
        envvar="KLOISTER_NODE_ABSTRACT_SOCKET",
        help="Serve quotes at this abstract socket, too, for programs in the agent's network namespace; "
        "Gramine and Intel's SDK look for sgx_aesm_socket_base [default: none].",
    ),
]
_Block = Annotated[
    str,
    typer.Option(
        metavar="SIZE",
        envvar="KLOISTER_NODE_BLOCK",
        help="Size of an EPC block, the same on all nodes of a cluster [default: by this node's EPC].",
    ),
]
_Cdi = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Name devices for the container runtime in this folder, usually /var/run/cdi: for kubelets with CDI.",
    ),
]
_Account = Annotated[
    Path, typer.Option("--service-account", metavar="DIR", help="With --node-name, in a pod: its service account.")
]


@guarded
def node(
    simulate: _Simulate = "",
    kubelet: _Kubelet = Path("/var/lib/kubelet"),
    run: _Run = Path("/run/kloister"),
    quotes: _Quotes = None,
    platform: _Platform = None,
    aesm: _Aesm = Path("/var/run/aesmd/aesm.socket"),
    root: _Root = Path("/"),
    listen: _Listen = "127.0.0.1:9808",
    node_name: _NodeName = "",
    places: _Places = 110,
    *,
    library: _Library = "libsgx_dcap_ql.so.1",
    abstract: _Abstract = "",
    block: _Block = "",
    cdi: _Cdi = None,
    account: _Account = Path("/var/run/secrets/kubernetes.io/serviceaccount"),
) -> None:
    """Offer this node's SGX to its kubelet, and look after what containers were given, until SIGTERM.

    Examples:  kloister serve node;  kloister serve node --simulate 32Gi,32Gi --platform STATE/platform/control.sock
    """
    from kloister.cli.node_process import become
    from kloister.cli.words import options
    from kloister.kubernetes.node.epc import parse_block, parse_sizes
    from kloister.serve.node import Options
    from kloister.serve.node_platform import ITS_OWN
    from kloister.services.broker.binding import parse_address

    with options():
        parse_address(listen)
        sections = parse_sizes(simulate) if simulate and simulate != ITS_OWN else ()
        if block:
            parse_block(block, sections)
    become(
        Options(
            simulate=simulate,
            block=block,
            kubelet=kubelet.absolute(),
            run=run.absolute(),
            quotes=quotes and quotes.absolute(),
            platform=platform and platform.absolute(),
            aesm=aesm.absolute(),
            library=library,
            abstract=abstract,
            root=root.absolute(),
            listen=listen,
            node=node_name,
            places=places,
            cdi=cdi and cdi.absolute(),
            account=account.absolute(),
        )
    )
