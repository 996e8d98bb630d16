"""What tests of dispatch share: the one answer to a request, and an executor that is lost."""

from typing import Any

from tests.scheduler.conftest import World


def given(answers: list[Any]) -> dict[str, Any] | str:
    assert len(answers) == 1, f"answered {len(answers)} times"
    return answers[0].strerror if isinstance(answers[0], OSError) else answers[0]


def lose_executor(world: World) -> None:
    world.executor.kill()
    world.advance()
