"""Directives of scripts: RFC 36's examples and rules, Slurm's, and what the options of each dialect say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jqsched.core.jobspec.directive_options import wishes_of
from jqsched.core.jobspec.directives import BadDirectives, Dialect, read_directives


def words(text: str) -> list[tuple[int, tuple[str, ...]]]:
    return [(found.line, found.words) for found in read_directives(text).found]


def errors(text: str) -> tuple[str, ...]:
    with pytest.raises(BadDirectives) as refusal:
        wishes_of(read_directives(text).found)
    return refusal.value.errors


def entries(text: str) -> dict[str, object]:
    return wishes_of(read_directives(text).found).entries


# ---- RFC 36 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("#!/bin/sh\n#FLUX: -N1   # one node\n#FLUX: --job-name=app\nrun\n", [(2, ("-N1",)), (3, ("--job-name=app",))]),
        ("# flux: -N 4 -c 2\n# Set job name:\n# flux: -t 5", [(1, ("-N", "4", "-c", "2")), (3, ("-t", "5"))]),
        ("# First:\n#jq: --cores=4\n# Name:\n#jq: --name=t\ndate", [(2, ("--cores=4",)), (4, ("--name=t",))]),
        ("--\n-- flux: -N1\n-- flux: --output=o\nlocal app", [(2, ("-N1",)), (3, ("--output=o",))]),
        ('    flux: -N4\n    flux: --name="my job"\n\n    # text\n    flux: -q b', [
            (1, ("-N4",)), (2, ("--name=my job",)), (5, ("-q", "b"))]),
        ("# flux: --name='''It's a \"job\"'''", [(1, ("--name=It's a \"job\"",))]),
        ('# flux: --a="""{"key": 42}"""', [(1, ('--a={"key": 42}',))]),
        ('# flux: --conf="""\n# flux: [config]\n# flux:   item = "foo"\n# flux: """\n# flux: -N1',
         [(1, ('--conf=[config]\n  item = "foo"\n',)), (5, ("-N1",))]),
        ("#jq:\n#jq: --cores=1\r\n", [(2, ("--cores=1",))]),
        ("#jq: --cores=1\n#flux: -N1\n#SBATCH -J x", [(1, ("--cores=1",)), (2, ("-N1",)), (3, ("-J", "x"))]),
        ("echo jq: none\nx", []),
    ],
)  # fmt: skip
def test_directives_are_found_and_split_as_by_a_shell(text: str, wanted: list[tuple[int, tuple[str, ...]]]):
    assert words(text) == wanted


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("#jq: --cores=1\nhostname\n#jq: --name=x", "line 3: a directive behind the end of the directives"),
        ("#jq: --cores=1\n# flux: -N1", "line 2: all directives begin alike: with '#', not '# '"),
        ('#jq: --name="x', "line 1: no closing quotation"),
        ("#jq: --name='''\n#jq: x", "line 1: the triple quotes are never closed"),
        ("#jq: --name='''\nx\n", "line 2: a literal in triple quotes goes on with directives only"),
    ],
)
def test_what_breaks_the_rules_is_an_error_with_its_line(text: str, error: str):
    assert errors(text)[0].startswith(error)


def test_slurm_s_directives_end_at_the_first_command_and_later_ones_are_ignored():
    found = read_directives("#!/bin/sh\n#SBATCH -J a\n##SBATCH -J c\n# note\n\ndate\n#SBATCH -J b\n")
    assert [(each.line, each.dialect, each.words) for each in found.found] == [(2, Dialect.SLURM, ("-J", "a"))]
    assert found.notes == ("line 7: #SBATCH behind the first command is ignored, as Slurm does",)


@given(st.text(st.sampled_from("#jq:flux SBATCH\n\"' -=x\r\t"), max_size=80))
def test_no_text_brings_forth_more_than_directives_or_errors_with_lines(text: str):
    said: tuple[str, ...] = ()
    try:
        wishes_of(read_directives(text).found, ignore_unknown=True)
    except BadDirectives as wrong:
        said = (*wrong.errors, "line ")
    assert len(said) != 1
    assert all(error.startswith("line ") for error in said)


