from __future__ import annotations

from collections.abc import Mapping
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any

import typer

from kloister.cli.console import guarded
from kloister.cli.options import StateOption

Text = str | None
Number = int | None
File = Path | None

# The settings, `_` for the dot in their keys: what they are on the command line, and their help
OPTIONS: Mapping[str, tuple[Any, str]] = {
    "listen": (Text, "HOST:PORT to listen at."),
    "workers": (Number, "Processes; one per processor is best."),
    "instances": (Text, 'TOML: [{base_url = "https://..", trust_model = "aad"}].'),
    "database": (Text, "sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME."),
    "root_key": (File, "The key that encrypts signing keys; made at first start."),
    "tls_certificate": (File, "PEM; without it the service makes an authority of its own."),
    "tls_key": (File, "PEM."),
    "tee_socket": (File, "Of the enclave it runs in: /dev/attestation/socket."),
    "auth_oidc_issuer": (Text, "Whose tokens administer."),
    "auth_oidc_audience": (Text, "For whom these tokens must be."),
    "auth_oidc_ca": (File, "CA of the issuer's server [default: the machine's]."),
    "auth_oidc_subjects": (Text, "Who of them (sub or oid) administers, separated by blanks."),
    "auth_oidc_readers": (Text, "Who of them reads."),
    "auth_dangerous_bearer_tokens": (Text, "Fixed tokens, separated by blanks."),
    "collateral_directory": (File, "Bundles of collateral."),
    "collateral_pcs_url": (Text, "A PCS or PCCS to fetch collateral from."),
    "collateral_kds_url": (Text, "AMD's service, for revocation lists."),
    "collateral_ca": (File, "CA of these sources [default: the machine's]."),
    "collateral_cache": (File, "Where fetched collateral is kept."),
    "appraisal_accept": (Text, "TCB statuses, separated by blanks."),
    "appraisal_policy": (File, "An appraisal policy for results in the form EAR."),
    "appraisal_extra_roots": (Text, "Certificates (DER or PEM) of further roots."),
    "appraisal_dangerous_at": (Text, "Judge collateral as if it were this time."),
    "tokens_algorithm": (Text, "RS256, ES256 or ES384; Azure's clients need RS256."),
    "tokens_validity": (Number, "Seconds."),
    "tokens_audience": (Text, "The claim aud; none where it is not given."),
    "keys_rotation": (Number, "Seconds that a key signs."),
    "policies_monotonic_iat": (Text, "true: signed policies need a later iat each time."),
    "audit_attestations": (Text, "true: note each attestation in the audit log."),
    "logs_requests": (Text, "false: do not log each answer."),
    "limits_body": (Number, "Bytes of a request's body."),
    "limits_seconds": (Number, "Seconds for one request."),
    "limits_concurrency": (Number, "Connections of one worker."),
    "limits_rate": (Number, "Requests per second and client; 0: no limit."),
}


def _parameters() -> list[Parameter]:
    """What Typer reads: all of them named, and absent where they are not given."""
    config = typer.Option(help="The settings, TOML; what is given here wins over it.")
    found: dict[str, Any] = {"config": Annotated[File, config], "state": StateOption}
    found |= {name: Annotated[kind, typer.Option(help=text)] for name, (kind, text) in OPTIONS.items()}
    return [Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=kind) for name, kind in found.items()]


@guarded
def attestation(*, config: Path | None, state: Path | None, **given: Any) -> None:
    """Run the attestation service until SIGTERM.

    Without --config it is the service that `kloister up` starts: for the simulated platform of the state directory.
    Each key a.b of the settings is the option --a-b here, and the variable KLOISTER_ATTESTATION_A_B.

    Example:  kloister serve attestation --config /etc/kloister/attestation.toml
    """
    if config is None:
        from kloister.serve import attestation_beside
        from kloister.serve.state import ATTESTATION_ADDRESS, State

        attestation_beside.run(State.at(state), given["listen"] or ATTESTATION_ADDRESS)
        return

    import os

    from kloister.services.attestation.settings import KEYS, Settings

    options = {key: given[key.replace(".", "_")] for key in (*KEYS, "instances")}
    settings = Settings.load(config, os.environ, options)

    from kloister.serve.attestation import run

    run(settings)


attestation.__signature__ = Signature(_parameters())  # type: ignore[attr-defined]  # instead of one in the source for each
attestation.__annotations__ = {each.name: each.annotation for each in _parameters()}
