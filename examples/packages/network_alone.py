"""network alone: a route table with two releases behind one host, told to a router."""

import tempfile
from datetime import timedelta

from ctrlplane_gitops.network.registry import build_router
from ctrlplane_gitops.network.router import RouterSettings
from ctrlplane_gitops.network.table import find_problems
from ctrlplane_gitops.state.key import instance_key, parse_address
from ctrlplane_gitops.state.traffic import Backend, Member, RouteEntry, RouteTable

entry = RouteEntry(
    key=parse_address("route/acme/web"),
    instance=instance_key("acme", "web"),
    hosts=("shop.acme.example",),
    path="/",
    backends=(
        Backend(1, 90, (Member("prod.acme.web.v1.0", "127.0.0.1", 8001),)),
        Backend(2, 10, (Member("prod.acme.web.v2.0", "127.0.0.1", 8002),)),
    ),
)
table = RouteTable((entry,))
assert not find_problems(table, {"web": False})

with tempfile.TemporaryDirectory() as scratch:
    router = build_router(RouterSettings("prod", "memory", scratch))
    router.ensure_running()
    generation = router.apply(table, {})
    print(router.wait_live(generation, timedelta(seconds=1)))
    assert router.observe().table == table
    assert router.apply(table, {}) == generation
    router.close()