# ---- what options say -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("#SBATCH --job-name=x --time=90", {"name": "x", "time_limit": 5400.0}),
        ("#SBATCH -t 10:00", {"time_limit": 600.0}),
        ("#SBATCH -t 1-12", {"time_limit": 129_600.0}),
        ("#SBATCH -t1:30:00", {"time_limit": 5400.0}),
        ("#SBATCH -c 4 -n 1 -N1", {"cores": 4}),
        ("#SBATCH --output=%x-%j.out --error=%A.%%", {"output": "{name}-{id}.out", "error": "{id}.%"}),
        ("#SBATCH --array=1-9:2%4 -o %A_%a", {"array": "1-9:2%4", "output": "{id}_{index}"}),
        ("#SBATCH -d afterok:12:13,singleton", {"dependencies": [
            {"scheme": "afterok", "value": "12"}, {"scheme": "afterok", "value": "13"}, {"scheme": "singleton"}]}),
        ("#SBATCH --begin=now+2hours --no-requeue -H", {"begin_time": "+7200", "on_interrupt": "fail", "urgency": 0}),
        ("#SBATCH --chdir /tmp --begin 2030-01-01", {"cwd": "/tmp", "begin_time": "2030-01-01"}),
        ("# flux: -t 90 --output=o.{{id}} --env-none", {"time_limit": 5400.0, "output": "o.{id}"}),
        ("# flux: -t 90s -c2", {"time_limit": 90.0, "cores": 2}),
        ("#jq: --time-limit=90 --cpus-per-task=2 --job-name n", {"time_limit": "90", "cores": 2, "name": "n"}),
        ("#jq: --after a,b --after 3 --retries max=2,delay=1s --reason why", {
            "after": ["a", "b", "3"], "retries": {"max": 2, "delay": "1s"}, "reason": ["why"]}),
    ],
)  # fmt: skip
def test_an_option_says_what_it_says_where_it_comes_from(line: str, wanted: dict[str, object]):
    """A bare 90 is minutes to Slurm and Flux, seconds to us."""
    assert entries(line) == wanted


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("#jq: --core=4", "line 1: --core: is not known here; did you mean --cores?"),
        ("#SBATCH --gres=gpu:1", "line 1: --gres: is not known here"),
        ("#SBATCH --ntasks=4", "line 1: --ntasks: scripts run as one task on one machine here: only 1 is possible"),
        ("#SBATCH --time=soon", "line 1: --time: must be minutes, M:S"),
        ("#SBATCH --output=%N.out", "line 1: --output: %N is not known here"),
        ("#SBATCH -d afterok:1?afterok:2", "line 1: -d: any of several (?) is not possible here"),
        ("#jq: --cores=none", "line 1: --cores: must be an integer, not 'none'"),
        ("#jq: --cores=0", "line 1: --cores: must be an integer 1"),
        ("#jq: --name", "line 1: --name: a value is missing"),
        ("#jq: word", "line 1: word: is no option (one begins with -)"),
    ],
)
def test_what_nothing_here_can_do_is_an_error_with_its_line(line: str, error: str):
    (found,) = errors(line)
    assert found.startswith(error)


def test_unknown_options_may_be_ignored_and_those_of_accounts_and_mail_are():
    found = read_directives("#SBATCH --gres=gpu:1 --mail-type=END -A me --mem=4G\n#SBATCH --export=NONE,A=1,B")
    wishes = wishes_of(found.found, ignore_unknown=True)
    assert [note.partition(": ")[2] for note in wishes.ignored] == [
        "--gres: is not known here",
        "--mail-type: no mail is sent: ignored",
        "-A: there are no accounts and queues here: ignored",
        "--mem: nothing here limits memory: ignored",
    ]
    assert (wishes.entries, wishes.capture, wishes.env) == ({}, "none", ["A=1", "B"])
