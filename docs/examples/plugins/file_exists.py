"""A dependency on a file: `"dependencies": [{"scheme": "file-exists", "value": "/data/today.csv"}]` in a job file."""

from pathlib import Path

EVERY_S = 1.0


def plugin_init(p):
    """Hold each job that asks for it until its file is there."""
    waiting = {}  # (job, description) -> path

    def depend(p, topic, args):
        path = args["dependency"]["value"]
        if not Path(path).is_absolute():
            return p.reject_job(args, "dependency: file-exists: %r is no absolute path", path)
        description = f"file-exists={path}"
        p.dependency_add(args["id"], description)
        waiting[args["id"], description] = Path(path)
        return 0

    def look():
        for (id_, description), path in list(waiting.items()):
            if path.exists():
                del waiting[id_, description]
                p.dependency_remove(id_, description)

    def gone(p, topic, args):
        for id_, description in list(waiting):
            if id_ == args["id"]:
                del waiting[id_, description]

    p.add_handler("job.dependency.file-exists", depend)
    p.add_handler("job.state.inactive", gone)
    p.get_handle().call_later(EVERY_S, look, repeat_s=EVERY_S)
