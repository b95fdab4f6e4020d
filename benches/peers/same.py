"""Asks both engines about every case and says whether they agree: same.py FOLDER CHANCERY-URL CERBOS-URL

FOLDER has chancery.bodies, cerbos.bodies and signals.bodies (requests.py). An outcome of Cerbos is the first action
that it allows of those that the bundle asks in this order, else the bundle's fallback. Ends with an error where one of
the two answers differently from what the bundle's cases expect: then the two would not do the same work.
"""

import json
import pathlib
import sys
import urllib.request

OUTCOMES, FALLBACK = ("deny", "refer", "approve"), "refer"


def ask(url, body):
    request = urllib.request.Request(url, body.encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def main(folder, chancery, cerbos):
    read = lambda name: (pathlib.Path(folder) / f"{name}.bodies").read_text("utf-8").splitlines()
    lines = list(zip(read("chancery"), read("cerbos"), read("signals")))
    wrong = []
    for number, (ours, theirs, case) in enumerate(lines):
        expected = json.loads(case)["outcome"]
        decided = ask(chancery, ours.replace("@ID@", f"same-{number}"))["decision"]
        actions = ask(cerbos, theirs.replace("@ID@", f"same-{number}"))["results"][0]["actions"]
        allowed = [outcome for outcome in OUTCOMES if actions[outcome] == "EFFECT_ALLOW"]
        checked = allowed[0] if allowed else FALLBACK
        if not expected == decided == checked:
            wrong.append(f"case {number}: expected {expected}, Chancery {decided}, Cerbos {checked}")
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"  on all {len(lines)} cases of the bundle")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
