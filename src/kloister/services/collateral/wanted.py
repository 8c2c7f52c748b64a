"""Which collateral a quote needs: told by its own, still unverified, PCK certificate, or by the platform it names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kloister.errors import Unavailable
from kloister.formats.dcap import CertificationType, Quote, TeeType
from kloister.formats.pki import Certificate, parse_chain
from kloister.formats.wire import Cursor
from kloister.services.collateral.admission import pck_extension
from kloister.services.collateral.model import Key, Kind, Tee, Update, Wanted
from kloister.trust.root import Root
from kloister.trust.verifier.chain import PCK_CHAIN, prove_chain

_CHAINS = (CertificationType.PCK_LEAF, CertificationType.PCK_CHAIN)
# bytes of the PPID in front of CPUSVN, PCESVN and PCEID (DCAP API A.4, certification data 1 to 3)
_PPIDS = {CertificationType.PPID_PLAIN: 16, CertificationType.PPID_RSA2048: 256, CertificationType.PPID_RSA3072: 384}
_QE_ID = 16  # bytes at the start of the header's user data


def wanted_by(quote: bytes, update: Update = Update.STANDARD, evaluation_number: int | None = None) -> Wanted:
    """What to fetch for a quote. A lie in it leads to collateral that its verification then refuses.

    Raises:
        Malformed: `quote-*`, `pck-chain-*`, `pck-extension-*`, `certificate-*`, `certification-ppid-*`.
        Unavailable: `collateral-no-pck`, the quote names no platform.
    """
    parsed = Quote.parse(quote)
    certification = parsed.authentication.certification
    tee = Tee.TDX if parsed.header.tee_type == TeeType.TDX else Tee.SGX
    wanted = Wanted(tee=tee, update=update, evaluation_number=evaluation_number)
    if certification.type in _CHAINS:
        return of_platform(wanted, parse_chain(certification.data, "pck-chain")[0])
    if certification.type not in _PPIDS:
        raise no_pck("The quote carries no PCK certificate and names none")
    qe_id = parsed.header.user_data[:_QE_ID]
    return replace(wanted, pck=_named(certification.data, certification.type, qe_id))


def of_platform(wanted: Wanted, pck: Certificate) -> Wanted:
    """The same for the platform of a PCK certificate. Raises `Malformed`: `pck-extension-*`."""
    ca = "processor" if b"Processor" in pck.issuer else "platform"
    return replace(wanted, fmspc=pck_extension(pck).fmspc, ca=ca)


def require_vouched(quote: bytes, roots: Sequence[Root]) -> None:
    """Return if a root vouches for the PCK certificate in a quote: a stranger's lie must not send us to the network.

    Raises:
        Malformed: `quote-*`, `pck-chain-*`, `certificate-*`.
        Unverified: `root-untrusted` and others of `trust/verifier/chain.py`; dates and revocation are judged later.
    """
    certification = Quote.parse(quote).authentication.certification
    if certification.type is CertificationType.PCK_CHAIN:
        prove_chain(parse_chain(certification.data, "pck-chain"), PCK_CHAIN, roots)


def no_pck(why: str) -> Unavailable:
    """The refusal where a quote's platform cannot be known."""
    return Unavailable(
        "collateral-no-pck",
        f"{why}, so its platform family is not known.",
        "Name a source that has the platform's certificate (its PCCS, or Intel's PCS with an API key), or give the "
        "collateral with `pck_certificate_chain` in it by --collateral FILE.",
    )


def _named(data: bytes, kind: CertificationType, qe_id: bytes) -> Key:
    """The certificate that certification data of types 1 to 3 names."""
    cursor = Cursor(data, "certification-ppid")
    sizes = {"ppid": _PPIDS[kind], "cpusvn": 16, "pcesvn": 2, "pceid": 2}
    about = {name: cursor.take(size, name).hex() for name, size in sizes.items()}
    cursor.finish()
    encrypted = "no" if kind is CertificationType.PPID_PLAIN else "yes"
    return Key.of(Kind.PCK, qeid=qe_id.hex(), encrypted=encrypted, **about)
