// Checks a sigstore bundle with @sigstore/verify and a public key: node verify.cjs KEY.pub BUNDLE.json [FILE]
//
// The file is what a message signature is over; an attestation carries its own payload. Exits with 0 where the
// signature holds, else says why on stderr and exits with 1. NODE_PATH tells where the packages lie.
'use strict';

const { createPublicKey } = require('node:crypto');
const { readFileSync } = require('node:fs');
const { bundleFromJSON } = require('@sigstore/bundle');
const { Verifier, toSignedEntity, toTrustMaterial } = require('@sigstore/verify');

const [keyFile, bundleFile, file] = process.argv.slice(2);
try {
  const key = { publicKey: createPublicKey(readFileSync(keyFile)), validFor: () => true };
  const nobodyElse = { certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [] };
  const noLog = { ctlogThreshold: 0, tlogThreshold: 0, timestampThreshold: 0 };
  const bundle = bundleFromJSON(JSON.parse(readFileSync(bundleFile, 'utf8')));
  const entity = toSignedEntity(bundle, file && readFileSync(file));
  new Verifier(toTrustMaterial(nobodyElse, () => key), noLog).verify(entity);
} catch (error) {
  console.error(String(error));
  process.exitCode = 1;
}
