"""Replays the answers recorded from upstream's API server against ours, and keeps the counts that may only grow.

scripts/wire [--only REGEX] [--show N] [--update]
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
from pathlib import Path

from tests.recorded import Count, Recorded

HERE = Path(__file__).resolve().parent
RATCHET = HERE / "ratchet.json"

RECORDED = Recorded(
    "wire",
    tool="wire.py",
    components="api",
    row=re.compile(r"^((?:scenarios|manifests)/\S+): (\d+) of (\d+) as upstream$", re.MULTILINE),
)

# Scenarios and kinds that later work covers; they are replayed and kept from falling like the others, but do not
# count for the shares that the first slice promises.
LATER = re.compile(
    r"scenarios/(extension-|admission-webhooks|flow-control|hpa-versions|signing-requests)"
    r"|manifests/(apiservice|certificatesigningrequest|crd-|csi|deviceclass|flowschema|hpa-|mutating|validating"
    r"|prioritylevel|resourceclaim|resourceslice|volumeattach|volumeattributes|servicecidr|ipaddress)"
)


def kept() -> dict[str, int]:
    found: dict[str, int] = json.loads(RATCHET.read_text()) if RATCHET.exists() else {}
    return found


def shares(counts: dict[str, Count]) -> dict[str, float]:
    """The share of equal answers among the scenarios and the mutations of the first slice."""
    found = {}
    for part in ("scenarios", "manifests"):
        mine = [c for file, c in counts.items() if file.startswith(part) and not LATER.match(file)]
        found[part] = sum(c.good for c in mine) / max(1, sum(c.total for c in mine))
    return found


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends with us
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", default="", help="regular expression on 'scenarios/NAME' or 'manifests/NAME'"
    )
    parser.add_argument("--show", type=int, default=3, help="differences shown per file")
    parser.add_argument("--update", action="store_true", help="write counts that grew into ratchet.json")
    arguments = parser.parse_args()
    counts, text = RECORDED.replay(arguments.only, arguments.show)
    print(text)
    before = kept()
    fallen = [f"{f}: {c.good}, was {before[f]}" for f, c in counts.items() if c.good < before.get(f, 0)]
    print("\n".join(f"fallen: {line}" for line in fallen))
    for part, share in shares(counts).items():
        print(f"{part} of the first slice: {share:.1%}")
    if arguments.update:
        grown = {**before, **{f: max(c.good, before.get(f, 0)) for f, c in counts.items()}}
        RATCHET.write_text(json.dumps(dict(sorted(grown.items())), indent=1) + "\n")
    return 1 if fallen or not counts else 0


if __name__ == "__main__":
    sys.exit(main())
