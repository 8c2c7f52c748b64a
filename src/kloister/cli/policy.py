from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from kloister.cli.broker import admin, moment, read, split
from kloister.cli.console import JsonFlag, guarded, print_json, say
from kloister.cli.endorsement import ChainOption, CrlOption, VekOption
from kloister.cli.options import StateOption
from kloister.cli.words import read_from
from kloister.client.admin import AdminClient
from kloister.errors import Denied

policy_app = typer.Typer(no_args_is_help=True, help="Apply, list and show release policies; check policies.")


class Language(StrEnum):
    """What a policy is written in."""

    RELEASE = "release"  # ours
    MAA = "maa"  # Azure Attestation's


PolicyFile = Annotated[Path, typer.Argument(metavar="FILE", help="The policy, YAML or JSON; - for standard input.")]
LanguageOption = Annotated[
    Language, typer.Option(help="release: of this broker; maa: Azure Attestation's policy language, 1.0 to 1.2.")
]
PolicyName = Annotated[str, typer.Argument(metavar="NAMESPACE/NAME", help="The policy.")]


@policy_app.command()
@guarded
def apply(
    file: PolicyFile,
    keys: Annotated[
        Path | None, typer.Option(help="The .keys.json of `kloister convert`: handed to the broker, then deleted.")
    ] = None,
    state: StateOption = None,
    *,
    as_json: JsonFlag = False,
) -> None:
    """Apply a policy: from now on the broker releases its secrets to what it names.

    Examples:  kloister policy apply app.policy.yaml;  kloister policy apply app.policy.yaml --keys app.keys.json
    """
    client = admin(state)
    result = client.apply(_document(file))
    if keys is not None:
        _hand_over(client, keys, result)
    if as_json:
        print_json(result)
        return
    policy = f"{result['namespace']}/{result['name']}"
    print(f"{policy} version {result['version']} {result['sha256']}" + ("" if result["changed"] else " (unchanged)"))
    for secret in result["generated"]:
        print(f"  generated secret {secret}")
    for secret in result.get("uploaded", []):
        print(f"  uploaded secret {secret}; {keys} is deleted")
    for secret in result["missing"]:
        say(f"  secret {secret} has to be uploaded: kloister secret set {policy} {secret} --file FILE")


@policy_app.command("list")
@guarded
def list_policies(state: StateOption = None, *, as_json: JsonFlag = False) -> None:
    """List the policies of the broker.

    Examples:  kloister policy list;  kloister policy list --json
    """
    policies = admin(state).policies()
    if as_json:
        print_json({"policies": policies})
        return
    for one in policies:
        print(f"{one['namespace']}/{one['name']}  version {one['version']}  {moment(one['applied'])}  {one['sha256']}")
    if not policies:
        say("There is no policy yet: kloister policy apply FILE")


@policy_app.command()
@guarded
def show(policy: PolicyName, state: StateOption = None, *, as_json: JsonFlag = False) -> None:
    """Show the newest version of a policy.

    Example:  kloister policy show clinic/inference
    """
    result = admin(state).policy(*split(policy))
    if as_json:
        print_json(result)
        return
    say(f"version {result['version']}, applied {moment(result['applied'])}, {result['sha256']}")
    print_json(result["document"])  # JSON is YAML: it can be edited and applied again


@policy_app.command()
@guarded
def lint(file: PolicyFile, *, language: LanguageOption = Language.RELEASE, as_json: JsonFlag = False) -> None:
    """Check a policy without a broker, and name what is risky in it.

    Examples:  kloister policy lint app.policy.yaml;  kloister policy lint --language maa attestation.txt
    """
    if language is Language.MAA:
        from kloister.cli import policy_maa

        policy_maa.lint(file, as_json=as_json)
        return
    from kloister.formats.policy import parse_policy
    from kloister.services.yaml import load
    from kloister.trust.policy import template

    data = _document(file)
    with read_from(file, "docs/reference has the fields of a policy."):
        policy = parse_policy(load(data, str(file)))
        template.check(policy)
    warnings = _warnings(policy)
    if as_json:
        print_json({"valid": True, "sha256": policy.sha256, "warnings": warnings})
        return
    for warning in warnings:
        say(f"warning: {warning}")
    print(f"{policy.namespace}/{policy.name} is valid, {policy.sha256}")


