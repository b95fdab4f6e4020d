"""Verifies the DSSE envelopes of an evidence file, one after the other: envelopes.py FILE

The public keys are those in the file's keyring lines, whose own signatures are verified like any other. Prints
envelopes of decisions a second, reading included; the start of Python is not.
"""

import base64
import json
import sys
import time

from cryptography.hazmat.primitives.serialization import load_pem_public_key


def pae(payload_type, payload):
    """The bytes that a DSSE signature is over."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def main(file):
    keys, decisions, begun = {}, 0, time.monotonic()
    with open(file, "rb") as lines:
        for line in lines:
            entry = json.loads(line)
            envelope = entry.get("envelope")
            if envelope is None:
                continue
            payload = base64.b64decode(envelope["payload"])
            if entry["kind"] == "keyring":
                predicate = json.loads(payload)["predicate"]
                for key in predicate["keys"] + predicate["rootKeys"]:
                    keys[key["keyId"]] = load_pem_public_key(key["publicKey"].encode())
            message = pae(envelope["payloadType"], payload)
            for signature in envelope["signatures"]:
                # Raises an error where it does not hold.
                keys[signature["keyid"]].verify(base64.b64decode(signature["sig"]), message)
            decisions += entry["kind"] == "decision"
    print(f"{decisions / (time.monotonic() - begun):.1f}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
