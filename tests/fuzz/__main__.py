"""`python -m tests.fuzz`: a search by hand or by night; each finding is said with its number and where its input lies.

Rule: 0 when nothing was found, 1 when something was; the same arguments and corpus find the same.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fuzz.search import judge, run
from tests.fuzz.targets import KINDS


def main(arguments: list[str]) -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("--kind", choices=KINDS, action="append", help="of this kind (default: all kinds)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=10_000, help="so many inputs of each kind")
    parser.add_argument("--from", type=int, default=0, dest="first", metavar="N", help="begin with input number N")
    parser.add_argument("--folder", type=Path, help="where inputs are put that show a fault (default: a new one)")
    parser.add_argument("--file", type=Path, help="judge this one file instead")
    given = parser.parse_args(arguments)
    kinds = [KINDS[name] for name in given.kind or KINDS]
    if given.file is not None:
        faults = [judge(kind, given.file.read_bytes())[1] for kind in kinds]
        print("\n".join(fault.text for fault in faults if fault is not None) or "nothing is wrong with it")
        return int(any(faults))
    folder = given.folder or Path(tempfile.mkdtemp(prefix="jqsched-fuzz-"))
    folder.mkdir(exist_ok=True)
    worst = 0
    for kind in kinds:
        result = run(kind, given.seed, given.count, first=given.first, folder=folder)
        print(result, flush=True)
        for finding in result.findings:
            worst = 1
            print(f"  number {finding.number}: {finding.path} ({len(finding.data)} bytes)\n  {finding.fault.text}")
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
