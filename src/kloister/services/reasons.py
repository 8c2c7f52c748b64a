"""The reason codes of the broker, its storage and the appraisal service."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from kloister.errors import BUG, Reason

_QUOTE = "Give a quote (raw, hexadecimal, base64), an RA-TLS certificate, KBS evidence, or https://HOST:PORT."
_ISSUER = "Fetch its keys from where you trust, and give them: --jwks FILE."
_SOURCES = "Check the network, name sources that are reached (--source), or give --collateral FILE."
_ANSWER = "See what answers at the address of the source; nothing of it was kept."
_PACK = "`kloister collateral export` writes packs."
_BUNDLE = "`kloister verify --bundle-out FILE` writes bundles."
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
    "tee-unknown": Reason("Evidence of a TEE that is not known here.", BUG),
    "image-measurement": Reason(
        "The evidence is of another enclave than the image that was named.",
        "Name the image that runs there; one that was converted again is another enclave.",
    ),
    "token-keys-missing": Reason(
        "Without its issuer's keys a token cannot be verified.",
        "If you trust the issuer, give its keys (--jwks FILE) or have them fetched (--issuer URL).",
    ),
    "issuer-url": Reason("This is no issuer whose keys could be fetched.", "Give its keys: --jwks FILE."),
    "issuer-unreachable": Reason("The keys of an issuer cannot be fetched.", "Give its keys: --jwks FILE."),
    "issuer-metadata": Reason("The metadata are another issuer's, or do not say where its keys are.", _ISSUER),
    "issuer-keys-elsewhere": Reason("The keys of an issuer are not at its own host.", _ISSUER),
    "policy-claims-field": Reason(
        "The claims for trying an attestation policy are not those of a token, nor a list of claims.",
        'Write {"NAME": VALUE}, or [{"type": NAME, "value": VALUE, "issuer": "CustomClaim"}].',
    ),
    "policy-evidence-kind": Reason(
        "An attestation policy is tried on quotes; this is other evidence.", "Give its claims with --claims."
    ),
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
    # collateral
    "collateral-unreachable": Reason("No source of collateral answers.", _SOURCES),
    "collateral-unknown": Reason(
        "The sources answer, but do not have this collateral.",
        "Check platform family and evaluation number, or add a --source.",
    ),
    "collateral-retired": Reason(
        "This TCB evaluation data number is no longer published.", "Ask for a newer one, or for --update standard."
    ),
    "collateral-refused": Reason(
        "The sources answer, but with nothing that is genuine and current; nothing of it was kept.",
        "See what answers there; for a simulated platform name its root (--root).",
    ),
    "collateral-not-held": Reason(
        "The cache holds no valid collateral of this kind, and nothing may be fetched.",
        "Leave out --offline, or import a pack: `kloister collateral import`.",
    ),
    "collateral-no-pck": Reason(
        "The quote carries no PCK certificate, and the one that it names cannot be had.",
        "Name a source that has it (the platform's PCCS, or Intel's PCS with an API key), or give the collateral, with "
        "`pck_certificate_chain` in it, by --collateral.",
    ),
    "collateral-vlek": Reason(
        "The report was signed by a VLEK, which AMD hands to cloud providers only.", "Give --vek and --chain."
    ),
    "collateral-chip-masked": Reason(
        "The report's CHIP_ID is masked, so nobody can say which certificate is its.", "Give --vek and --chain."
    ),
    "collateral-product": Reason(
        "The report does not say of which product line it is, or of one that is not known.", "Give --vek and --chain."
    ),
    "ask-issuer": Reason("AMD's chain holds a certificate that the root did not issue.", _ANSWER),
    "collateral-other": Reason("A source sent another document than the one asked for.", _ANSWER),
    "collateral-timeout": Reason("The time to wait for collateral is 0 to 600 seconds.", "Try 20."),
    "collateral-update": Reason("This is no baseline.", "Say standard or early."),
    "collateral-pack-size": Reason("A pack of collateral has more bytes than are read.", "Export less of it."),
    "collateral-pack-json": Reason("The file is no strict JSON.", _PACK),
    "collateral-pack-format": Reason("The file is no pack of collateral.", _PACK),
    "collateral-pack-hash": Reason("The pack was changed or damaged after it was written.", _PACK),
    "evidence-bundle-size": Reason("A bundle of evidence has more bytes than are read.", _BUNDLE),
    "evidence-bundle-json": Reason("The bundle is no strict JSON.", _BUNDLE),
    "evidence-bundle-format": Reason("The file is no bundle of evidence.", _BUNDLE),
    "evidence-bundle-incomplete": Reason(
        "Nothing is there that vouches for the evidence, so a bundle would never verify.", "Give it, then write it."
    ),
    "evidence-bundle-hash": Reason("The bundle was changed or damaged after it was written.", _BUNDLE),
    "item-key": Reason("An item of collateral does not say what it is.", _PACK),
    "item-field": Reason("A part of an item of collateral is missing or not of its kind.", _PACK),
    "item-kind": Reason("A document was given to one who does not judge its kind.", BUG),
    "roots-missing": Reason("Collateral was to be admitted without a root.", BUG),
    "cache-unusable": Reason("The cache of collateral cannot be written.", "Choose another: --cache DIR."),
    "source-url": Reason("This is no address of a source of collateral.", "Give pcs, thim or KIND+URL."),
    "source-plain": Reason("A source would be asked without TLS over a network.", "Use https."),
    "source-ca": Reason("The CA of the sources cannot be read.", "Name a file of certificates in PEM."),
    "source-host": Reason("A document is at a host that is not among the sources.", "Add it by --source."),
    "source-timeout": Reason("A source did not answer in time.", _SOURCES),
    "source-name": Reason("A source's name could not be resolved.", _SOURCES),
    "source-connection": Reason("The connection to a source failed.", _SOURCES),
    "source-truncated": Reason("A source's answer broke off.", "Try again."),
    "source-threads": Reason("This machine starts no more threads.", "Try again when it has less to do."),
    "source-certificate": Reason("A source's TLS certificate is not trusted.", "Give its CA: --source-ca FILE."),
    "source-protocol": Reason("A source does not speak HTTP as it should.", _ANSWER),
    "source-size": Reason("A source's answer has more bytes than are taken.", _ANSWER),
    "source-type": Reason("A source's answer is of another type than the document asked for.", _ANSWER),
    "source-header": Reason("A source's answer lacks the issuer chain in its header.", _ANSWER),
    "source-redirect": Reason("A source sends us elsewhere, which is not followed.", "Name the last address."),
    "source-status": Reason("A source refused the request.", "Check its address, and its key."),
    "source-unknown": Reason("A source does not have the document.", "Add another --source."),
    "source-retired": Reason("A source does not have the document any more.", "Ask for a newer number."),
    "source-busy": Reason("A source asks to be left alone for a while.", "Ask less, or put a PCCS before it."),
    "source-failed": Reason("A source failed.", "Try again later, or add another --source."),
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
    "too-many-requests": Reason(
        "Too many requests came that prove nothing.", "Wait a minute."
    ),
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
