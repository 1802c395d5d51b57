"""What the replicas of the gRPC tests run: the official health service on the port of the replica.
The service ``shop.v1.Cart`` has the status in HEALTH; the server as a whole always serves.
"""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1.health import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

if __name__ == "__main__":
    health = HealthServicer()
    health.set("", HealthCheckResponse.SERVING)
    health.set("shop.v1.Cart", HealthCheckResponse.ServingStatus.Value(os.environ["HEALTH"]))
    server = grpc.server(ThreadPoolExecutor(2))
    add_HealthServicer_to_server(health, server)
    server.add_insecure_port(f"127.0.0.1:{os.environ['PORT']}")
    signal.signal(signal.SIGTERM, lambda *_: server.stop(None))
    server.start()
    print(f"version {os.environ['VERSION']} listens", flush=True)
    server.wait_for_termination()
