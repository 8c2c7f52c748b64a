"""The reason codes of the broker, its storage and the appraisal service."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from kloister.errors import Reason

_QUOTE = "Give a quote (raw, hexadecimal, base64), an RA-TLS certificate, KBS evidence, or https://HOST:PORT."
_YAML = "Mend the document at the line and column that are named."
_RESTORE = "Restore it from a copy of the state directory."

REASONS: Mapping[str, Reason] = MappingProxyType({
    # evidence
    "evidence-empty": Reason("The evidence is empty.", _QUOTE),
    "evidence-size": Reason("The evidence has more bytes than any quote.", _QUOTE),
    "evidence-unknown": Reason("This is no evidence that is known.", _QUOTE),
    "endorsement-missing": Reason(
        "Without the certificates of the chip's key an SNP report cannot be judged.",
        "Give the VCEK or VLEK with --vek FILE and its issuers with --chain FILE.",
    ),
    "evidence-not-supported": Reason("This kind of evidence is not verified by this version.", _QUOTE),
    "batch-line": Reason("A line of a batch is no object with quote, collateral and at.", "Correct the line."),
    "batch-unreadable": Reason("A file or line of a batch cannot be read.", "Check the name and its mode."),
    "kbs-evidence": Reason("The JSON of a key broker holds no evidence in a known shape.", _QUOTE),
    "server-address": Reason("This is no address of a server.", "Give https://HOST:PORT."),
    "server-unreachable": Reason("The server cannot be asked for its certificate.", "Check the address."),
    "server-no-certificate": Reason("The server showed no certificate.", "Ask a server that speaks RA-TLS."),
    "root-pem": Reason("The file holds several certificates.", "Give the root alone."),
    "time-syntax": Reason("This is no time.", "Give unix seconds or ISO 8601: 2026-01-15T00:00:00Z."),
    "collateral-unavailable": Reason(
        "The collateral that vouches for platforms cannot be fetched.",
        "See that the broker reaches its platform: `kloister status`.",
    ),
    # policies as text
    "yaml-size": Reason("The document has more bytes than are read.", "Make it smaller."),
    "yaml-encoding": Reason("The document is not UTF-8.", "Save it in UTF-8."),
    "yaml-syntax": Reason("The document is not one YAML 1.2 document.", _YAML),
    "yaml-alias": Reason("Anchors and aliases are not allowed: what is read must be what is written.", _YAML),
    "yaml-tag": Reason("Tags are not allowed.", _YAML),
    "yaml-duplicate-key": Reason("A key is given twice.", _YAML),
    "yaml-ambiguous": Reason(
        "A scalar without quotes means different things to different YAML readers.", "Put it in quotes."
    ),
    "simulated-not-declared": Reason(
        "The policy admits simulated platforms, but this broker is not declared simulated.",
        "Remove the line, or apply the policy to a broker that admits a simulated platform's root.",
    ),
    # secrets
    "secret-unknown": Reason("The policy defines no secret of this name.", "Add it under secrets and apply."),
    "secret-generated": Reason("The broker makes this secret itself.", "Declare it as kind value to upload it."),
    "secret-size": Reason("The value does not have the size that it must have.", "Upload another value."),
    "secret-issuer": Reason("The issuer of a certificate is not in its policy.", "Define it under secrets."),
    "secret-damaged": Reason(
        "A stored secret cannot be decrypted with this root key.",
        "Restore broker.db and root.key together, from the same moment.",
    ),
    # requests
    "refusal-unknown": Reason("There is no refusal of this id.", "`kloister audit show` has all of them in short."),
    "too-many-requests": Reason("Too many requests came without a valid nonce.", "Wait a minute."),
    "origin-refused": Reason("Web pages cannot use this interface.", "Use the kloister command."),
    "host-refused": Reason("The request names a host that this interface does not serve.", "Use its own name."),
    "content-type": Reason("The body is of a type that is not taken.", "Send the type that is named."),
    "body-size": Reason("The body has more bytes than are taken.", "Send less."),
    "body-late": Reason("The body did not arrive in time.", "Try again."),
    "audit-after": Reason("`after` must be a sequence number.", "Take it from `kloister audit show`."),
    "audit-broken": Reason(
        "An entry of the audit log was changed, removed or added.",
        "Nothing mends that: keep the database as evidence, and restore from a copy.",
    ),
    # the broker's own files and ports
    "listen-address": Reason("The address cannot be listened at.", "Give --listen HOST:PORT of this machine."),
    "port-in-use": Reason("Another program listens at the address.", "Choose another: `up --listen HOST:PORT`."),
    "root-key-missing": Reason("The root key is gone, and the database cannot be read without it.", _RESTORE),
    "root-key-damaged": Reason("The root key does not have 32 bytes.", _RESTORE),
    "key-missing": Reason("A private key is gone, but its certificate is there.", _RESTORE),
    "key-damaged": Reason("A stored private key cannot be read.", _RESTORE),
    "key-exposed": Reason(
        "Others can read a private key of the broker.", "Take it for known to them; if it never was exposed: chmod 600."
    ),
    "certificate-damaged": Reason("A stored certificate cannot be read.", _RESTORE),
    "storage-full": Reason("The broker's disk is full.", "Free some space; nothing half-written stays."),
    "storage-failed": Reason("The database cannot be used now.", "Try again; see the broker's log."),
    "storage-damaged": Reason("The file is not a sound database.", _RESTORE),
    "storage-newer": Reason("The database was written by a later version.", "Use that version, or another --state."),
})  # fmt: skip
