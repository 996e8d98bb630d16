"""What Hypothesis is told of our types when it is imported (entry point `hypothesis` of this package).

Rule: it costs next to nothing: types are named, and their strategies are made when one is first used. Nothing here
is imported by anything of ours.
"""


def register() -> None:
    """Let `from_type` and annotated `@given` arguments find the strategies of `jqsched.testing.strategies`."""
    from hypothesis.strategies import SearchStrategy, register_type_strategy

    from jqsched.core.event import Event
    from jqsched.core.filters import Rule
    from jqsched.core.job import Dependency, Draft, Job, Spec
    from jqsched.core.policy import Limits
    from jqsched.core.queue import Queue
    from jqsched.testing.scenario import History

    names = {
        Dependency: "dependencies",
        Draft: "drafts",
        Event: "events",
        History: "histories",
        Job: "jobs",
        Limits: "limits",
        Queue: "queues",
        Rule: "filter_rules",
        Spec: "specs",
    }

    def strategy_of(kind: type[object]) -> SearchStrategy[object]:
        from jqsched.testing import strategies  # not before: it imports Hypothesis, which is just importing us

        made: SearchStrategy[object] = getattr(strategies, names[kind])()
        return made

    for kind in names:
        register_type_strategy(kind, strategy_of)
