"""The kinds of evidence, and what is inside one that was recognised."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from kloister.formats.snp import HclBlob
from kloister.trust.verifier import SnpEndorsement
from kloister.trust.verifier.binding import Binding
from kloister.trust.verifier.vtpm import VtpmEvidence


class Kind(StrEnum):
    """What a piece of evidence is."""

    QUOTE = "quote"
    SNP_REPORT = "snp-report"
    AZURE_HCL = "azure-hcl"
    RATLS_CERTIFICATE = "ra-tls-certificate"
    SIGNING_CERTIFICATE = "signing-certificate"  # of an attestation service that runs in a TEE
    KBS_EVIDENCE = "kbs-evidence"
    MAA_TOKEN = "maa-token"  # noqa: S105 -- the name of a kind
    EAR_TOKEN = "ear-token"  # noqa: S105 -- same
    TOKEN = "token"  # noqa: S105 -- same


class Vouched(StrEnum):
    """By what a kind of evidence is judged."""

    COLLATERAL = "collateral"  # Intel's documents
    ENDORSEMENT = "endorsement"  # AMD's certificates
    KEYS = "keys"  # an issuer's


SNP_KINDS = frozenset({Kind.SNP_REPORT, Kind.AZURE_HCL})
TOKEN_KINDS = frozenset({Kind.MAA_TOKEN, Kind.EAR_TOKEN, Kind.TOKEN})


@dataclass(frozen=True, slots=True)
class Evidence:
    """An untrusted quote or report, what it was found in, and what it must be bound to.

    Attributes:
        kind: what it was found in.
        data: the quote, report or blob.
        inner: what that is: `QUOTE`, `SNP_REPORT` or `AZURE_HCL`.
        binding: what its report data must say; where a TPM's quote came with it, the nonce of that.
        endorsement: what came with it to vouch for the chip's key.
        vek: the certificate of that key alone.
        vtpm: the quote of the VM's TPM.
        blob: of a TDX VM on Azure: what its quote's report data must bind; of an SNP VM, `data` is that.
    """

    kind: Kind
    data: bytes = field(repr=False)
    inner: Kind = Kind.QUOTE
    binding: Binding | None = field(default=None, repr=False)
    endorsement: SnpEndorsement | None = field(default=None, repr=False)
    vek: bytes | None = field(default=None, repr=False)
    vtpm: VtpmEvidence | None = field(default=None, repr=False)
    blob: HclBlob | None = field(default=None, repr=False)
