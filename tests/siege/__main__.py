"""`make siege`: SECONDS=60 RATE=500 CONNECTIONS=1500 ATTACKS="idle unread"; `--json` prints what was measured.

Ends with 1 if anything did not hold; then the logs of endpoint and worker stay, and it says where.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.siege.siege import Finding, Outcome, Plan, besiege


def main() -> int:
    """Run a siege as the environment asks for; 1 if anything did not hold."""
    parser = argparse.ArgumentParser(prog="make siege", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print everything that was measured")
    as_json = parser.parse_args().json
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and end all that was started
    folder = Path(tempfile.mkdtemp(prefix="siege-"))
    outcome = besiege(_plan(os.environ), folder)
    print(json.dumps(outcome.as_json(), indent=1) if as_json else table(outcome))
    if outcome.holds:
        shutil.rmtree(folder)
        return 0
    print(f"NOT HELD; the logs are in {folder}", file=sys.stderr)
    return 1


def _plan(environ: Mapping[str, str]) -> Plan:
    plan = Plan()
    return Plan(
        float(environ.get("SECONDS") or plan.seconds),
        int(environ.get("RATE") or plan.rate),
        int(environ.get("CONNECTIONS") or plan.connections),
        tuple(environ.get("ATTACKS", "").split()),
    )


def table(outcome: Outcome) -> str:
    """What was measured beside what may be, a line each, and how the attacks were answered."""
    width = max(len(finding.about) for finding in outcome.findings)
    lines = []
    for one in outcome.findings:
        measured, most = _shown(one, one.measured), _shown(one, one.most)
        lines.append(f"{'ok' if one.holds else 'WRONG':<5}  {one.about:<{width}}  {measured} (at most {most})")
    lines += ["", *(f"{name}: {value}" for name, value in outcome.figures.items()), ""]
    for name, outcomes in outcome.answers.items():
        lines.append(f"{name}: {', '.join(f'{count:,} of {what}' for what, count in outcomes.most_common())}")
    return "\n".join(lines)


def _shown(finding: Finding, number: float) -> str:
    if finding.unit == "bytes":
        return f"{number / 2**20:,.1f} MiB" if number else "0"
    return f"{number:,g} {finding.unit}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
