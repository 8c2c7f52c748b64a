"""What a TPM signs about itself; whether its key is to be trusted is decided in `trust/verifier/vtpm.py`."""

from kloister.formats.tpm.quote import TpmQuote

__all__ = ["TpmQuote"]
