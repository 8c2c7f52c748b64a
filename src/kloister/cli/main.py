"""The `kloister` command: a table of verbs. Only the verb that was typed is imported, so that a command starts fast."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kloister.cli import quick, running, streams
from kloister.cli.words import told

if TYPE_CHECKING:
    import typer

# verb -> (module:attribute, what it does); an attribute that is a Typer is a group of verbs
VERBS: dict[str, tuple[str, str]] = {
    "demo": ("kloister.cli.demo:demo", "Show the main job: real images run attested, every attack on them refused."),
    "up": ("kloister.cli.stack:up", "Start the embedded stack: platform, broker, attestation."),
    "down": ("kloister.cli.stack:down", "Stop the embedded stack; its state stays."),
    "status": ("kloister.cli.stack:status", "Say what of the stack runs, where, and what it holds."),
    "convert": ("kloister.cli.convert:convert", "Make an image confidential: measure, sign, encrypt, emit its policy."),
    "run": ("kloister.cli.run:run", "Run a converted image in an enclave on this machine."),
    "verify": ("kloister.cli.verify:verify", "Say whether evidence is genuine and acceptable."),
    "collateral": ("kloister.cli.collateral:collateral_app", "Keep collateral for places without a network."),
    "image": ("kloister.cli.image:image_app", "Import and inspect images."),
    "policy": ("kloister.cli.policy:policy_app", "Apply, list and show release policies."),
    "secret": ("kloister.cli.secret:secret_app", "List and set the secrets of a policy."),
    "audit": ("kloister.cli.audit:audit_app", "Show and verify the broker's audit log."),
    "explain": ("kloister.cli.explain:explain", "Explain a refusal by its id, or a reason code."),
    "simulator": ("kloister.cli.simulator:simulator_app", "Work with the simulated SGX platform."),
    "kube": ("kloister.cli.kube:kube_app", "Install Kloister in a cluster, check it, take it away."),
    "node": ("kloister.cli.node:node_app", "Look at the nodes of a cluster."),
    "doctor": ("kloister.cli.doctor:doctor", "Say what of this machine is missing, and how to mend it."),
    "serve": ("kloister.cli.serve:serve_app", "Run one daemon in the foreground."),
    "version": ("kloister.cli.version:version", "Print the version."),
}

EPILOG = "Every command that prints a result takes -o json, short --json. Exit codes: 0 done, 1 refused, 2 misuse."


def _load(target: str) -> Any:
    module, attribute = target.split(":")
    return getattr(importlib.import_module(module), attribute)


def _placeholder(summary: str) -> Callable[[], None]:
    def verb() -> None:
        """Stands in the help text for a verb that was not typed."""

    verb.__doc__ = summary
    return verb


def build(typed: str | None) -> typer.Typer:
    """The application with the typed verb really loaded; all of them when `typed` is None."""
    import typer

    app = typer.Typer(
        name="kloister",
        help="Runs existing, unmodified containers confidentially.",
        epilog=EPILOG,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(lambda: None)  # one verb stays a verb: Typer would otherwise drop its name
    for verb, (target, summary) in VERBS.items():
        if typed is not None and typed != verb:
            app.command(verb, help=summary)(_placeholder(summary))
            continue
        loaded = _load(target)
        if isinstance(loaded, typer.Typer):
            app.add_typer(loaded, name=verb, help=summary)
        else:
            app.command(verb, short_help=summary, context_settings=getattr(loaded, "context_settings", None))(loaded)
    return app


def _command(app: typer.Typer) -> Any:
    """The application to call; what cannot be read is refused by the command, as what is missing, not as misuse."""
    from typer.main import get_command

    whole = get_command(app)
    commands: list[Any] = [whole]
    for command in commands:
        commands.extend(getattr(command, "commands", {}).values())
        for parameter in command.params:
            parameter.type_descriptor.parameter_info.readable = False
    return whole


def normalise(arguments: list[str]) -> list[str]:
    """`-o json` and `--output=json` become `--json`; what follows `--` is left alone."""
    result: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            return [*result, argument, *rest]
        following = next(rest, None) if argument in ("-o", "--output") else None
        if following == "json" or argument in ("-ojson", "--output=json"):
            result.append("--json")
        else:
            result.extend([argument] if following is None else [argument, following])
    return result


def run(arguments: list[str] | None = None) -> None:
    """Entry point of the console script."""
    streams.prepare()
    arguments = normalise(sys.argv[1:] if arguments is None else arguments)
    sys.exit(streams.finish(_status(arguments)))


def _status(arguments: list[str]) -> int:
    try:
        if arguments[:1] == ["run"] and (request := quick.read(arguments[1:])) is not None:
            return running.follow(request)
        typed = next((argument for argument in arguments if not argument.startswith("-")), "")
        _command(build(typed))(args=arguments, prog_name="kloister")
    except SystemExit as leaving:  # how Typer ends every command
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 -- no traceback reaches a user
        return told(error)
    return 0
