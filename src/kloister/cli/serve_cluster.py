"""The daemons of a cluster, as commands below `kloister serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from kloister.cli.console import guarded
from kloister.cli.words import options

_Namespace = Annotated[str, typer.Option(envvar="KLOISTER_NAMESPACE", help="The namespace that Kloister is in.")]


@guarded
def webhook(
    listen: Annotated[
        str, typer.Option(envvar="KLOISTER_WEBHOOK_LISTEN", help="HOST:PORT of the webhook.")
    ] = "0.0.0.0:8443",
    namespace: _Namespace = "kloister-system",
    service: Annotated[str, typer.Option(help="The Service that the API server calls.")] = "kloister-webhook",
    configuration: Annotated[str, typer.Option(help="Name of the MutatingWebhookConfiguration.")] = "kloister-webhook",
    broker: Annotated[
        str, typer.Option(envvar="KLOISTER_WEBHOOK_BROKER", help="HOST:PORT of the broker, told to confidential pods.")
    ] = "",
) -> None:
    """Run the webhook that turns a request of EPC into devices and a toleration, until SIGTERM.

    Its keys are made in memory, and its authority is added to the configuration's caBundle: no Secret, no cert-manager.

    Example:  kloister serve webhook --namespace kloister-system --broker broker.kloister-system:7443
    """
    from kloister.serve.webhook import Options, run
    from kloister.services.broker.binding import parse_address

    with options():
        parse_address(listen)
    names = [f"{service}.{namespace}.svc", f"{service}.{namespace}.svc.cluster.local", f"{service}.{namespace}"]
    run(Options(listen, names, configuration, broker))


@guarded
def controller(
    listen: Annotated[
        str, typer.Option(envvar="KLOISTER_CONTROLLER_LISTEN", help="HOST:PORT of health and metrics.")
    ] = "127.0.0.1:8081",
    namespace: _Namespace = "kloister-system",
    taint: Annotated[bool, typer.Option(help="Keep ordinary pods off nodes with EPC.")] = True,
) -> None:
    """Run the controller that writes EPC capacity, labels and taints on nodes, until SIGTERM.

    Example:  kloister serve controller --namespace kloister-system --no-taint
    """
    from kloister.serve.controller import Options, run
    from kloister.services.broker.binding import parse_address

    with options():
        parse_address(listen)
    run(Options(listen, namespace, taint))
