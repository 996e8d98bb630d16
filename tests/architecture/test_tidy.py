"""House rules that imports cannot show, read off the syntax tree; each rule has samples that it must and must not flag.

A rule takes a Source and yields complaints. `RULES` says where each holds.
"""

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINES_MAX = 450

# A module past LINES_MAX is a design question. One that stays so has its answer here.
LONG_MODULES: dict[str, str] = {
    # "jqsched/…/name.py": "why it is one thing",
}


@dataclass(frozen=True)
class Source:
    """One Python file: its path in the repository, with slashes, and its text."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return _parsed(self.text)

    @property
    def comments(self) -> dict[int, str]:
        """Comment by line number; a word in a string is not one."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}

    @property
    def docstrings(self) -> dict[int, str]:
        """Docstring by the number of its first line."""
        owners = self.nodes(ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        texts = {node.body[0].lineno: ast.get_docstring(node, clean=False) for node in owners if node.body}
        return {line: text for line, text in texts.items() if text}

    def nodes(self, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
        return (node for node in ast.walk(self.tree) if isinstance(node, kinds))


@cache
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


def dotted(node: ast.AST) -> str:
    """`a.b.c` for an expression of names and dots, with `?` for any other part."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else "?"


def has_reason(comment: str) -> bool:
    """Whether anything is said beside the directives themselves."""
    directive = r"#\s*(type:\s*ignore(\[[^\]]*\])?|noqa(:\s*[A-Z]+\d+([,\s]+[A-Z]+\d+)*)?|pragma:[\w ]*)"
    return re.search(r"\w{2,}", re.sub(directive, "", comment)) is not None


# --- the rules ---------------------------------------------------------------------------------------------------

Rule = Callable[[Source], Iterator[str]]

IMPURE_CALLS = {"open", "print", "input", "hash", "id", "eval", "exec", "__import__"}
CLOCKS = re.compile(r"(^|\.)(datetime|date)\.(now|utcnow|today)$")


def pure(source: Source) -> Iterator[str]:
    """The core reads no clock or file, prints nothing, and depends on no hash seed and no address."""
    for node in source.nodes(ast.Global):
        yield f"{node.lineno}: global"
    for node in source.nodes(ast.Name):
        if node.id in IMPURE_CALLS and isinstance(node.ctx, ast.Load):
            yield f"{node.lineno}: {node.id}"
    for node in source.nodes(ast.Attribute):
        if CLOCKS.search(dotted(node)):
            yield f"{node.lineno}: {dotted(node)} reads the clock"


def excepts_name_what_they_catch(source: Source) -> Iterator[str]:
    """No bare `except:`; `except Exception` says beside it why everything must be caught here."""
    for node in source.nodes(ast.ExceptHandler):
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        if node.type is None:
            yield f"{node.lineno}: bare except"
        elif any(dotted(kind).split(".")[-1] in ("Exception", "BaseException") for kind in caught):
            lines = range(node.lineno, node.type.end_lineno + 1)
            if not any(has_reason(source.comments.get(line, "")) for line in lines):
                yield f"{node.lineno}: except Exception without a reason beside it"


def no_sleep(source: Source) -> Iterator[str]:
    """Tests wait for events; `asyncio.sleep(0)`, which only gives way, is allowed."""
    for node in source.nodes(ast.ImportFrom):
        if node.module in ("time", "asyncio") and any(name.name == "sleep" for name in node.names):
            yield f"{node.lineno}: from {node.module} import sleep"
    gives_way = {
        id(node.func)
        for node in source.nodes(ast.Call)
        if dotted(node.func) == "asyncio.sleep" and [ast.unparse(arg) for arg in node.args] == ["0"]
    }
    for node in source.nodes(ast.Attribute):
        if dotted(node) in ("time.sleep", "asyncio.sleep") and id(node) not in gives_way:
            yield f"{node.lineno}: {dotted(node)}"


def short(source: Source) -> Iterator[str]:
    """A module past LINES_MAX lines is listed with its reason."""
    lines = len(source.text.splitlines())
    if lines > LINES_MAX and source.path not in LONG_MODULES:
        yield f"{lines} lines; more than {LINES_MAX} need a reason in LONG_MODULES"


def module_says_what_it_is(source: Source) -> Iterator[str]:
    """Every module has a docstring."""
    if not ast.get_docstring(source.tree):
        yield "1: no module docstring"


def named_for_its_subject(source: Source) -> Iterator[str]:
    """No module is named for being left over."""
    for part in Path(source.path).with_suffix("").parts:
        if part in {"util", "utils", "helper", "helpers", "common", "misc", "model", "models"}:
            yield f"1: {part} is no subject"


def public_names_are_explained(source: Source) -> Iterator[str]:
    """Public functions and classes have docstrings; in ports the methods too, for they are the contract."""
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    bodies = [("", source.tree.body)]
    if source.path.endswith("ports.py"):
        bodies += [
            (f"{node.name}.", node.body)
            for node in source.tree.body
            if isinstance(node, ast.ClassDef) and any("Protocol" in dotted(base) for base in node.bases)
        ]
    for prefix, body in bodies:
        for node in body:
            if not isinstance(node, definitions) or node.name.startswith("_") or ast.get_docstring(node):
                continue
            if not any(dotted(decorator).endswith("overload") for decorator in node.decorator_list):
                yield f"{node.lineno}: {prefix}{node.name} has no docstring"


def exemptions_have_reasons(source: Source) -> Iterator[str]:
    """`type: ignore` and `noqa` are followed by why: `# type: ignore[code]  # the stub is wrong`."""
    for line, comment in source.comments.items():
        if re.search(r"#\s*(type:\s*ignore|noqa|pragma:)", comment) and not has_reason(comment):
            yield f"{line}: {comment} without a reason"


PRONOUNS = re.compile(
    r"\b(he|him|his|himself|she|her|hers|some(body|one)|any(body|one)|every(body|one)|nobody|whoever|whom)\b",
    re.IGNORECASE,
)


def things_are_it(source: Source) -> Iterator[str]:
    """In docstrings and comments a program, a client, a job or a function is "it"; a person is "a user" and "they"."""
    texts = sorted([*source.comments.items(), *source.docstrings.items()])
    for line, text in texts:
        for offset, part in enumerate(re.sub(r"`[^`\n]*`", "", text).splitlines()):
            for found in PRONOUNS.finditer(part):
                yield f"{line + offset}: {found[0]!r} in {part.strip()!r}"


def hooks_are_given(source: Source) -> Iterator[str]:
    """A callback is a parameter: no public attribute holds a stand-in until another part assigns the real one."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Attribute):
            continue
        is_callable = "Callable" in ast.unparse(node.annotation) or isinstance(node.value, ast.Lambda)
        if is_callable and not node.target.attr.startswith("_") and not isinstance(node.value, ast.Name):
            yield f"{node.lineno}: {ast.unparse(node.target)} is assigned after construction"


CORE = r"jqsched/(core/.*|ports)\.py"
PACKAGE = r"jqsched/.*\.py"
PLAIN = r"(jqsched/(?!job/alphabets)|tests/(?!architecture/test_tidy)|benchmarks/).*\.py"  # a licence, and bad samples
PARTS = r"jqsched/(?!testing/).*\.py"  # a test may plant what it likes
TESTS = r"(tests|jqsched/testing)/.*\.py"
EVERYWHERE = r".*\.py"

RULES: list[tuple[Rule, str]] = [
    (pure, CORE),
    (public_names_are_explained, CORE),
    (short, PACKAGE),
    (module_says_what_it_is, EVERYWHERE),
    (named_for_its_subject, EVERYWHERE),
    (excepts_name_what_they_catch, EVERYWHERE),
    (exemptions_have_reasons, EVERYWHERE),
    (no_sleep, TESTS),
    (things_are_it, PLAIN),
    (hooks_are_given, PARTS),
]


@cache
def sources() -> tuple[Source, ...]:
    files = [ROOT / "dev.py", ROOT / "release.py"]
    for folder in ("jqsched", "tests", "benchmarks"):
        files += sorted((ROOT / folder).rglob("*.py"))
    return tuple(Source(path.relative_to(ROOT).as_posix(), path.read_text("utf-8")) for path in files)


@pytest.mark.parametrize(("rule", "where"), [pytest.param(*row, id=row[0].__name__) for row in RULES])
def test_the_repository_keeps(rule: Rule, where: str):
    chosen = [source for source in sources() if re.fullmatch(where, source.path)]
    assert chosen, f"no file matches {where}: the rule looks nowhere"
    complaints = [f"{source.path}:{complaint}" for source in chosen for complaint in rule(source)]
    assert not complaints, f"{rule.__doc__}\n" + "\n".join(complaints)


def test_long_modules_are_long_and_have_reasons():
    lines = {source.path: len(source.text.splitlines()) for source in sources()}
    for path, reason in LONG_MODULES.items():
        assert lines.get(path, 0) > LINES_MAX, f"{path} is not past {LINES_MAX} lines: take it off the table"
        assert len(reason.split()) >= 3, f"{path}: {reason!r} is no reason"


# --- the rules are tested ----------------------------------------------------------------------------------------

# The directives are put together here, for otherwise this file would seem to contain them.
IGNORE, NOQA = "# type: " + "ignore", "# no" + "qa"

BAD: list[tuple[Rule, str]] = [
    (pure, "open('x')"),
    (pure, "def f(): print(1)"),
    (pure, "key = sorted(jobs, key=hash)"),
    (pure, "hash(job)"),
    (pure, "def f():\n    global n\n    n = 1"),
    (pure, "now = datetime.now()"),
    (pure, "now = datetime.datetime.now(tz=UTC)"),
    (pure, "field(factory=datetime.utcnow)"),
    (pure, "date.today()"),
    (excepts_name_what_they_catch, "try: f()\nexcept: pass"),
    (excepts_name_what_they_catch, "try: f()\nexcept Exception: pass"),
    (excepts_name_what_they_catch, "try: f()\nexcept (OSError, BaseException) as e: pass"),
    (excepts_name_what_they_catch, "try: f()\nexcept builtins.Exception: pass"),
    (excepts_name_what_they_catch, f"try: f()\nexcept Exception: pass  {NOQA}: BLE001"),
    (no_sleep, "time.sleep(1)"),
    (no_sleep, "monkeypatch.setattr(x, 'wait', time.sleep)"),
    (no_sleep, "from time import monotonic, sleep"),
    (no_sleep, "async def f(): await asyncio.sleep(0.1)"),
    (short, "x = 1\n" * (LINES_MAX + 1)),
    (module_says_what_it_is, ""),
    (module_says_what_it_is, "x = 1\n'late'"),
    (public_names_are_explained, "def f(): return 1"),
    (public_names_are_explained, "async def f(): return 1"),
    (public_names_are_explained, "class C:\n    x: int"),
    (exemptions_have_reasons, f"x = 1  {IGNORE}"),
    (exemptions_have_reasons, f"x = 1  {IGNORE}[attr-defined]"),
    (exemptions_have_reasons, f"x = 1  {NOQA}: E501"),
    (exemptions_have_reasons, f"x = 1  {NOQA}: E501, PLR0911"),
    (exemptions_have_reasons, f"x = 1  {IGNORE}[misc]  {NOQA}: E501"),
    (things_are_it, "x = 1  # the client gets his answer"),
    (things_are_it, "'''A bell.\n\nTell Him.'''"),
    (things_are_it, "def f():\n    '''Open it; nobody waits.'''"),
    (things_are_it, "async def f():\n    '''Answer whoever asked.'''"),
    (things_are_it, "class C:\n    def m(self):\n        '''Wait for somebody.'''"),
    (hooks_are_given, "self.on_load: Callable[[], None] = lambda: None"),
    (hooks_are_given, "self.handler: Request = lambda topic: None"),
    (hooks_are_given, "self.follow: Callable[[int], None] | None = None"),
]
GOOD: list[tuple[Rule, str]] = [
    (pure, "def f(now_us): return datetime.fromisoformat('x') < now_us"),
    (pure, "class C:\n    def __hash__(self): return 1\nx.print()\ny = job.id"),
    (pure, "text = 'open print hash'  # print"),
    (excepts_name_what_they_catch, "try: f()\nexcept (OSError, ValueError): pass"),
    (excepts_name_what_they_catch, "try: f()\nexcept Exception:  # a plugin may raise anything\n    pass"),
    (no_sleep, "async def f(): await asyncio.sleep(0)"),
    (no_sleep, "run('sleep 1')  # time.sleep"),
    (short, "x = 1\n" * LINES_MAX),
    (module_says_what_it_is, "'''What it is.'''"),
    (public_names_are_explained, "def _f(): return 1\n@overload\ndef g(): ..."),
    (public_names_are_explained, "class C:\n    '''What.'''\n    def m(self): return 1"),
    (exemptions_have_reasons, f"x = 1  {IGNORE}[misc]  # the stub lacks it"),
    (exemptions_have_reasons, f"x = 1  {NOQA}: E501  # an address"),
    (exemptions_have_reasons, f"x = '{NOQA}'"),
    (things_are_it, "'''The other process: it is there. This, where `nobody` is an account.'''"),
    (things_are_it, "user = 'nobody'\nhe = 1  # its value"),
    (hooks_are_given, "self.answer: Callable[[], None] = answer\nself._todo: list[Callable[[], None]] = []"),
]


@pytest.mark.parametrize(
    ("rule", "text"), [pytest.param(*row, id=f"{row[0].__name__}-{i}") for i, row in enumerate(BAD)]
)
def test_a_bad_sample_is_flagged(rule: Rule, text: str):
    assert list(rule(Source("jqsched/core/sample.py", text)))


@pytest.mark.parametrize(
    ("rule", "text"), [pytest.param(*row, id=f"{row[0].__name__}-{i}") for i, row in enumerate(GOOD)]
)
def test_a_good_sample_is_not_flagged(rule: Rule, text: str):
    assert not list(rule(Source("jqsched/core/sample.py", text)))


@pytest.mark.parametrize(
    "path", ["jqsched/utils.py", "jqsched/core/helpers.py", "jqsched/common/x.py", "tests/models.py"]
)
def test_a_name_that_is_no_subject_is_flagged(path: str):
    assert list(named_for_its_subject(Source(path, "")))


def test_ports_explain_their_methods_too():
    text = "class P(Protocol):\n    '''What.'''\n    def m(self): ..."
    assert list(public_names_are_explained(Source("jqsched/ports.py", text)))
    assert not list(public_names_are_explained(Source("jqsched/core/x.py", text)))


def test_every_rule_has_a_bad_sample():
    tested = {rule for rule, _ in BAD} | {named_for_its_subject}
    assert {rule for rule, _ in RULES} <= tested
