"""Make a spool of real work: compress and checksum modules of Python's standard library, then sum up.

    python docs/examples/stdlib_checksums.py FOLDER [COUNT]

writes COUNT (default 200) job files and one `sum.json` into FOLDER/drop, to be moved into a spool in any order: the sum
depends on all others by name (`after`), and may well be dropped first. Each job appends one line to FOLDER/ran when it
runs, so that anyone can count how often each did.
"""

import json
import sys
import sysconfig
from pathlib import Path

COMPRESS = """\
set -e
echo "$JQSCHED_NAME $JQSCHED_ATTEMPT" >> "$RAN"
gzip -9 -n -c "$MODULE" > "$RESULTS/$JQSCHED_NAME.gz"
cksum < "$RESULTS/$JQSCHED_NAME.gz" > "$RESULTS/$JQSCHED_NAME.sum"
"""
SUM = """\
set -e
echo "$JQSCHED_NAME $JQSCHED_ATTEMPT" >> "$RAN"
cat "$RESULTS"/*.sum |
awk '{ files += 1; bytes += $2; checks += $1 } END { printf "%d %d %.0f\\n", files, bytes, checks }'
"""


def modules(count: int) -> list[Path]:
    """The first modules of the standard library, by name."""
    library = Path(sysconfig.get_paths()["stdlib"])
    return sorted(path for path in library.glob("*.py") if path.stat().st_size)[:count]


def make_jobs(folder: Path, count: int) -> list[str]:
    """Write the job files; returns the names of the compressing jobs."""
    drop, results = folder / "drop", folder / "results"
    for made in (drop, results):
        made.mkdir(parents=True, exist_ok=True)
    where = {"RAN": str(folder / "ran"), "RESULTS": str(results)}
    names: list[str] = []
    for number, module in enumerate(modules(count) * (1 + count // 150)):
        if len(names) == count:
            break
        name = f"{module.stem.lstrip('_.') or 'init'}-{number}"
        job = {"name": name, "script": COMPRESS, "env": {**where, "MODULE": str(module)}, "urgency": 8 + number % 16}
        (drop / f"{name}.json").write_text(json.dumps(job))
        names.append(name)
    total = {"name": "sum", "script": SUM, "env": where, "after": names}
    (drop / "sum.json").write_text(json.dumps(total))
    return names


if __name__ == "__main__":
    target = Path(sys.argv[1])
    made = make_jobs(target, int(sys.argv[2]) if len(sys.argv) > 2 else 200)
    print(f"{len(made) + 1} job files in {target / 'drop'}")
