"""Known faults in the packages that are installed here. Fails on one that is not in `ACCEPTED`.

    .venv/bin/python .ci/audit.py

Where no advisory service answers, as on a machine without a network, one line says so and nothing fails.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

ACCEPTED: Mapping[str, str] = {}
"""Advisory -> why it does not concern this project."""

COMMAND = ["-m", "pip_audit", "--skip-editable", "--progress-spinner=off", "--timeout=10", "--format=json"]


def verdict(stdout: str, stderr: str, accepted: Mapping[str, str] = ACCEPTED) -> tuple[int, list[str]]:
    """Exit code and lines to print, from what pip-audit printed."""
    try:
        packages: list[dict[str, Any]] = json.loads(stdout)["dependencies"]
    except ValueError:
        why = (stderr.strip().splitlines() or ["no reason given"])[-1]
        return 0, [f"audit: not done, no advisory service can be asked ({why[:200]})"]
    asked = [package for package in packages if "vulns" in package]
    if not asked:
        return 0, [f"audit: not done, the advisory service knows none of the {len(packages)} packages"]
    faults = [
        f"audit: {package['name']} {package['version']}: {fault['id']}, fixed in "
        f"{' or '.join(fault['fix_versions']) or 'no version yet'}"
        for package in asked
        for fault in package["vulns"]
        if accepted.keys().isdisjoint({fault["id"], *fault.get("aliases", ())})
    ]
    return (1, faults) if faults else (0, [f"audit: {len(asked)} packages, no known fault"])


def main() -> int:
    """Audit the environment of this Python."""
    done = subprocess.run([sys.executable, *COMMAND], capture_output=True, text=True, check=False)
    code, lines = verdict(done.stdout, done.stderr)
    print("\n".join(lines))  # noqa: T201
    return code


if __name__ == "__main__":
    raise SystemExit(main())
