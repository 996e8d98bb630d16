"""What examples of filter rules share: a job with all that rules can see, and rules that are read in one line."""

from attrs import evolve

from jqsched.core.filters import BadRule, Rule, read_rule, subject
from jqsched.core.job import OnInterrupt, Reason, Spec

PLAIN = Spec(command=("gcc", "-c", "x.c"), name="build", cwd="/src", env=(("SECRET", "x"),), cores=4)
FULL = evolve(
    PLAIN,
    tasks=2,
    time_limit_us=90_500_000,
    output="o.log",
    error="e.log",
    on_interrupt=OnInterrupt.FAIL,
    reasons=(Reason("me", "maintenance of node7", 5), Reason("cron", "nightly")),
    jobspec={
        "attributes": {
            "system": {"queue": "big", "project": "p1", "bank": "b1", "environment": {"SECRET": "x"}},
            "user": {
                "flag": True, "off": False, "nothing": None, "n": 3, "f": 1.5, "text": "t", "many": [1, 2.0, 3],
                "mixed": [1, "a"], "bools": [True, 1], "none": [], "inner": {"deep": {"x": 1}, "list": [{"y": 1}]},
                "a.b": 1, "jqsched": {"output": "o.log"},
            },
        }
    },
)  # fmt: skip
T_SUBMIT_US = 7


def document(*predicates: object, **changes: object) -> dict:
    rule = {"uuid": "r1", "watermark": 10, "priority": 0, "predicates": list(predicates), "action": "PAUSE"}
    return rule | changes


def rule(*predicates: object, **changes: object) -> Rule:
    found = read_rule(document(*predicates, **changes))
    assert isinstance(found, Rule), found
    return found


def holds(kind: str, filter_: object, spec: Spec = FULL, id_: int = 10) -> bool:
    return rule([kind, filter_]).matches(subject(id_, spec, 1000, T_SUBMIT_US))


def errors(*predicates: object, **changes: object) -> tuple[str, ...]:
    found = read_rule(document(*predicates, **changes))
    assert isinstance(found, BadRule)
    return found.errors
