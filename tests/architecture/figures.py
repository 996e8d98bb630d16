"""Figures of the house: `python -m tests.architecture.figures` prints how large and how tidy the package is.

They are for comparing two states of the repository, and are no limits: those are rules of test_tidy. How far a request
travels is measured by `python -m tests.architecture.traced_paths`.
"""

import ast
from collections.abc import Iterator
from itertools import chain
from statistics import median

from tests.architecture.test_tidy import Rule, Source, hooks_are_given, sources, things_are_it

SHOWN = 3


def functions(source: Source) -> Iterator[tuple[int, str]]:
    """Return the length in lines, and the place, of each function of a module."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (node.end_lineno or node.lineno) - node.lineno + 1, f"{source.path}:{node.lineno} {node.name}"


def complaints(rule: Rule, chosen: list[Source]) -> int:
    """Count what a rule has to say, in the modules for which it is no law, too."""
    return sum(1 for source in chosen for _ in rule(source))


def largest(sizes: list[tuple[int, str]]) -> str:
    """Write the median of some sizes, and the largest with their places."""
    top = ", ".join(f"{size} ({place})" for size, place in sorted(sizes, reverse=True)[:SHOWN])
    return f"median {median(size for size, _ in sizes):.0f}; largest {top}"


def main() -> None:
    """Print a line for each figure."""
    package = [source for source in sources() if source.path.startswith("jqsched/")]
    tests = [source for source in sources() if source.path.startswith("tests/")]
    for name, chosen in (("jqsched", package), ("tests", tests)):
        modules = [(len(source.text.splitlines()), source.path) for source in chosen]
        print(f"{name}: {sum(lines for lines, _ in modules)} lines in {len(modules)} modules; {largest(modules)}")
        print(f"{name}: functions: {largest(list(chain.from_iterable(map(functions, chosen))))}")
        print(f"{name}: {complaints(things_are_it, chosen)} pronouns for things")
    print(
        f"jqsched: {complaints(hooks_are_given, package)} hooks assigned after construction (in jqsched/testing, too)"
    )


if __name__ == "__main__":
    main()
