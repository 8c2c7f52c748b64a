from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from kloister.cli.policy import policy_app
from kloister.formats.dcap import TcbStatus
from kloister.formats.snp import HclBlob
from kloister.formats.wire import b64url
from kloister.simulator.documents import TcbStage
from tests.support.evidence import ENCLAVE, NOW, Forge
from tests.support.snp import SnpForge, pem, report
from tests.support.trust_domains import TDX10, TdForge

POLICY = """version=1.0;
authorizationrules
{
    [type=="x-ms-sgx-mrsigner", value=="AA"] => permit();
    [type=="x-ms-sgx-svn", value>=3] => permit();
};
issuancerules
{
    c:[type=="x-ms-sgx-mrsigner"] => issue(type="signer", value=c.value);
};
"""
FORGE = Forge()


class Folder:
    """Files, and the command with `--language maa`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.write("policy.txt", POLICY)
        self.write("good.json", json.dumps({"x-ms-sgx-mrsigner": "AA", "x-ms-sgx-svn": 1}))
        self.write("bad.json", json.dumps({"x-ms-sgx-mrsigner": "AB", "x-ms-sgx-svn": 1}))

    def write(self, name: str, data: str | bytes) -> str:
        (self.path / name).write_bytes(data.encode() if isinstance(data, str) else data)
        return str(self.path / name)

    def run(self, verb: str, file: str, *options: str, stdin: bytes | None = None) -> Any:
        named = file if file == "-" else str(self.path / file)
        found = [str(self.path / one) if (self.path / one).exists() else one for one in options]
        return CliRunner().invoke(policy_app, [verb, "--language", "maa", named, *found], input=stdin)

    def evidence(self, forge: Forge | TdForge, status: TcbStatus = TcbStatus.UP_TO_DATE) -> list[str]:
        self.write("quote.bin", forge.quote())
        self.write("root.der", forge.pki.root_der())
        documents = forge.documents(stage=TcbStage(status=status))
        self.write("collateral.json", json.dumps(documents))
        options = ["--evidence", "quote.bin", "--collateral", "collateral.json", "--root", "root.der"]
        return [*options, "--at", str(int(NOW.timestamp()))]


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_lint_accepts_and_names_the_hash(folder: Folder) -> None:
    result = folder.run("lint", "policy.txt")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{folder.path}/policy.txt is valid, version 1.0, x-ms-policy-hash ")
    document = json.loads(folder.run("lint", "policy.txt", "--json").stdout)
    assert (document["valid"], document["version"], document["findings"]) == (True, "1.0", [])
    assert document["policyHash"] in result.stdout


def test_lint_shows_what_is_doubtful(folder: Folder) -> None:
    folder.write("doubtful.txt", POLICY.replace("==", "=", 1))
    result = folder.run("lint", "doubtful.txt")
    assert result.exit_code == 0
    assert "doubtful.txt:4:6: warning: = is read as ==" in result.stderr
    assert '    [type="x-ms-sgx-mrsigner"' in result.stderr
    (finding,) = json.loads(folder.run("lint", "doubtful.txt", "--json").stdout)["findings"]
    assert (finding["line"], finding["column"]) == (4, 6)


def test_an_error_of_syntax_shows_its_line_with_a_caret(folder: Folder) -> None:
    folder.write("wrong.txt", POLICY.replace("permit();", "permit()", 1))
    for verb, options in (("lint", []), ("test", ["--claims", "good.json"])):
        result = folder.run(verb, "wrong.txt", *options)
        assert result.exit_code == 1
        assert result.stderr.startswith('    [type=="x-ms-sgx-svn", value>=3] => permit();\n    ^\n')
        assert "wrong.txt:5:5: mismatched input '[' expecting ';'. [maa-parsing]\n" in result.stderr
        document = json.loads(folder.run(verb, "wrong.txt", *options, "--json").stdout)
        assert document["error"]["code"] == "maa-parsing"


def test_a_policy_that_is_no_text(folder: Folder) -> None:
    folder.write("latin.txt", POLICY.encode("utf-16"))
    assert "not UTF-8" in folder.run("lint", "latin.txt").stderr
    folder.write("long.txt", "/" * 70_000)
    assert folder.run("lint", "long.txt").exit_code == 1
    assert "os-enoent" in folder.run("lint", "none.txt").stderr


def test_standard_input_is_read(folder: Folder) -> None:
    assert folder.run("lint", "-", stdin=POLICY.encode()).exit_code == 0


def test_a_permitted_claim_set(folder: Folder) -> None:
    result = folder.run("test", "policy.txt", "--claims", "good.json")
    assert (result.exit_code, result.stdout) == (0, 'permitted\n  signer = "AA"\n')
    document = json.loads(folder.run("test", "policy.txt", "--claims", "good.json", "--json").stdout)
    assert document["claims"] == {"signer": "AA"}
    assert (document["permitted"], document["denied"], document["reason"]) == (True, False, None)
    assert "explain" not in document


def test_a_denied_claim_set(folder: Folder) -> None:
    result = folder.run("test", "policy.txt", "--claims", "bad.json")
    assert (result.exit_code, result.stdout) == (1, "denied\n")
    assert "[maa-not-permitted] --explain shows why." in result.stderr
    result = folder.run("test", "policy.txt", "--claims", "bad.json", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["reason"]["code"] == "maa-not-permitted"


def test_explain_draws_what_failed_and_on_what_value(folder: Folder) -> None:
    result = folder.run("test", "policy.txt", "--claims", "bad.json", "--explain")
    assert result.exit_code == 1
    assert result.stdout == (
        "authorizationrules\n"
        '  line 4, not fired: [type=="x-ms-sgx-mrsigner", value=="AA"] => permit();\n'
        '    failed: [type=="x-ms-sgx-mrsigner", value=="AA"]\n'
        '      value=="AA" is not met by x-ms-sgx-mrsigner = "AB" (AttestationService)\n'
        '  line 5, not fired: [type=="x-ms-sgx-svn", value>=3] => permit();\n'
        '    failed: [type=="x-ms-sgx-svn", value>=3]\n'
        "      value>=3 is not met by x-ms-sgx-svn = 1 (AttestationService)\n"
        "denied\n"
    )
    document = json.loads(folder.run("test", "policy.txt", "--claims", "bad.json", "--explain", "--json").stdout)
    assert [one["line"] for one in document["explain"]] == [4, 5]


def test_explain_draws_what_held(folder: Folder) -> None:
    folder.write(
        "many.txt",
        'version=1.2;authorizationrules{[type=="a",value<0]=>deny();[type=="q"]&&[type=="z"]=>deny();'
        '![type=="q"]=>permit();};issuancerules{c:[type=="b"]=>issueproperty(type="omit_x5c",value=c.value);};',
    )
    folder.write("many.json", json.dumps({"a": list(range(10)), "b": True}))
    out = folder.run("test", "many.txt", "--claims", "many.json", "--explain").stdout
    assert "      and not by 2 more\n" in out
    assert "      there is no claim of this type\n" in out
    assert '    not judged: [type=="z"]\n' in out
    assert '    held: ![type=="q"]\n' in out
    assert '    held: c:[type=="b"]\n      met by b = true (AttestationService)\n' in out
    assert "    made omit_x5c = true (AttestationPolicy)\n" in out
    assert out.endswith("permitted\n  property omit_x5c = true\n")


def test_an_error_of_evaluation_shows_its_rule(folder: Folder) -> None:
    folder.write("fails.txt", 'version=1.2;\nauthorizationrules{\n  =>add(type="a",value=NegateBool(1));\n};')
    result = folder.run("test", "fails.txt", "--claims", "good.json")
    assert result.exit_code == 1
    assert result.stderr.startswith('  =>add(type="a",value=NegateBool(1));\n  ^\n')
    assert "In the rule at line 3: NegateBool takes a boolean, not integers. [maa-evaluation]" in result.stderr


def test_claims_with_issuers(folder: Folder) -> None:
    folder.write(
        "custom.txt", 'version=1.0;authorizationrules{[type=="os",issuer=="CustomClaim",value=="w"]=>permit();};'
    )
    folder.write("custom.json", json.dumps([{"type": "os", "value": "w"}]))
    assert folder.run("test", "custom.txt", "--claims", "custom.json").exit_code == 0
    folder.write("custom.json", json.dumps([{"type": "os", "value": "w", "issuer": "AttestationService"}]))
    assert folder.run("test", "custom.txt", "--claims", "custom.json").exit_code == 1


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "policy-claims-json"),
        ("1", "policy-claims-field"),
        ("[1]", "policy-claims-field"),
        ('[{"type": "a"}]', "policy-claims-field"),
        ('[{"type": 1, "value": 1}]', "policy-claims-field"),
        ('[{"type": "a", "value": 1.5}]', "policy-claims-field"),
        ('[{"type": "a", "value": 1, "issuer": "me"}]', "policy-claims-field"),
        ('[{"type": "a", "value": 1, "more": 1}]', "policy-claims-field"),
        ('[{"type": "a", "value": "\\ud800"}]', "policy-claims-field"),
    ],
)
def test_claims_that_cannot_be_given(folder: Folder, text: str, code: str) -> None:
    folder.write("claims.json", text)
    result = folder.run("test", "policy.txt", "--claims", "claims.json", "--json")
    assert (result.exit_code, json.loads(result.stdout)["error"]["code"]) == (1, code)


def test_evidence_is_verified_and_put_into_claims(folder: Folder) -> None:
    options = folder.evidence(FORGE, TcbStatus.OUT_OF_DATE)
    assert folder.run("test", "policy.txt", *options).exit_code == (0 if ENCLAVE.isvsvn >= 3 else 1)
    signer = ENCLAVE.mrsigner.hex()
    folder.write("signer.txt", POLICY.replace("AA", signer).replace("svn", "config-svn"))
    result = folder.run("test", "signer.txt", *options)
    assert (result.exit_code, result.stdout) == (0, f'permitted\n  signer = "{signer}"\n')
    folder.write("quote.bin", FORGE.quote()[:-1])
    result = folder.run("test", "signer.txt", *options, "--json")
    assert (result.exit_code, "error" in json.loads(result.stdout)) == (1, True)


def test_a_trust_domain_has_claims_of_its_own(folder: Folder) -> None:
    text = f'version=1.0;authorizationrules{{[type=="tdx_mrtd",value=="{TDX10.mrtd.hex()}"]=>permit();}};'
    folder.write("td.txt", text)
    assert folder.run("test", "td.txt", *folder.evidence(TdForge())).exit_code == 0


def test_other_evidence_than_quotes_is_refused(folder: Folder) -> None:
    options = folder.evidence(FORGE)
    folder.write("quote.bin", b"eyJhbGciOiJub25lIn0.e30.")
    result = folder.run("test", "policy.txt", *options, "--json")
    assert json.loads(result.stdout)["error"]["code"] == "policy-evidence-kind"


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--claims", "good.json", "--evidence", "good.json", "--collateral", "good.json"],
        ["--claims", "good.json", "--collateral", "good.json"],
        ["--evidence", "good.json", "--collateral", "good.json", "--at", "noon"],
        ["--language", "release", "--claims", "good.json"],
    ],
)
def test_misuse_exits_2(folder: Folder, options: list[str]) -> None:
    assert folder.run("test", "policy.txt", *options).exit_code == 2


SNP_POLICY = """version=1.0;
authorizationrules
{
    [type=="x-ms-sevsnpvm-vmpl", value==0]&&[type=="x-ms-sevsnpvm-is-debuggable", value==false] => permit();
};
issuancerules
{
    c:[type=="x-ms-sevsnpvm-hostdata"] => issue(type="host", value=c.value);
};
"""
SNP = SnpForge()


def _snp(folder: Folder, crl: bytes | None = None) -> dict[str, list[str]]:
    """The same report in each form that is read, with its options."""
    chain = pem(SNP.vek_der()) + SNP.chain()
    sent = {"SnpReport": b64url(SNP.signed()), "VcekCertChain": b64url(chain)}
    folder.write("snp.txt", SNP_POLICY)
    folder.write("ark.der", SNP.ark_der())
    folder.write("vcek.der", SNP.vek_der())
    folder.write("chain.pem", SNP.chain())
    folder.write("list.crl", crl or SNP.crl())
    folder.write("report.bin", SNP.signed())
    folder.write("report.hex", SNP.signed().hex())
    folder.write("request.json", json.dumps(sent))
    common = ["--root", "ark.der", "--at", str(int(NOW.timestamp()))]
    named = ["--vek", "vcek.der", "--chain", "chain.pem", *common]
    return {
        "raw": ["--evidence", "report.bin", *named],
        "hexadecimal": ["--evidence", "report.hex", *named],
        "with a list": ["--evidence", "report.bin", "--crl", "list.crl", *named],
        "of a client": ["--evidence", "request.json", *common],
    }


@pytest.mark.parametrize("form", ["raw", "hexadecimal", "with a list", "of a client"])
def test_a_report_is_verified_and_then_tried(folder: Folder, form: str) -> None:
    options = _snp(folder)[form]
    result = folder.run("test", "snp.txt", *options)
    assert (result.exit_code, result.stdout) == (0, f'permitted\n  host = "{"44" * 32}"\n'), result.stderr
    folder.write("snp.txt", SNP_POLICY.replace("value==0", "value==3"))
    result = folder.run("test", "snp.txt", *options, "--explain")
    assert result.exit_code == 1
    assert "value==3 is not met by x-ms-sevsnpvm-vmpl = 0" in result.stdout


def test_a_report_that_is_not_genuine_is_not_tried(folder: Folder) -> None:
    forms = _snp(folder, SNP.crl(2))
    assert "[ask-revoked]" in folder.run("test", "snp.txt", *forms["with a list"]).stderr
    assert "[endorsement-missing]" in folder.run("test", "snp.txt", "--evidence", "report.bin").stderr
    assert "[root-untrusted]" in folder.run("test", "snp.txt", "--evidence", "request.json").stderr
    assert folder.run("test", "snp.txt", "--evidence", "report.bin", "--vek", "vcek.der").exit_code == 2
    assert folder.run("test", "snp.txt", "--claims", "good.json", "--vek", "vcek.der").exit_code == 2


def test_a_quote_needs_its_collateral(folder: Folder) -> None:
    options = folder.evidence(FORGE)
    assert "[collateral-missing]" in folder.run("test", "policy.txt", *options[:2]).stderr


def test_azures_blob_brings_its_runtime_data(folder: Folder) -> None:
    options = _snp(folder)["raw"]
    runtime = b'{"keys":[],"user-data":"00"}'
    bound = hashlib.sha256(runtime).digest() + bytes(32)
    blob = HclBlob(report=replace(SNP, report=report(report_data=bound)).signed(), runtime=runtime).build()
    folder.write("report.bin", blob)
    folder.write("snp.txt", SNP_POLICY.replace("x-ms-sevsnpvm-hostdata", "x-ms-runtime"))
    result = folder.run("test", "snp.txt", *options)
    assert (result.exit_code, json.loads(json.loads(result.stdout.split(" = ")[1]))) == (0, json.loads(runtime))
