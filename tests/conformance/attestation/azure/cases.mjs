// Azure's JavaScript SDK against our server: what its own tests do, which are in no package.
// Given on stdin (JSON): port, bearer, owner and other ({key, certificate} in PEM), shared, aad, isolated (URLs),
// report and runtime (base64). Answers with one line for each case that passed; the first that fails ends the script.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import https from "node:https";
import { text } from "node:stream/consumers";
import {
  AttestationAdministrationClient,
  AttestationClient,
  createAttestationPolicyToken,
  KnownAttestationType as Type,
} from "@azure/attestation";

const given = JSON.parse(await text(process.stdin));
const PERMIT = "version=1.0; authorizationrules{=> permit();}; issuancerules{};";
const report = Buffer.from(given.report, "base64");
const runtime = Buffer.from(given.runtime, "base64");
const instances = { shared: given.shared, aad: given.aad, isolated: given.isolated };
const credential = { getToken: async () => ({ token: given.bearer, expiresOnTimestamp: Date.now() + 3_600_000 }) };
const none = { getToken: async () => ({ token: "none", expiresOnTimestamp: Date.now() + 3_600_000 }) };

// The instances' names are on this machine.
const connect = https.Agent.prototype.createConnection;
https.Agent.prototype.createConnection = function (options, ...others) {
  assert.match(options.host, /\.attest\.azure\.net$/);
  return connect.call(this, { ...options, host: "127.0.0.1", port: given.port, servername: options.host }, ...others);
};

const options = (url) => ({
  validationOptions: { validateIssuer: true, expectedIssuer: url, timeValidationSlack: 1 },
  retryOptions: { maxRetries: 0 },
});
const client = (url) => new AttestationClient(url, credential, options(url));
const administration = (url, as = credential) => new AttestationAdministrationClient(url, as, options(url));
const signed = (signer) => ({ privateKey: signer.key, certificate: signer.certificate });
const same = (one, other) => assert.equal(one.replace(/\s/g, ""), other.replace(/\s/g, ""));
const digest = (value) => createHash("sha256").update(value).digest("hex");
const refused = (promise, status, code) =>
  assert.rejects(promise, (error) => error.statusCode === status && error.message.includes(code));

async function passes(name, work) {
  await work();
  console.log(name);
}

async function attests(url, kind) {
  const open = kind === Type.OpenEnclave;
  const asked = client(url);
  const attest = (evidence, more) =>
    open ? asked.attestOpenEnclave(evidence, more) : asked.attestSgxEnclave(evidence.subarray(16), more);
  let answer = await attest(report, { runTimeData: runtime });
  assert.deepEqual(Buffer.from(answer.body.enclaveHeldData), runtime);
  assert.ok(answer.body.sgxCollateral);
  assert.equal(answer.body.issuer, url);
  answer = await attest(report, { runTimeJson: runtime });
  assert.equal(answer.body.enclaveHeldData, undefined);
  assert.equal(answer.body.runTimeClaims.jwk.crv, "P-256");
  answer = await attest(report, { runTimeJson: runtime, draftPolicyForAttestation: PERMIT });
  assert.equal(answer.token.algorithm, "none");
  const without = new AttestationClient(url, options(url));
  assert.ok((await without.attestSgxEnclave(report.subarray(16))).body.mrEnclave.startsWith("b7792026"));
  await refused(attest(report, { runTimeData: Buffer.from("other") }), 400, "client-data-binding");
}

async function setsAndResets(url, kind, more) {
  const asked = administration(url);
  const set = await asked.setPolicy(kind, PERMIT, more);
  assert.equal(set.body.policyResolution, "Updated");
  const sent = createAttestationPolicyToken(PERMIT, more.privateKey, more.certificate).serialize();
  assert.equal(Buffer.from(set.body.policyTokenHash).toString("hex"), digest(sent));
  if (more.certificate) same(set.body.policySigner.certificates[0], more.certificate);
  assert.equal((await asked.getPolicy(kind)).body, PERMIT);
  const reset = await asked.resetPolicy(kind, more);
  assert.equal(reset.body.policyResolution, "Removed");
}

for (const [name, url] of Object.entries(instances)) {
  await passes(`metadata ${name}`, async () => {
    const found = await client(url).getOpenIdMetadata();
    assert.equal(found.jwks_uri, `${url}/certs`);
    assert.equal(found.issuer, url);
    for (const signer of await client(url).getAttestationSigners())
      assert.match(signer.certificates[0], /^-----BEGIN CERTIFICATE-----/);
  });
  for (const kind of [Type.SgxEnclave, Type.OpenEnclave])
    await passes(`attest ${kind} ${name}`, () => attests(url, kind));
  for (const kind of [Type.SgxEnclave, Type.OpenEnclave]) // this SDK cannot read that Tpm has no policy, as Azure says it
    await passes(`get policy ${kind} ${name}`, async () => {
      assert.ok((await administration(url).getPolicy(kind)).body.startsWith("version"));
    });
  await passes(`certificates ${name}`, async () => {
    const found = (await administration(url).getPolicyManagementCertificates()).body;
    assert.equal(found.length, name === "isolated" ? 1 : 0);
    if (name === "isolated") same(found[0].certificates[0], given.owner.certificate);
  });
}

for (const kind of Object.values(Type)) {
  await passes(`policy ${kind} aad unsecured`, () => setsAndResets(given.aad, kind, {}));
  await passes(`policy ${kind} aad secured`, () => setsAndResets(given.aad, kind, signed(given.other)));
  await passes(`policy ${kind} isolated secured`, () => setsAndResets(given.isolated, kind, signed(given.owner)));
}

await passes("refused policies", async () => {
  await refused(administration(given.isolated).setPolicy(Type.SgxEnclave, PERMIT), 400, "policy-unsigned");
  await refused(administration(given.isolated).setPolicy(Type.SgxEnclave, PERMIT, signed(given.other)), 400, "policy-signer");
  await refused(administration(given.shared).setPolicy(Type.SgxEnclave, PERMIT), 400, "policy-shared");
  await refused(administration(given.aad).setPolicy(Type.SgxEnclave, "version=1.0"), 400, "maa-parsing");
  await refused(administration(given.aad, none).setPolicy(Type.SgxEnclave, PERMIT), 401, "bearer-refused");
});

await passes("certificates added and removed", async () => {
  const asked = administration(given.isolated);
  const { key, certificate } = given.owner;
  const count = async () => (await asked.getPolicyManagementCertificates()).body.length;
  for (let round = 0; round < 2; round++) {
    const { body } = await asked.addPolicyManagementCertificate(given.other.certificate, key, certificate);
    assert.equal(body.certificateResolution, "IsPresent");
  }
  assert.equal(await count(), 2);
  for (let round = 0; round < 2; round++) {
    const { body } = await asked.removePolicyManagementCertificate(given.other.certificate, key, certificate);
    assert.equal(body.certificateResolution, "IsAbsent");
  }
  assert.equal(await count(), 1);
});

await passes("tpm", async () => {
  await administration(given.aad).setPolicy(Type.Tpm, PERMIT);
  const { payload } = JSON.parse(await client(given.aad).attestTpm(JSON.stringify({ payload: { type: "aikcert" } })));
  assert.ok(payload.challenge && payload.service_context);
  await administration(given.aad).resetPolicy(Type.Tpm);
});
