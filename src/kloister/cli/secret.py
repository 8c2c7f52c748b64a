from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from kloister.cli.broker import admin, moment, read, split
from kloister.cli.console import JsonFlag, guarded, print_json, say
from kloister.cli.options import StateOption
from kloister.cli.policy import PolicyName
from kloister.errors import Denied

secret_app = typer.Typer(no_args_is_help=True, help="List and set the secrets of a policy; no value is ever shown.")

SecretName = Annotated[str, typer.Argument(metavar="SECRET", help="The secret's name in the policy.")]


@secret_app.command("list")
@guarded
def list_secrets(policy: PolicyName, state: StateOption = None, *, as_json: JsonFlag = False) -> None:
    """List a policy's secrets: name, kind, where each value comes from.

    Example:  kloister secret list clinic/inference
    """
    secrets = admin(state).secrets(*split(policy))
    if as_json:
        print_json({"secrets": secrets})
        return
    for one in secrets:
        version = f"version {one['version']}" if one["version"] else "-"
        ends = f"until {moment(one['expires'])}" if one["expires"] else ""
        print(f"{one['name']}  {one['kind']}  {one['state']}  {version}  {ends}".rstrip())


@secret_app.command("set")
@guarded
def set_secret(
    policy: PolicyName,
    secret: SecretName,
    file: Annotated[
        Path, typer.Option("--file", help="Read the value from this file; - for standard input, its bytes as they are.")
    ] = Path("-"),
    state: StateOption = None,
    *,
    as_json: JsonFlag = False,
) -> None:
    """Upload a secret's value from a file or standard input (never from the command line, which others can see).

    Example:  kloister secret set clinic/inference licence --file licence.txt
    """
    from kloister.services.broker.secrets import MAX_VALUE

    names = split(policy)
    asked = str(file) == "-" and sys.stdin is not None and sys.stdin.isatty()
    value = _ask(secret) if asked else read(file, MAX_VALUE)
    result = admin(state).set_secret(*names, secret, value)
    if as_json:
        print_json(result)
    else:
        print(f"{policy} {result['name']} version {result['version']}")


@secret_app.command()
@guarded
def show(
    policy: PolicyName,
    secret: SecretName,
    public: Annotated[bool, typer.Option("--public", help="Print the public part: the certificate, PEM.")] = False,
    state: StateOption = None,
    *,
    as_json: JsonFlag = False,
) -> None:
    """Print the public part of a secret; private parts are shown to nobody.

    Example:  kloister secret show clinic/inference ca --public
    """
    if not public:
        raise Denied("secret-private", "A secret's value is shown to nobody.", "Its public part: add --public.")
    certificate = admin(state).certificate(*split(policy), secret)
    if as_json:
        print_json({"name": secret, "public": certificate})
    else:
        print(certificate, end="")


def _ask(secret: str) -> bytes:
    import getpass

    say("The value is not echoed; it ends with Enter.")
    return getpass.getpass(f"{secret}: ", sys.stderr).encode()
