from __future__ import annotations

from typing import Annotated

import typer

from kloister import clock
from kloister.cli.console import JsonFlag, guarded, print_json, say
from kloister.cli.words import options
from kloister.kubernetes.install.checking import check as checks
from kloister.kubernetes.install.checking import cluster_states
from kloister.kubernetes.install.installing import install as installed
from kloister.kubernetes.install.installing import uninstall as uninstalled
from kloister.kubernetes.install.kubectl import Kubectl
from kloister.kubernetes.manifests.rendering import Choice, render
from kloister.kubernetes.node.epc import parse_sizes

kube_app = typer.Typer(
    no_args_is_help=True, help="Install Kloister in a cluster, check it, take it away.", rich_markup_mode=None
)

ContextOption = Annotated[str, typer.Option(help="Context of the kubeconfig [default: the present one].")]
RegistryOption = Annotated[str, typer.Option(help="HOST/PATH/ of the images, with the slash.")]
TagOption = Annotated[str, typer.Option(help="Tag of the images [default: this version's].")]
SimulateOption = Annotated[
    str, typer.Option(metavar="SIZE[,SIZE..]", help="Simulated nodes with so much EPC, for clusters without SGX.")
]
BrokerOption = Annotated[str, typer.Option(help="HOST:PORT of a broker elsewhere; ours is not installed then.")]


@kube_app.command()
@guarded
def install(
    context: ContextOption = "",
    registry: RegistryOption = "",
    tag: TagOption = "",
    simulate: SimulateOption = "",
    broker: BrokerOption = "",
    timeout: Annotated[int, typer.Option(help="Seconds to wait for each workload; 0: do not wait.", min=0)] = 180,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the objects (JSON) and change nothing.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Install agent, controller, webhook, broker and attestation service with your `kubectl`.

    It can be repeated: what is there is brought up to date. Simulated nodes are those with the label
    kloister.dev/simulate=true; they keep nothing confidential.

    Examples:  kloister kube install --registry registry.example/kloister/;  kloister kube install --simulate 1Gi
    """
    with options():
        if simulate:
            parse_sizes(simulate)
    kubectl = Kubectl(context)
    choice = Choice(simulate=simulate, registry=registry, tag=tag, minor=kubectl.minor(), broker=broker)
    if dry_run:
        print_json({"apiVersion": "v1", "kind": "List", "items": render(choice)})
        return
    objects = installed(kubectl, choice, timeout, say)
    if as_json:
        print_json({"applied": [f"{item['kind']}/{item['metadata']['name']}" for item in objects]})


@kube_app.command()
@guarded
def check(context: ContextOption = "", *, as_json: JsonFlag = False) -> None:
    """Say what keeps Kloister from working in the cluster, and how to mend it. Exit 1 where anything does.

    Example:  kloister kube check --json
    """
    found = checks(Kubectl(context), clock.now())
    if as_json:
        print_json({"ok": all(each.ok for each in found), "checks": [each.as_json() for each in found]})
    else:
        for each in found:
            typer.echo(
                f"{'ok  ' if each.ok else 'FAIL'} {each.text}" + (f"\n     {each.remedy}" if not each.ok else "")
            )
    raise typer.Exit(0 if all(each.ok for each in found) else 1)


@kube_app.command()
@guarded
def status(context: ContextOption = "", *, as_json: JsonFlag = False) -> None:
    """Show the confidential nodes and what they have left.

    Example:  kloister kube status
    """
    from kloister.cli.node import shown

    shown([state for state in cluster_states(Kubectl(context), clock.now()) if state.report], as_json=as_json)


@kube_app.command()
@guarded
def uninstall(context: ContextOption = "", *, as_json: JsonFlag = False) -> None:
    """Take Kloister away: nodes are cleared first; namespace and volumes (keys, policies, audit) stay.

    Example:  kloister kube uninstall
    """
    kubectl = Kubectl(context)
    cleared = uninstalled(kubectl, Choice(simulate="1Gi", minor=kubectl.minor()), say)
    if not cleared:
        say("The controller did not clear all nodes: their capacity sgx.intel.com/epc may be left; see the handbook.")
    if as_json:
        print_json({"nodesCleared": cleared})
    raise typer.Exit(0 if cleared else 1)
