"""A light load through a router, as a program of its own so that the tests do not slow it down:
``route_client.py PORT HOST`` asks until its input ends, then prints as JSON how often each version
answered and every failure. It never asks again for what failed."""

import http.client
import json
import sys
import threading
import time

GAP_S = 0.02


class Load:
    def __init__(self, port, host):
        self.port, self.host = port, host
        self.lock, self.is_over = threading.Lock(), threading.Event()
        self.answers, self.failures = {}, []

    def ask(self, connection, path, kind):
        try:
            connection.request("GET", path, headers={"Host": self.host})
            reply = connection.getresponse()
            text = reply.read().decode()
            problem = "" if reply.status == 200 else f"{reply.status} {text[:80]}"
            version = text.partition(" ")[0]
        except (OSError, http.client.HTTPException) as error:
            problem, version = repr(error), ""
            connection.close()
        with self.lock:
            if problem:
                self.failures.append(f"{time.time():.3f} {kind} {path}: {problem}")
            else:
                self.answers[version] = self.answers.get(version, 0) + 1

    def run(self, kind, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        while not self.is_over.wait(GAP_S):
            self.ask(connection, path, kind)
            if kind == "new":
                connection.close()
        connection.close()


def main():
    load = Load(int(sys.argv[1]), sys.argv[2])
    plans = [("kept", "/"), ("kept", "/"), ("new", "/"), ("new", "/"), ("kept", "/slow")]
    threads = [threading.Thread(target=load.run, args=plan) for plan in plans]
    for thread in threads:
        thread.start()
    print("asking", flush=True)
    sys.stdin.read()
    load.is_over.set()
    for thread in threads:
        thread.join()
    print(json.dumps({"answers": load.answers, "failures": load.failures}))


if __name__ == "__main__":
    main()
