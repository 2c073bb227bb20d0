"""Replays decisions recorded from upstream's scheduler against ours: python -m tests.scheduling.replay [--only RE]"""

from __future__ import annotations

import argparse
import re
import sys

from tests.recorded import Recorded

RECORDED = Recorded(
    "scheduling",
    tool="scheduling.py",
    components="api,scheduler",
    row=re.compile(r"^(\S+): (\d+) of (\d+) as upstream", re.MULTILINE),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="cases, as TOPIC/NAME")
    parser.add_argument("--show", type=int, default=5, help="differences per file")
    arguments = parser.parse_args()
    counts, text = RECORDED.replay(arguments.only, arguments.show)
    print(text)
    sys.exit(any(count.good < count.total for count in counts.values()) or not counts)


if __name__ == "__main__":
    main()
