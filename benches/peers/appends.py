"""Appends to a chain of the package decision-provenance: appends.py DATABASE BODIES SECONDS

Every commit is synced: `synchronous=FULL`, set on the connection that the package opened and read back. The inputs are
the signals of the cases, the output is the outcome. Checks the chain at the end and prints records a second.
"""

import json
import sys
import time

from decision_provenance import ProvenanceLogger


def main(database, file, seconds):
    with open(file, encoding="utf-8") as lines:
        cases = [json.loads(line) for line in lines]
    log = ProvenanceLogger(model_id="claim-approval", model_version="1.0.0", db_path=database)
    log.init_chain(changed_by="bench", reason="a bench")
    config = log.set_config(threshold=0.5, above_label="approve", below_label="refer", changed_by="bench",
                            change_reason="a bench")
    log._conn.execute("PRAGMA synchronous=FULL")
    settings = [log._conn.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    if settings != ["wal", 2]:
        sys.exit(f"the settings are {settings}")
    count, begun = 0, time.monotonic()
    while (lasted := time.monotonic() - begun) < seconds:
        case = cases[count % len(cases)]
        score = 1.0 if case["outcome"] == "approve" else 0.0
        log.record(input_features=case["signals"], output={"outcome": case["outcome"], "score": score}, score=score,
                   session_id=f"claim-{count}", config=config)
        count += 1
    whole, said = log.verify()
    if not whole or log.count() != count:
        sys.exit(f"the chain of the peer does not hold: {said}")
    print(f"{count / lasted:.1f}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
