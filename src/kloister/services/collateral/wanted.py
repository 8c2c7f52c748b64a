"""Which collateral a quote needs: told by its own, still unverified, PCK certificate."""

from __future__ import annotations

from kloister.errors import Malformed, Unavailable
from kloister.formats.dcap import CertificationType, PckExtension, Quote, TeeType
from kloister.formats.dcap.pck_extension import OID as SGX_EXTENSION
from kloister.formats.pki import Certificate, parse_chain
from kloister.services.collateral.model import Tee, Update, Wanted

_CHAINS = (CertificationType.PCK_LEAF, CertificationType.PCK_CHAIN)


def wanted_by(quote: bytes, update: Update = Update.STANDARD, evaluation_number: int | None = None) -> Wanted:
    """What to fetch for a quote. A lie in it leads to collateral that its verification then refuses.

    Raises:
        Malformed: `quote-*`, `pck-chain-*`, `pck-extension-*`, `certificate-*`.
        Unavailable: `collateral-no-pck`, the quote carries no PCK certificate.
    """
    parsed = Quote.parse(quote)
    certification = parsed.authentication.certification
    if certification.type not in _CHAINS:
        raise Unavailable(
            "collateral-no-pck",
            "The quote carries no PCK certificate, so its platform family is not known.",
            "Give the collateral, with the platform's PCK certificate chain in it, by --collateral FILE.",
        )
    pck = parse_chain(certification.data, "pck-chain")[0]
    return Wanted(
        tee=Tee.TDX if parsed.header.tee_type == TeeType.TDX else Tee.SGX,
        fmspc=_family(pck),
        ca="processor" if b"Processor" in pck.issuer else "platform",
        update=update,
        evaluation_number=evaluation_number,
    )


def _family(pck: Certificate) -> bytes:
    if SGX_EXTENSION not in pck.extensions:
        raise Malformed("pck-extension-missing", "The PCK certificate lacks the SGX extension.")
    return PckExtension.parse(pck.extensions[SGX_EXTENSION]).fmspc
