"""What the attestation service's settings name: roots, certificates, sources, and who may administer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from kloister import clock
from kloister.errors import KloisterError, Misconfigured, Unavailable
from kloister.formats.pki.unreadable import UNREADABLE
from kloister.serve.collateral import open_amd_source, open_source, tls_of
from kloister.services.appraisal.inputs import parse_any_root, parse_policy
from kloister.services.attestation.auth import Authenticator, FixedBearers, NoBearers, OidcBearers
from kloister.services.attestation.collateral import (
    CollateralPort,
    DirectoryCollateral,
    FetchedCollateral,
    NoCollateral,
)
from kloister.services.attestation.ear import OwnersPolicy
from kloister.services.attestation.exchange import LOG
from kloister.services.attestation.revocation import DirectoryLists, FetchedLists, NoLists, RevocationPort
from kloister.services.attestation.rights import Grants
from kloister.services.attestation.settings import InstanceSettings, Settings
from kloister.services.collateral.settings import Settings as CollateralSettings
from kloister.services.collateral.transport import Endpoint, HttpTransport, Request
from kloister.trust.verifier import AMD_ROOTS, INTEL_ROOT, AmdRoot, Root

T = TypeVar("T")
_OIDC_SECONDS = 5.0  # for one document of the issuer
_MAX_FILE = 1024 * 1024  # bytes of a file, and of a document of the issuer
_UNREADABLE: tuple[type[Exception], ...] = (KloisterError, *UNREADABLE)


def roots(settings: Settings) -> tuple[Sequence[Root], Sequence[AmdRoot]]:
    """Who may vouch: Intel and AMD, and whom the settings add. Raises `Misconfigured`: `attestation-setting`."""
    given = [_read(path, parse_any_root) for path in settings.appraisal_extra_roots]
    intel = [INTEL_ROOT, *(root for root in given if isinstance(root, Root))]
    return intel, [*AMD_ROOTS, *(root for root in given if isinstance(root, AmdRoot))]


def appraisal_policy(settings: Settings) -> OwnersPolicy:
    """What results for RATS are judged by. Raises `Misconfigured`: `attestation-setting`."""
    if settings.appraisal_policy is None:
        return OwnersPolicy.default(settings.appraisal_accept)
    return _read(settings.appraisal_policy, lambda data: OwnersPolicy.of(data, parse_policy(data)))


def _read(path: Path, parse: Callable[[bytes], T]) -> T:
    try:
        with path.open("rb") as file:
            return parse(file.read(_MAX_FILE))
    except OSError as error:
        raise Misconfigured("attestation-setting", f"{path}: {error.strerror}.", "Check the settings.") from None
    except _UNREADABLE as error:
        raise Misconfigured("attestation-setting", f"{path} is not what it must be: {error}", "Correct it.") from None


def certificates(instance: InstanceSettings) -> Sequence[bytes]:
    """The first policy management certificates of an instance, DER. Raises `Misconfigured`: `attestation-setting`."""
    found = [each for path in instance.policy_certificates for each in _read(path, x509.load_pem_x509_certificates)]
    return [each.public_bytes(Encoding.DER) for each in found]


def lists(settings: Settings, roots: Sequence[AmdRoot]) -> RevocationPort:
    """Where AMD's revocation lists come from. Raises `Misconfigured`: `collateral-directory`, `source-*`."""
    if settings.collateral_kds_url is not None:
        source = CollateralSettings.of(
            {}, sources=[f"kds+{settings.collateral_kds_url}"], cache=settings.collateral_cache,
            ca=settings.collateral_ca,
        )  # fmt: skip
        return FetchedLists({root.fingerprint: open_amd_source(source, [root]) for root in roots}, clock.monotonic)
    if settings.collateral_directory is not None:
        return DirectoryLists(settings.collateral_directory, LOG.warning)
    return NoLists()


def collateral(settings: Settings, roots: Sequence[Root], lists: RevocationPort) -> CollateralPort:
    """Where Intel's collateral comes from. Raises `Misconfigured`: `collateral-directory`, `source-*`."""
    if settings.collateral_directory is not None:
        needed = not lists.windows()  # who judges SNP reports alone has nothing of Intel's
        return DirectoryCollateral(settings.collateral_directory, LOG.warning, needed=needed)
    if settings.collateral_pcs_url is None:
        return NoCollateral()
    url = settings.collateral_pcs_url
    source = CollateralSettings.of(
        {}, sources=[url if "+" in url else f"pcs+{url}"], cache=settings.collateral_cache, ca=settings.collateral_ca
    )  # fmt: skip
    return FetchedCollateral(open_source(source, roots), clock.monotonic)


def authenticator(settings: Settings) -> Authenticator:
    """Who may administer. Raises `Misconfigured`: `source-ca`."""
    if settings.auth_dangerous_bearer_tokens:
        return FixedBearers(settings.auth_dangerous_bearer_tokens)
    if settings.auth_oidc_issuer is None or settings.auth_oidc_audience is None:
        return NoBearers()
    context = tls_of(settings.auth_oidc_ca)

    def fetch(url: str) -> bytes:
        transport = HttpTransport(frozenset({Endpoint.of(url)}), context, clock.monotonic)
        answer = transport.get(Request(url, limit=_MAX_FILE), clock.monotonic() + _OIDC_SECONDS)
        if answer.status != 200:  # noqa: PLR2004  OK
            raise Unavailable("oidc-status", f"The issuer of tokens answered {answer.status}.", "Try again.")
        return answer.body

    grants = Grants(
        writers=settings.auth_oidc_subjects,
        readers=settings.auth_oidc_readers,
        everybody=not (settings.auth_oidc_subjects or settings.auth_oidc_readers),
    )
    return OidcBearers(settings.auth_oidc_issuer, settings.auth_oidc_audience, fetch, grants)
