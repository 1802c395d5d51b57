"""workers alone: something done again and again, run once more when somebody asks."""

import threading
from datetime import timedelta

from ctrlplane_gitops.clock import SystemClock
from ctrlplane_gitops.workers.scheduler import Scheduler
from ctrlplane_gitops.workers.worker import Ran, Worker

runs = threading.Semaphore(0)


def work() -> Ran:
    runs.release()
    return Ran()


worker = Worker("greeter", timedelta(hours=1), work, limit=timedelta(minutes=1))
scheduler = Scheduler([worker], SystemClock())
scheduler.start()
assert runs.acquire(timeout=10), "it did not run at the start"
scheduler.run_now("greeter")
assert runs.acquire(timeout=10), "it did not run when asked"
assert scheduler.stop(timedelta(seconds=5)) == ()
print("runs:", scheduler.states()["greeter"].runs)
