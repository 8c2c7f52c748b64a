"""The reason codes of the formats. `*` stands for the name of what was read, such as `quote` or `tcb-info`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from kloister.errors import BUG, Reason

_AGAIN = "Get it again; where the bytes come from a person, correct them."
_CONVERT = "Convert the image again."
_RATLS = "Give the certificate of an RA-TLS server or client as it was made."
_PCK = "Get the platform's certificates again."
_TOKEN = "Give the token alone, as its issuer made it."  # noqa: S105 -- no secret
_KEYS = "Get the issuer's keys again; RSA of 2048 bits or more, P-256 and P-384 are known."
_AMD = "Get the certificates again, from AMD's KDS or from who keeps them."
_COLLATERAL = "Get the collateral again."
_OURS = "Client and server are of different versions, or something alters the messages: use one version."
_AESM = "Use a client of DCAP: libsgx-quote-ex, Gramine or Open Enclave."
_POLICY = "See `docs/reference/policy.md`."
_IMAGE = "The image is damaged or made by a faulty tool: fetch or build it again."
_TREE = "Convert the image again, or delete the pack: it is rebuilt."
_FILES = (
    "Delete the pack under cache/packs: it is made again from the image. If it happens again, the image was changed."
)

_REQUEST = "See /openapi.json of the attestation service."
_SIGNED_POLICY = 'The payload is {"AttestationPolicy": base64url of the text}, the signer stands in x5c of the header.'

REASONS: Mapping[str, Reason] = MappingProxyType({
    # any format
    "*-truncated": Reason("The bytes end before the structure does.", _AGAIN),
    "*-trailing": Reason("Bytes follow behind the end of the structure.", _AGAIN),
    "*-reserved": Reason("Bytes that the specification reserves are not zero.", _AGAIN),
    "*-size": Reason("It has more bytes than are read, or another number than its format says.", _AGAIN),
    "*-hex": Reason("It is not hexadecimal, or has another number of bytes than it must have.", _AGAIN),
    "*-base64url": Reason("It is not base64url without padding.", _AGAIN),
    "*-json": Reason("It is not well-formed JSON in UTF-8 with unique keys.", _AGAIN),
    "*-field": Reason("A field is missing, or its value is not of its kind.", _AGAIN),
    "*-fields": Reason("The object does not have exactly the members that it must have.", _OURS),
    "*-varint": Reason("A number is not in its shortest form, or too large.", _AGAIN),
    "*-wire-type": Reason("A field of a protobuf message is of a type that is not read.", _AGAIN),
    "*-digest": Reason("The bytes do not have the SHA-256 that names them, or the name is no digest.", _IMAGE),
    # certificates, keys and revocation lists
    "*-pem": Reason("It is not a list of PEM certificates of the expected length.", _PCK),
    "*-der": Reason("It is not DER as it should be.", _AGAIN),
    "*-point": Reason("The public key is not a point of the curve P-256.", _AGAIN),
    "certificate-syntax": Reason("A certificate is not well-formed X.509 with one common name.", _PCK),
    "certificate-size": Reason("A certificate is larger than any that is read.", _PCK),
    "certificate-algorithm": Reason("A certificate does not use ECDSA on P-256 with SHA-256.", _PCK),
    "certificate-extension": Reason("A certificate has a critical extension that is not understood.", _PCK),
    "crl-size": Reason("A revocation list is larger than any that is read.", _COLLATERAL),
    "crl-syntax": Reason("A revocation list is not well-formed, or does not say when the next is due.", _COLLATERAL),
    "crl-algorithm": Reason("A revocation list is not signed with ECDSA and SHA-256.", _COLLATERAL),
    "crl-extension": Reason("A revocation list has a critical extension that is not understood.", _COLLATERAL),
    "signature-size": Reason("A P-256 signature must have 64 bytes.", _AGAIN),
    # quotes and collateral (verification, step 1)
    "quote-size": Reason("The quote has more bytes than any quote has.", "Check that the file is a quote."),
    "quote-version": Reason("Quotes of this version are not known; 3, 4 and 5 are.", "Give another quote."),
    "quote-key-type": Reason("The attestation key is not of the one known type, ECDSA P-256.", "Give another quote."),
    "quote-tee": Reason("A quote of this version cannot have this TEE type.", _AGAIN),
    "quote-vendor": Reason("The quoting enclave is not Intel's.", "Only quotes of Intel's quoting enclave are read."),
    "quote-body-type": Reason("The body has a type or size that is not known, or does not fit the TEE type.", _AGAIN),
    "quote-body": Reason("The body of the quote is no SGX report, but is used as one.", BUG),
    "certification-type": Reason("The certification data is of a type that is not known, or names no PCK.", _AGAIN),
    # a TPM's quote
    "tpm-quote-type": Reason("This is something else than a quote that a TPM made.", _AGAIN),
    "tpm-quote-selection": Reason("The quote selects more registers than a TPM has.", _AGAIN),
    "snp-json-field": Reason("A report in JSON lacks a field, or has one of another kind.", _AGAIN),
    # tokens and keys
    "attest-request-size": Reason("The request has more bytes than are read.", "Send the evidence alone."),
    "attest-request-json": Reason("The request is not well-formed JSON with unique keys.", _REQUEST),
    "attest-request-field": Reason("A member of the request is missing or not what it must be.", _REQUEST),
    "client-data-json": Reason("Data sent as JSON is none.", "Send it as Binary, or mend it."),
    "client-data-size": Reason("The client's data has more bytes than are read.", "Send less."),
    "client-data-binding": Reason(
        "The evidence does not bind the data that came with it.",
        "Put its SHA-256 into the first 32 bytes of the report data before the evidence is made.",
    ),
    "policy-token-size": Reason("A policy token has more characters than are read.", "Make the policy smaller."),
    "policy-token-json": Reason("The payload of a policy token is not well-formed JSON.", _SIGNED_POLICY),
    "policy-token-claim": Reason("The payload of a policy token lacks what it must say.", _SIGNED_POLICY),
    "policy-token-payload": Reason("A reset is a token with an empty payload.", "Use a client's reset."),
    "policy-token-certificate": Reason("A policy token's x5c holds no certificates.", _SIGNED_POLICY),
    "policy-token-key": Reason("The signer's key is neither RSA, P-256 nor P-384.", "Sign with another key."),
    "policy-token-signature": Reason("The signature of a policy token does not verify.", "Sign it again."),
    "token-size": Reason("A token has more characters than are read.", _TOKEN),
    "token-syntax": Reason("This is no token: three parts of base64url with dots between them.", _TOKEN),
    "token-header": Reason("The token's header is no object with an alg, or asks for what is not known.", _TOKEN),
    "token-claims": Reason("The token's payload is not a JSON object.", _TOKEN),
    "token-claim": Reason("A claim of the token has a value that it cannot have.", _TOKEN),
    "token-time": Reason("A time in the token is no number of seconds since 1970.", _TOKEN),
    "ear-field": Reason("A claim of an attestation result (EAR) is missing, or not as the draft has it.", _TOKEN),
    "ear-status": Reason("A part of an attestation result says more than its trustworthiness vector.", BUG),
    "ear-claims": Reason("An attestation result lacks a part, or its nonce has another size.", BUG),
    "token-unsecured": Reason("The token is not signed (alg none): anybody may have written it.", "Get a signed one."),
    "token-algorithm": Reason(
        "The token names an algorithm that is not accepted, or that its key does not sign by.",
        "RS256, ES256 and ES384 are accepted.",
    ),
    "token-signature": Reason("The token's signature does not verify.", "Get the issuer's keys again."),
    "token-key": Reason("A key signs by another algorithm than is asked for, or is of an unknown curve.", _KEYS),
    "jwk-field": Reason("A key is of no known kind, or its members do not fit it.", _KEYS),
    "jwk-certificate": Reason("A certificate of a key is not base64 or not well-formed X.509.", _KEYS),
    "jwk-key": Reason("A key's numbers are no key, too small, or another's than its certificate's.", _KEYS),
    "jwks-field": Reason("This is no set of keys.", 'A set is {"keys": [...]}.'),
    # RA-TLS
    "ratls-certificate": Reason("A certificate is not well-formed X.509, or of no known kind.", _RATLS),
    "ratls-size": Reason("A certificate is larger than any that carries evidence.", _RATLS),
    "oe-report-header": Reason(
        "The report does not begin with Open Enclave's header of a remote report.",
        "Give the whole report, or the bare quote as what it is (to an attestation service: to SgxEnclave).",
    ),
    "ratls-no-evidence": Reason("The certificate carries no evidence.", _RATLS),
    "ratls-evidence": Reason("The evidence in the certificate is not a quote with claims about its key.", _RATLS),
    "ratls-cbor": Reason("The evidence in the certificate is not strict CBOR.", _RATLS),
    "ratls-signature": Reason("The certificate was not signed with the key that it names.", _RATLS),
    "envelope-size": Reason("The answer of a PCS has more bytes than are read.", _COLLATERAL),
    "envelope-json": Reason("The answer of a PCS is not a signed document in JSON.", _COLLATERAL),
    "pck-extension-field": Reason("The SGX extension of the PCK certificate is damaged or incomplete.", _PCK),
    "td-report-size": Reason("A TD report has 584, 648 or 885 bytes; this one has not.", BUG),
    "td-report-fields": Reason("A TD report was to be built with half of the TDX 1.5 fields.", BUG),
    "tcb-info-version": Reason("TCB info of this version is not known; 2 and 3 are.", _COLLATERAL),
    "qe-identity-version": Reason("QE identity of this version is not known; 2 is.", _COLLATERAL),
    # SEV-SNP: reports, AMD's certificates and lists, Azure's blob
    "snp-report-truncated": Reason("An SNP report has 1184 bytes; here are fewer.", "Give the whole report."),
    "snp-report-trailing": Reason("Bytes follow the 1184 bytes of the SNP report.", "Give the report only."),
    "snp-report-version": Reason("SNP reports of this version are not known; 2 to 5 are.", "Use a newer Kloister."),
    "snp-report-algorithm": Reason("The SNP report is not signed with ECDSA P-384 and SHA-384.", _AGAIN),
    "snp-report-policy": Reason("A bit of the SNP report's guest policy that must be one is zero.", _AGAIN),
    "snp-report-reserved": Reason("Bytes behind the SNP report's signature are not zero.", _AGAIN),
    "snp-tcb-size": Reason("A TCB version of AMD does not have its 8 bytes.", BUG),
    "hcl-size": Reason("The HCL blob has more bytes than are read.", "Check that it is Azure's attestation blob."),
    "hcl-magic": Reason("The bytes do not start as an HCL blob does.", "Check that it is Azure's attestation blob."),
    "hcl-truncated": Reason("The HCL blob ends before its runtime data does.", "Read the whole NV index 0x01400001."),
    "hcl-report-type": Reason("The HCL blob holds another report than one of SNP.", "For a TDX VM, give its quote."),
    "hcl-hash-type": Reason("The HCL blob binds its runtime data by another hash than SHA-256.", _AGAIN),
    "hcl-reserved": Reason("Bytes that are not zero follow the HCL blob's runtime data.", _AGAIN),
    "hcl-runtime-json": Reason("The runtime data of the HCL blob is not a JSON object with unique keys.", _AGAIN),
    "amd-certificate-size": Reason("A certificate is larger than any of AMD's.", _AMD),
    "amd-certificate-syntax": Reason("A certificate is not X.509 as AMD's are.", _AMD),
    "amd-certificate-algorithm": Reason("A certificate is not signed with RSA-PSS and SHA-384.", _AMD),
    "amd-certificate-key": Reason("A certificate's key is not of the kind that its place needs.", _AMD),
    "amd-certificate-extension": Reason("A certificate has an extension twice, or an unknown critical one.", _AMD),
    "amd-crl-size": Reason("AMD's revocation list is larger than any that is read.", _COLLATERAL),
    "amd-crl-syntax": Reason("AMD's revocation list is not well-formed, or does not say when it ends.", _COLLATERAL),
    "amd-crl-algorithm": Reason("AMD's revocation list is not signed with RSA-PSS and SHA-384.", _COLLATERAL),
    "amd-crl-extension": Reason("AMD's revocation list has a critical extension, not understood.", _COLLATERAL),
    "vek-extension-field": Reason("AMD's extensions in the VCEK or VLEK are damaged or incomplete.", _AMD),
    # enclaves: ELF, manifest, measurement, SIGSTRUCT
    "elf-header": Reason("The file is no 64-bit ELF program that can be used here.", "Name a program for x86-64."),
    "elf-segment": Reason("A segment of the ELF file does not fit the file, memory or its neighbours.", _CONVERT),
    "elf-entry": Reason("The ELF file's entry is in no executable segment.", _CONVERT),
    "content-size": Reason("The enclave's content is larger than what is measured so.", "Measure its hash."),
    "enclave-threads": Reason("An enclave cannot have this number of threads.", "Choose another --max-threads."),
    "enclave-too-small": Reason(
        "The enclave's address range is too small for its threads, loader and manifest.",
        "Raise --enclave-size or lower --max-threads.",
    ),
    "manifest-size": Reason("The Gramine manifest has more bytes than are read.", _CONVERT),
    "manifest-toml": Reason("The Gramine manifest is not well-formed TOML.", _CONVERT),
    "manifest-key": Reason("The Gramine manifest lacks a key, or has one of a wrong type or an old name.", _CONVERT),
    "manifest-value": Reason("A key of the Gramine manifest has a value that it cannot have.", _CONVERT),
    "sigstruct-*": Reason("A constant field of the SIGSTRUCT does not have its value.", "Sign the enclave again."),
    "sigstruct-date": Reason("The SIGSTRUCT's date is no date in BCD.", "Sign the enclave again."),
    "sigstruct-signature": Reason(
        "The SIGSTRUCT's signature does not match its content.",
        "Sign the enclave again; a SIGSTRUCT cannot be edited after signing.",
    ),
    "signing-key": Reason(
        "The signing key is not RSA of 3072 bits with exponent 3.", "openssl genrsa -3 -out key.pem 3072"
    ),
    # the tree, the launch document and private parts
    "tree-size": Reason("The tree document has more bytes than are read.", _TREE),
    "tree-header": Reason("The tree document does not start as it must, or its end is cut off.", _TREE),
    "tree-line": Reason("A line of the tree document does not follow the format.", _TREE),
    "tree-path": Reason("A path of the tree document is not written in the one allowed way.", _TREE),
    "tree-order": Reason("The lines of the tree document are not in the order of their paths.", _TREE),
    "tree-parent": Reason("The tree lists an entry whose directory it does not list.", _TREE),
    "tree-link": Reason("The tree lists a hard link to no file that comes before it.", _TREE),
    "file-added": Reason("There is a file that was not measured.", _FILES),
    "file-removed": Reason("A measured file is missing.", _FILES),
    "file-changed": Reason("A file's content or size is not what was measured.", _FILES),
    "file-kind": Reason("Something is a file, directory or link where another kind was measured.", _FILES),
    "file-mode": Reason("The permission bits of a file are not what was measured.", _FILES),
    "file-owner": Reason("The owner or group of a file is not what was measured.", _FILES),
    "file-time": Reason("The modification time of a file is not what was measured.", _FILES),
    "link-changed": Reason("A link leads to another place than was measured.", _FILES),
    "launch-version": Reason("The launch document is of another version.", _CONVERT),
    "launch-canonical": Reason("The launch document is not canonical JSON.", _CONVERT),
    "launch-field": Reason("A field of the launch document is missing or has a value it cannot have.", _CONVERT),
    "private-tree": Reason(
        "The list of the private files does not open with the key, or is not whole.",
        "Give the policy the key that this image was converted with, or convert again.",
    ),
    "layer-hmac": Reason(
        "An encrypted layer was changed, or the key is not the one it was encrypted with.",
        "Give the policy the key that this image was converted with, or convert again.",
    ),
    # images
    "layout-version": Reason("The OCI layout is of a version that is not read.", "Write it with a current tool."),
    "index-version": Reason("The image index is of a version that is not read.", "Write it with a current tool."),
    "manifest-version": Reason("The image manifest is of a version that is not read.", "Write it with a current tool."),
    "manifest-layers": Reason("The image has more layers than are read.", "Build it with fewer layers."),
    "config-rootfs": Reason("The image's root file system is not made of layers.", _IMAGE),
    "digest-algorithm": Reason("A blob is named by another hash than SHA-256.", "Copy the image with SHA-256 digests."),
    "layer-truncated": Reason("A layer ends inside an entry.", _IMAGE),
    "layer-header": Reason("A tar header of a layer is damaged, of no known form, or out of range.", _IMAGE),
    "layer-pax": Reason("A PAX header of a layer is damaged, or sets what no layer may set.", _IMAGE),
    "layer-entry-type": Reason("A layer has an entry of a type that is not read, such as a sparse file.", _IMAGE),
    "pubopts-cipher": Reason("A layer is encrypted with another cipher than AES_256_CTR_HMAC_SHA256.", _IMAGE),
    "pubopts-missing": Reason("An encrypted layer lacks the annotation with its public options.", _IMAGE),
    "privopts-field": Reason("The private options of an encrypted layer are not as they must be.", _IMAGE),
    # release policies
    "policy-not-supported-yet": Reason(
        "The document uses a field of the policy language that this version cannot keep.", "Remove the field."
    ),
    "policy-unknown-field": Reason("The document has a field that does not exist.", "Check the spelling. " + _POLICY),
    "policy-invalid": Reason(
        "A field of the document has a value that it cannot have.", "Correct the named field. " + _POLICY
    ),
    # messages between client, broker, platform and enclave
    "*-message": Reason("A frame does not hold a JSON object.", _OURS),
    "*-member": Reason("A message has a member that nobody reads.", _OURS),
    "*-text": Reason("A text is too long, or holds NUL or half a surrogate pair.", _OURS),
    "*-list": Reason("A list of texts is too long, or holds something else.", _OURS),
    "*-object": Reason("Something is no object, or one with too many or other members.", _OURS),
    "*-name": Reason("A name is not written in the allowed characters and length.", "Correct the name."),
    "event-*": Reason("An event of a launch lacks a member, or has one with a value it cannot have.", _OURS),
    "event-kind": Reason("The message is no event that this version knows.", _OURS),
    "host-*": Reason("What the host says of a launch lacks a member, or has one with an impossible value.", _OURS),
    "platform-*": Reason("A message to or from the platform has a member with a value it cannot have.", _OURS),
    "platform-op": Reason("The platform does not know this request, or not at this moment.", _OURS),
    "platform-mounts": Reason("More named mounts were given than an enclave can have.", "Give fewer."),
    "start-*": Reason("A message to the spawner has a member with a value it cannot have.", _OURS),
    "start-op": Reason("The spawner knows one request only.", _OURS),
    "allocation-*": Reason("A message about allocations has a member with a value it cannot have.", _OURS),
    "allocation-id": Reason("An allocation has an id that is none.", _OURS),
    "allocation-op": Reason("A container asked for something before it attached its enclave.", _OURS),
    "tee-*": Reason("A message on an enclave's socket has a member with a value it cannot have.", _OURS),
    "tee-op": Reason("An enclave's socket answers quote, report, targetInfo and key.", "Ask for one of these."),
    "challenge-expires": Reason("The challenge's expiry is not a time.", _OURS),
    "release-key": Reason("The other side's X25519 key is not a usable one.", _OURS),
    "release-sealed": Reason(
        "The released secrets were not sealed for this exchange.",
        "Something between workload and broker alters messages; look at what the connection passes through.",
    ),
    "bundle-environment": Reason("A released variable has an empty name, or one with an equals sign.", _OURS),
    "bundle-file-mode": Reason("A released file lacks a mode of four octal digits or numeric owners.", _OURS),
    "bundle-fields": Reason("The released bundle has too many files or keys, or an unknown output.", _OURS),
    "bundle-slots": Reason("A slot has an impossible name, or a pattern that is no regular expression.", _OURS),
    # AESM
    "aesm-size": Reason("A frame of AESM announces no bytes, or more than are read.", _AESM),
    "aesm-request": Reason("A message of AESM holds one request or response, and nothing else.", _AESM),
    "aesm-unsupported": Reason("AESM has no such request or response.", _AESM),
    "aesm-key-list": Reason("A list of key ids has version 0 and 1 to 10 key ids of 256 bytes.", _AESM),
    # faults of ours
    "protobuf-range": Reason("A number does not fit its field of a protobuf message.", BUG),
    "protobuf-required": Reason("A protobuf message was built without a field that it must have.", BUG),
    "der-length": Reason("A DER element would be longer than is ever written.", BUG),
    "field-range": Reason("A number does not fit its field.", BUG),
    "field-size": Reason("Bytes do not fit their field.", BUG),
    "frame-size": Reason("A message does not fit into a frame.", BUG),
    "json-integer": Reason("Canonical JSON was given an integer above 2^53-1.", BUG),
    "json-type": Reason("Canonical JSON was given a value that it cannot hold.", BUG),
    "layer-key-size": Reason("A layer's key or nonce does not have its size.", BUG),
    "layer-secret-size": Reason("The secret of the private layers does not have 32 bytes.", BUG),
    "page-size": Reason("A page does not have 4096 bytes.", BUG),
    "run-size": Reason("Bytes do not fit into their pages.", BUG),
    "tar-field": Reason("An entry cannot be written as a tar header.", BUG),
    "toml-text": Reason("TOML was given a lone surrogate.", BUG),
    "toml-type": Reason("TOML was given a value that it cannot hold.", BUG),
})  # fmt: skip
