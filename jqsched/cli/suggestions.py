"""What a user may have meant who typed a word of another program: pueue, Slurm, Flux, HyperQueue, the shell.

In: the path of a command (`jqsched jobs`) and the line that says what is wrong with its arguments. Out: a line that
names the command or option that does it here; None where nothing is known. Pure.
"""

import re

_NO_COMMAND = re.compile(r"No such command '(.+?)'")
_NO_OPTION = re.compile(r"No such option:? (-{1,2}[\w-]+)")
_EXTRA = re.compile(r"Got unexpected extra arguments?(?:\(s\))? \((.+)\)")

_LIST = "`jqsched jobs` lists jobs"
_CANCEL = "`jqsched cancel JOB` ends a job; `jqsched purge JOB` forgets one that is finished"
_SUBMIT = "`jqsched submit -- COMMAND` submits a job"
_LOG = "`jqsched log JOB` prints what a job wrote, `-f` as it comes"
_SHOW = "`jqsched show JOB` shows all about a job"
_RUN = "`jqsched run` runs the scheduler"
_AGAIN = "`jqsched retry JOB` runs a finished job again, `jqsched requeue JOB` any"
_COMMANDS = {
    **dict.fromkeys(("ls", "list", "ps", "q", "queue", "squeue", "qstat", "job", "jobs-list", "history"), _LIST),
    **dict.fromkeys(("rm", "remove", "delete", "del", "scancel", "qdel", "stop", "abort", "terminate"), _CANCEL),
    **dict.fromkeys(("add", "sbatch", "srun", "qsub", "enqueue", "push", "exec", "bulksubmit"), _SUBMIT),
    **dict.fromkeys(("logs", "cat", "output", "attach", "tail", "stdout"), _LOG),
    **dict.fromkeys(("info", "inspect", "describe", "get"), _SHOW),
    **dict.fromkeys(("start", "server", "serve", "daemon", "pueued"), _RUN),
    **dict.fromkeys(("restart", "rerun", "resubmit", "again"), _AGAIN),
    "pause": "`jqsched hold JOB` keeps a job from starting, `jqsched drain` all jobs",
    **dict.fromkeys(
        ("unpause", "continue"), "`jqsched release JOB` lets a held job start, `jqsched resume` starts jobs again"
    ),
    **dict.fromkeys(("clean", "forget", "clear"), "`jqsched purge --all` forgets finished jobs"),
    "watch": "`jqsched top` shows jobs as they change",
    "signal": "`jqsched kill -s SIGNAL JOB` sends a signal",
    "help": "`jqsched --help`, and `jqsched COMMAND --help`",
    "version": "`jqsched --version`",
    "sinfo": "`jqsched status` shows the spool and its scheduler",
    "why": "`jqsched explain JOB` says why a job does not run",
}

_STATES = "`--filter` chooses by state or result, such as `--filter pending,failed`"
_OPTIONS = {
    "jqsched jobs": {
        **dict.fromkeys(("--state", "--states", "--status", "-t"), _STATES),
        **dict.fromkeys(("-n", "--limit", "--max", "--number"), "`-c N` lists at most N jobs, `--name TEXT` by name"),
        **dict.fromkeys(("-l", "--long"), "`-o FORMAT` chooses what is shown, `jqsched show JOB` shows all"),
        "--running": "`--filter running`",
        "--pending": "`--filter pending`",
    },
    "jqsched submit": {
        "-n": "`--cores N` is how many cores the job takes, `--name TEXT` its name",
        **dict.fromkeys(("-J", "--label", "-l"), "`--name TEXT` is the job's name"),
        **dict.fromkeys(("-c", "--ncores", "--cpus"), "`--cores N` is how many cores the job takes"),
        **dict.fromkeys(("-t", "--timeout", "--walltime"), "`--time-limit DURATION`"),
        **dict.fromkeys(("-d", "--depends"), "`--after JOB` waits for the success of another job"),
        **dict.fromkeys(("-o", "--stdout"), "`--output PATH`"),
        **dict.fromkeys(("-e", "--stderr"), "`--error PATH`"),
        **dict.fromkeys(("-w", "--working-directory", "--chdir", "-D"), "`--cwd DIR` is where it runs"),
        "-p": "`--priority N` pins the priority",
    },
    "jqsched log": dict.fromkeys(("-n", "--lines", "--tail"), "`jqsched log JOB | tail -n N` prints the last N lines"),
    "jqsched cancel": {
        **dict.fromkeys(("-s", "--signal"), "`jqsched kill -s SIGNAL JOB` sends a signal"),
        **dict.fromkeys(("--state", "--states", "-t"), _STATES),
        "--name": "`jqsched cancel NAME` cancels the jobs of a name",
        "-n": "`jqsched cancel NAME` cancels the jobs of a name",
    },
    "jqsched run": {
        **dict.fromkeys(("-n", "-j", "--jobs", "--parallel", "-p"), "`--max-running N`: so many jobs at a time"),
    },
    "jqsched wait": {
        "-n": "`--count N` waits until N jobs in all are finished",
        **dict.fromkeys(("--state", "--states", "--status"), _STATES),
    },
}


def suggestion(path: str, text: str) -> str | None:
    """Return what does here what was probably meant."""
    if (command := _NO_COMMAND.search(text)) is not None:
        return _COMMANDS.get(command[1].lower()) if path == "jqsched" else None
    if (option := _NO_OPTION.search(text)) is not None:
        named = _OPTIONS.get(path, {}).get(option[1])
        return named or (_STATES if option[1] in ("--state", "--states") else None)
    if _EXTRA.search(text) is not None and path == "jqsched status":
        return _SHOW
    return None