@policy_app.command("test")
@guarded
def try_out(
    file: PolicyFile,
    *,
    language: LanguageOption = Language.RELEASE,
    claims: Annotated[
        Path | None, typer.Option(metavar="FILE", help='Try it on these: {"NAME": VALUE, ...}, or a list of claims.')
    ] = None,
    evidence: Annotated[Path | None, typer.Option(metavar="FILE", help="Try it on this quote or SNP report.")] = None,
    collateral: Annotated[Path | None, typer.Option(metavar="FILE", help="A quote's, one JSON document.")] = None,
    vek: VekOption = None,
    chain: ChainOption = None,
    crl: CrlOption = None,
    root: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Trust this root instead of the makers'; may be repeated.")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Judge evidence at this time: unix seconds or ISO 8601 [default: now]."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show which rules fired, which condition failed, and on what value.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Try an attestation policy on claims or evidence: exits 0 where it permits, 1 where it denies.

    Examples:  kloister policy test --language maa attestation.txt --claims claims.json --explain;
    kloister policy test --language maa attestation.txt --evidence quote.bin --collateral collateral.json;
    kloister policy test --language maa attestation.txt --evidence report.bin --vek vcek.der --chain cert_chain.pem
    """
    from kloister.cli import policy_maa

    if language is not Language.MAA:
        raise typer.BadParameter("Only policies of --language maa are tried; `kloister verify` judges evidence.")
    if (claims is None) is (evidence is None):
        raise typer.BadParameter("Give either --claims FILE or --evidence FILE.")
    if evidence is None and (collateral or vek or chain or crl):
        raise typer.BadParameter("--collateral, --vek, --chain and --crl go with --evidence FILE.")
    subject = policy_maa.Subject(
        claims=claims, evidence=evidence, collateral=collateral, vek=vek, chain=chain, crl=crl, roots=root or (), at=at
    )
    if not policy_maa.try_out(file, subject, explain=explain, as_json=as_json):
        raise typer.Exit(1)


def _hand_over(client: AdminClient, keys: Path, result: dict[str, Any]) -> None:
    """Upload the keys that a conversion made; only when the broker has them all is their file deleted."""
    from kloister.images.convert.sidecars import MAX_KEYS, parse_keys

    data = read(keys, MAX_KEYS)
    with read_from(keys, "Name the .keys.json that `kloister convert` wrote beside the image."):
        policy, secrets = parse_keys(data)
    if policy != f"{result['namespace']}/{result['name']}":
        raise Denied("keys-policy", f"{keys} has the keys of {policy}, not of this policy.", "Name the other file.")
    for secret, value in secrets.items():
        client.set_secret(*split(policy), secret, value)
    keys.unlink()
    result["missing"] = [secret for secret in result["missing"] if secret not in secrets]
    result["uploaded"] = sorted(secrets)


def _document(file: Path) -> bytes:
    from kloister.services.yaml import MAX_TEXT

    return read(file, MAX_TEXT)


def _warnings(policy: Any) -> list[str]:
    attestation = policy.attestation
    warnings = [
        f"attestation.any[{index}].sgx.debug: the memory of a debug enclave can be read"
        for index, one in enumerate(attestation.any)
        if one.sgx.debug
    ]
    if not attestation.any:
        warnings.append("attestation.any: with no alternative nobody gets anything")
    if attestation.simulated:
        warnings.append("attestation.simulated: a simulated platform protects nothing from the machine's owner")
    warnings += [f"attestation.tcb.accept: {one}" for one in attestation.tcb.accept if one != "UpToDate"]
    used = {name for service in policy.services for name in _references(service)}
    unused = [
        one.name for one in policy.secrets if one.name not in used and one.kind not in ("symmetric-key", "x509-ca")
    ]
    return warnings + [f"secrets: {name} is not used by any service" for name in unused]


def _references(service: Any) -> frozenset[str]:
    from kloister.trust.policy.template import references

    return references(service)
