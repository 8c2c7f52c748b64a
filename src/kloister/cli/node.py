from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from kloister import clock
from kloister.cli.console import JsonFlag, guarded, print_json
from kloister.errors import Misconfigured
from kloister.kubernetes.install.checking import cluster_states
from kloister.kubernetes.install.kubectl import Kubectl
from kloister.kubernetes.install.nodes import NodeState

node_app = typer.Typer(no_args_is_help=True, help="Look at the nodes of a cluster.", rich_markup_mode=None)
ContextOption = Annotated[str, typer.Option(help="Context of the kubeconfig [default: the present one].")]


@node_app.command("list")
@guarded
def list_nodes(context: ContextOption = "", *, as_json: JsonFlag = False) -> None:
    """List all nodes: EPC in all, asked for, whether quotes can be had.

    Example:  kloister node list
    """
    shown(cluster_states(Kubectl(context), clock.now()), as_json=as_json)


@node_app.command()
@guarded
def describe(
    name: Annotated[str, typer.Argument(help="The node's name.")],
    context: ContextOption = "",
    *,
    as_json: JsonFlag = False,
) -> None:
    """Show everything that is known of one node.

    Example:  kloister node describe worker-3
    """
    found = [state for state in cluster_states(Kubectl(context), clock.now()) if state.name == name]
    if not found:
        raise Misconfigured("node-unknown", f"There is no node {name!r}.", "See `kloister node list`.")
    if as_json:
        print_json(found[0].as_json())
        return
    _described(found[0])


def _described(state: NodeState) -> None:
    report = state.report
    lines = [
        ("node", state.name),
        ("state", state.state),
        ("EPC", f"{_size(state.requested)} of {_size(state.capacity)} asked for"),
    ]
    if report is not None:
        lines += [(f"NUMA node {section.node}", _size(section.bytes)) for section in report.sections]
        lines += [
            ("block", _size(report.block)),
            ("features", " ".join(sorted(report.flags)) or "none"),
            ("simulated", "yes: keeps nothing confidential" if report.simulated else "no"),
            ("quotes", "ready" if report.quotes else f"failing: {report.reason}"),
            ("plugin", report.adopted or "ours"),
            ("seen", f"{report.seen:%Y-%m-%d %H:%M:%S} UTC"),
        ]
    for label, text in lines:
        typer.echo(f"{label:14} {text}")


def shown(states: Sequence[NodeState], *, as_json: bool) -> None:
    """A table, or one object."""
    if as_json:
        print_json({"nodes": [state.as_json() for state in states]})
        return
    typer.echo(f"{'NODE':24} {'STATE':14} {'EPC':>10} {'ASKED':>10}  SIMULATED")
    for state in states:
        simulated = "yes" if state.report and state.report.simulated else "-"
        typer.echo(
            f"{state.name:24} {state.state:14} {_size(state.capacity):>10} {_size(state.requested):>10}  {simulated}"
        )


def _size(number: int) -> str:
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else f"{number >> 20} MiB"
