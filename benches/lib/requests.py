"""Bodies of requests, one a line, made of the cases of the bundle claim-approval.

    requests.py chancery POLICIES > FILE      POST /v1/decisions
    requests.py cerbos   POLICIES > FILE      POST /api/check/resources, all three outcomes in one check
    requests.py signals  POLICIES > FILE      {"signals", "outcome"}, what was asked and what has to be answered

`@ID@` stands where the id of an execution goes; whoever sends a line puts a new one there. Lines of the three forms
belong together by their place. A peer is given the same facts as it likes them: dates as whole instants, decimals as
numbers, and what the bundle knows about a repairer beside the claim, since a policy of Cerbos cannot look it up.
"""

import json
import pathlib
import sys

INSTANTS = ("policyBindDate", "incidentDate", "modelYear", "reportedDate")
DECIMALS = ("policyAnnualPremium", "fraudScore")


def cases(bundle):
    """Every case of the bundle with plain signals, in the order of the files, but for years that CEL does not have."""
    for path in sorted((bundle / "cases").glob("*.json")):
        content = json.loads(path.read_text("utf-8"), parse_float=str)
        for case in content if isinstance(content, list) else [content]:
            if "candidates" not in case and not case["signals"]["incidentDate"].startswith("0000"):
                yield case


def instant(day):
    """A day as RFC 3339 wants it."""
    return day if "T" in day else f"{day}T00:00:00Z"


def attributes(signals, entities):
    """The signals as attributes of a resource of Cerbos."""
    result = dict(signals)
    for name in INSTANTS:
        if name in result:
            result[name] = instant(result[name])
    for name in DECIMALS:
        if name in result:
            result[name] = float(result[name])
    if "repairer" in result:
        name = result["repairer"]["id"]
        entity = entities.get(name, {"attrs": {}, "parents": []})
        repairer = {"id": name, "groups": [parent["id"] for parent in entity["parents"]]}
        if "licensedUntil" in entity["attrs"]:
            repairer["licensedUntil"] = instant(entity["attrs"]["licensedUntil"]["__extn"]["arg"])
        result["repairer"] = repairer
    return result


def main(form, policies):
    bundle = pathlib.Path(policies) / "claim-approval" / "1.0.0"
    entities = {entity["uid"]["id"]: entity for entity in json.loads((bundle / "entities.json").read_text("utf-8"))}
    for case in cases(bundle):
        signals = case["signals"]
        if form == "chancery":
            body = {"execution_id": "@ID@", "policy": "claim-approval", "resource": "CLM-0000001", "signals": signals}
        elif form == "cerbos":
            resource = {"kind": "claim", "id": "CLM-0000001", "attr": attributes(signals, entities)}
            body = {
                "requestId": "@ID@",
                "principal": {"id": "claims-core", "roles": ["system"]},
                "resources": [{"resource": resource, "actions": ["deny", "refer", "approve"]}],
            }
        elif form == "signals":
            body = {"signals": signals, "outcome": case["expect"]["outcome"]}
        else:
            sys.exit(__doc__)
        print(json.dumps(body, separators=(",", ":")))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
