"""A priority that comes late: a service computes it elsewhere, and the job waits in PRIORITY until it is known.

Here the service is a thread that reads `FOLDER/NAME`, a file with a number, for a job of that name; a real one would
ask a database. `jqsched plugin load fair_share.py folder=/srv/shares`
"""

import queue
import threading
from pathlib import Path


def plugin_init(p):
    """Say that there is no priority yet, ask for it, and hand it in when it comes."""
    folder, asked = Path(p.conf.get("folder", ".")), queue.SimpleQueue()

    def priority(p, topic, args):
        asked.put((args["id"], args["jobspec"]["attributes"]["system"]["job"]["name"]))
        return p.priority_unavail(args)

    def known(id_, points):
        try:
            p.reprioritize_job(id_, points)
        except OSError as error:  # it is over by now
            p.get_handle().log(f"job {id_}: {error}")

    def service():
        while True:
            id_, name = asked.get()
            path = folder / name
            points = int(path.read_text()) if path.exists() else 16
            p.get_handle().call_soon_threadsafe(lambda id_=id_, points=points: known(id_, points))

    p.add_handler("job.state.priority", priority)
    threading.Thread(target=service, daemon=True).start()
