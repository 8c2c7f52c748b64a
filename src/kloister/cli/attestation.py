from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kloister.cli.console import guarded
from kloister.cli.options import StateOption

Text = str | None
Number = int | None
File = Path | None


def _option(help_text: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(help=help_text)
    return option


@guarded
def attestation(
    *,
    config: Annotated[File, typer.Option(help="The settings, TOML; what is given here wins over it.")] = None,
    state: StateOption = None,
    listen: Annotated[Text, _option("HOST:PORT to listen at.")] = None,
    workers: Annotated[Number, _option("Processes; one per processor is best.")] = None,
    instances: Annotated[Text, _option('TOML: [{base_url = "https://..", trust_model = "aad"}].')] = None,
    database: Annotated[Text, _option("sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME.")] = None,
    root_key: Annotated[File, _option("The key that encrypts signing keys; made at first start.")] = None,
    tls_certificate: Annotated[File, _option("PEM; without it the service makes an authority of its own.")] = None,
    tls_key: Annotated[File, _option("PEM.")] = None,
    tee_socket: Annotated[File, _option("Of the enclave it runs in: /dev/attestation/socket.")] = None,
    auth_oidc_issuer: Annotated[Text, _option("Whose tokens administer.")] = None,
    auth_oidc_audience: Annotated[Text, _option("For whom these tokens must be.")] = None,
    auth_oidc_ca: Annotated[File, _option("CA of the issuer's server [default: the machine's].")] = None,
    auth_oidc_subjects: Annotated[Text, _option("Who of them (sub or oid) administers, separated by blanks.")] = None,
    auth_oidc_readers: Annotated[Text, _option("Who of them reads.")] = None,
    auth_dangerous_oidc_everybody: Annotated[Text, _option("true: all of them administer.")] = None,
    auth_dangerous_bearer_tokens: Annotated[Text, _option("Fixed tokens, separated by blanks.")] = None,
    collateral_directory: Annotated[File, _option("Bundles of collateral.")] = None,
    collateral_pcs_url: Annotated[Text, _option("A PCS or PCCS to fetch collateral from.")] = None,
    collateral_kds_url: Annotated[Text, _option("AMD's service, for revocation lists.")] = None,
    collateral_ca: Annotated[File, _option("CA of these sources [default: the machine's].")] = None,
    collateral_cache: Annotated[File, _option("Where fetched collateral is kept.")] = None,
    appraisal_accept: Annotated[Text, _option("TCB statuses, separated by blanks.")] = None,
    appraisal_policy: Annotated[File, _option("An appraisal policy for results in the form EAR.")] = None,
    appraisal_extra_roots: Annotated[Text, _option("Certificates (DER or PEM) of further roots.")] = None,
    appraisal_dangerous_at: Annotated[Text, _option("Judge collateral as if it were this time.")] = None,
    tokens_algorithm: Annotated[Text, _option("RS256, ES256 or ES384; Azure's clients need RS256.")] = None,
    tokens_validity: Annotated[Number, _option("Seconds.")] = None,
    tokens_audience: Annotated[Text, _option("The claim aud; none where it is not given.")] = None,
    keys_rotation: Annotated[Number, _option("Seconds that a key signs.")] = None,
    policies_monotonic_iat: Annotated[Text, _option("true: signed policies need a later iat each time.")] = None,
    audit_attestations: Annotated[Text, _option("true: note each attestation in the audit log.")] = None,
    logs_requests: Annotated[Text, _option("false: do not log each answer.")] = None,
    limits_body: Annotated[Number, _option("Bytes of a request's body.")] = None,
    limits_seconds: Annotated[Number, _option("Seconds for one request.")] = None,
    limits_concurrency: Annotated[Number, _option("Connections of one worker.")] = None,
    limits_rate: Annotated[Number, _option("Requests per second and client; 0: no limit.")] = None,
) -> None:
    """Run the attestation service until SIGTERM.

    Without --config it is the service that `kloister up` starts: for the simulated platform of the state directory.
    Each key a.b of the settings is the option --a-b here, and the variable KLOISTER_ATTESTATION_A_B.

    Example:  kloister serve attestation --config /etc/kloister/attestation.toml
    """
    given = locals()
    if config is None:
        from kloister.serve import attestation_beside
        from kloister.serve.state import ATTESTATION_ADDRESS, State

        attestation_beside.run(State.at(state), listen or ATTESTATION_ADDRESS)
        return

    import os

    from kloister.services.attestation.settings import KEYS, Settings

    options = {key: given[key.replace(".", "_")] for key in KEYS} | {"instances": instances}
    settings = Settings.load(config, os.environ, options)

    from kloister.serve.attestation import run

    run(settings)
