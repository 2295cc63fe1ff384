#!/usr/bin/env python3
"""Makes Prometheus rules fast, for a test that drives an alert: every `for:` and every window in
brackets is divided by a factor.

    tools/scale-rules.py FACTOR < deploy/prometheus/ipc-gateway.rules.yml > fast.rules.yml

FACTOR is a whole number from 1; a minute with 60 becomes a second. Thresholds stay, so counts in a
window are reached sooner or later than in earnest. Exit codes: 0 done, 2 usage.
"""

import re
import sys

MILLIS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}


def main() -> int:
    if len(sys.argv) != 2 or not sys.argv[1].isdigit() or int(sys.argv[1]) < 1:
        print(__doc__, file=sys.stderr)
        return 2
    factor = int(sys.argv[1])

    def scaled(match: re.Match[str]) -> str:
        before, number, unit, after = match.groups()
        return f"{before}{max(int(number) * MILLIS[unit] // factor, 1)}ms{after}"

    text = sys.stdin.read()
    text = re.sub(r"(?m)^(\s+for: )(\d+)(ms|s|m|h)()$", scaled, text)
    text = re.sub(r"(\[)(\d+)(ms|s|m|h)(\])", scaled, text)
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
