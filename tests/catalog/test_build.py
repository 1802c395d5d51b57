"""What a desired state is made of."""

from __future__ import annotations

from datetime import timedelta

from ctrlplane_gitops.catalog.control_plane import parse_control_plane
from ctrlplane_gitops.catalog.fingerprint import blob_id
from ctrlplane_gitops.catalog.secret import secret_refs_of
from ctrlplane_gitops.state.desired import (
    CanaryStep,
    DesiredRoute,
    HealthCheck,
    ProbeType,
    PrunePolicy,
    Resources,
    RouterConfig,
    SecretRef,
    StrategyType,
)
from ctrlplane_gitops.state.key import parse_address
from ctrlplane_gitops.state.template import FileMount, SecretMount, SecretType
from ctrlplane_gitops.state.traffic import RouteHealth
from ctrlplane_gitops.units import CountOrPercent
from tests.catalog.catalog_kit import (
    CHECK,
    ROUTER,
    STRATEGY,
    build,
    built,
    deployment,
    get,
    instance,
    make,
    plane,
    route,
    secret,
    shop,
    tenant,
)


def test_a_deployments_env_wins_over_its_instances() -> None:
    state = built(
        tenant(),
        instance(env={"A": "instance", "B": "instance"}),
        deployment(env={"A": "deployment", "C": "deployment"}),
    )
    template = get(state).template
    assert template is not None
    assert list(template.env.items()) == [
        ("A", "deployment"),
        ("B", "instance"),
        ("C", "deployment"),
    ]


def test_everything_of_a_tenant_is_a_resource_with_its_place() -> None:
    port = {"name": "http", "port": 80}
    state = built(tenant(), instance(ports=[port]), deployment(), secret())
    assert sorted(key.address for key in state.resources) == [
        "deployment/acme/web",
        "instance/acme/web",
        "secret/acme/token",
        "tenant/acme",
    ]
    assert str(get(state).resource.origin) == "tenants/acme.yaml:10:1"


def test_attributes_name_the_provider_an_instance_really_uses() -> None:
    state = built(*shop())
    assert get(state).provider == "local"
    assert get(state).resource.attributes["provider"] == "local"


def test_labels_are_part_of_what_a_plan_compares() -> None:
    plain, labelled = tenant(), make(tenant().kind, "acme", {}, labels={"ring": "early"})
    before, after = built(plain), built(labelled)
    key = parse_address("tenant/acme")
    assert "labels" not in before.resources[key].attributes
    assert after.resources[key].attributes["labels"] == {"ring": "early"}
    assert before.resources[key].fingerprint != after.resources[key].fingerprint


def test_instances_of_a_suspended_tenant_want_no_replicas_but_keep_their_specs() -> None:
    state = built(tenant(suspended=True), instance(replicas=3), deployment())
    found = get(state)
    assert (found.replicas, found.is_suspended) == (0, True)
    assert found.resource.attributes["replicas"] == 3


def test_an_instance_without_deployment_runs_nothing_and_says_so() -> None:
    state, found = build(tenant(), instance())
    assert state is not None
    assert get(state).template is None
    assert get(state).revision is None
    assert [(item.code, item.is_error) for item in found] == [("no-deployment", False)]


def test_a_rotated_secret_changes_the_revision_and_the_secrets_row() -> None:
    documents = (tenant(), instance(secrets=["token"]), deployment(), secret())
    key = parse_address("secret/acme/token")
    before, after = (built(*documents, digests={key: value}) for value in ("old", "new"))
    assert get(before).revision != get(after).revision
    assert before.resources[key].attributes["valueDigest"] == "old"
    assert before.resources[key].fingerprint != after.resources[key].fingerprint


def test_a_rotated_pull_credential_restarts_nothing() -> None:
    pull = secret("acme/pull", type="registry", registry="r.example", key=None)
    documents = (tenant(), instance(secrets=["pull"]), deployment(), pull)
    key = parse_address("secret/acme/pull")
    before, after = (built(*documents, digests={key: value}) for value in ("old", "new"))
    assert get(before).revision == get(after).revision
    template = get(after).template
    assert template is not None
    assert template.secrets == (SecretMount(key, SecretType.REGISTRY, "r.example", "new"),)


def test_replicas_resources_and_strategy_do_not_change_the_revision() -> None:
    before = built(*shop())
    after = built(
        tenant(),
        instance(replicas=5, resources={"cpu": "500m", "memory": "1Gi"}),
        deployment(strategy=STRATEGY | {"type": "recreate"}),
    )
    assert get(before).revision == get(after).revision
    assert get(after).resources == Resources(500, 2**30)


def test_an_inline_file_is_a_digest_in_the_specs_and_bytes_in_the_blobs() -> None:
    file = {"path": "/etc/app.conf", "content": "x = 1\n", "mode": "0600"}
    state = built(*shop(files=[file]))
    digest = blob_id(b"x = 1\n")
    template = get(state).template
    assert template is not None
    assert template.files == (FileMount("/etc/app.conf", digest, 0o600),)
    assert state.blobs == {digest: b"x = 1\n"}
    shown = {"path": "/etc/app.conf", "mode": "0600", "digest": digest}
    assert get(state).resource.attributes["files"] == [shown]


def test_a_file_from_the_repo_has_its_blob_id_as_digest() -> None:
    file = {"path": "/etc/app.conf", "source": "files/app.conf", "mode": "0644"}
    state = built(*shop(files=[file]), entries={"files/app.conf": "b10b"})
    template = get(state).template
    assert template is not None
    assert template.files[0].digest == "b10b"
    assert not state.blobs
    assert get(state).resource.attributes["files"] == [file | {"digest": "b10b"}]


def test_the_first_port_stays_first_and_the_rest_is_sorted() -> None:
    state = built(
        *shop(
            ports=[{"name": "web", "port": 80}, {"name": "admin", "port": 81}],
            volumes=[{"name": "b", "path": "/b"}, {"name": "a", "path": "/a", "size": "1Gi"}],
            secrets=["z", "a"],
        ),
        secret("acme/z", key="Z"),
        secret("acme/a", key="A"),
    )
    template = get(state).template
    assert template is not None
    assert [item.name for item in template.ports] == ["web", "admin"]
    assert [(item.name, item.size_bytes) for item in template.volumes] == [
        ("a", 2**30),
        ("b", None),
    ]
    assert [item.secret.name for item in template.secrets] == ["a", "z"]


def test_a_health_check_without_a_port_probes_the_first_one() -> None:
    check = CHECK | {"name": "ready", "type": "http", "path": "/healthz", "statuses": "204"}
    state = built(*shop(ports=[{"name": "http", "port": 80}], health=[check]))
    assert get(state).health == (
        HealthCheck("ready", ProbeType.HTTP, "http", "/healthz", statuses=(204, 204)),
    )


def test_a_grpc_check_names_the_service_it_asks_about() -> None:
    check = CHECK | {"name": "ready", "type": "grpc", "service": "shop.v1.Cart"}
    state = built(*shop(ports=[{"name": "api", "port": 80}], health=[check]))
    assert get(state).health == (
        HealthCheck("ready", ProbeType.GRPC, "api", service="shop.v1.Cart"),
    )


def test_rollout_params_come_from_the_strategy() -> None:
    strategy = STRATEGY | {"minReady": "1s", "rolling": {"maxSurge": "1", "maxUnavailable": "50%"}}
    params = get(built(tenant(), instance(), deployment(strategy=strategy))).params
    assert params.type is StrategyType.ROLLING
    assert params.min_ready == timedelta(seconds=1)
    assert params.max_surge == CountOrPercent(1)
    assert params.max_unavailable == CountOrPercent(50, is_percent=True)


def test_dependencies_are_keys_also_across_tenants() -> None:
    web = instance(dependsOn=["instance/other/db", "instance/acme/db"])
    others = (*shop("other"), instance("other/db"), deployment("other/db"))
    state = built(tenant(), web, deployment(), instance("acme/db"), deployment("acme/db"), *others)
    assert [key.address for key in get(state).depends_on] == [
        "instance/acme/db",
        "instance/other/db",
    ]


def test_protection_is_read_from_the_spec() -> None:
    state = built(tenant(protect=True), instance(protect=True), deployment())
    assert get(state).resource.is_protected
    assert state.resources[parse_address("tenant/acme")].is_protected


def test_secret_sources_are_known_before_anything_is_built() -> None:
    documents = [secret(), secret("acme/cert", type="tls", **{"from": {"file": "a/tls.pem"}})]
    cert, token = parse_address("secret/acme/cert"), parse_address("secret/acme/token")
    refs = secret_refs_of(documents)
    assert refs == {
        cert: SecretRef(cert, "file", "a/tls.pem"),
        token: SecretRef(token, "env", "ACME_TOKEN"),
    }
    assert built(tenant(), *documents).secret_refs == refs


def test_the_control_plane_is_known_before_anything_is_built() -> None:
    document = plane(
        providers={"here": {"type": "docker", "host": "unix:///d.sock"}},
        defaultProvider="here",
        prune={"maxDelete": "5%", "volumes": True},
        store="/var/lib/state.db",
        ignore=["charts/**"],
    )
    found = parse_control_plane([*shop(), document])
    assert found is not None
    assert (found.name, found.store, found.ignore) == ("prod", "/var/lib/state.db", ("charts/**",))
    assert found.providers["here"].options == {"host": "unix:///d.sock"}
    assert found.prune == PrunePolicy(5, is_volumes=True)


def test_routes_are_recorded_and_one_warning_says_that_nothing_is_served() -> None:
    port = {"name": "http", "port": 80}
    documents = (
        *shop(ports=[port]),
        route(),
        route("acme/api", line=41, instance="web", hosts=["api.example"]),
    )
    state, found = build(*documents)
    assert state is not None
    assert parse_address("route/acme/api") in state.resources
    assert [(item.code, item.address, item.is_error) for item in found] == [
        ("routes-not-served", "route/acme/web", False)
    ]
    assert not state.instances[parse_address("instance/acme/web")].routes


def test_routes_are_part_of_their_instance_where_there_is_a_router() -> None:
    check = {"name": "ready", "type": "http", "path": "/healthz", "command": [], "interval": "3s",
             "timeout": "1s", "retries": 3, "statuses": "200-399"}  # fmt: skip
    ports = [{"name": "http", "port": 80}, {"name": "admin", "port": 81}]
    state = built(
        *shop(ports=ports, health=[check]),
        secret("acme/site", type="tls", key=None),
        route("acme/b", instance="web", hosts=["b.example", "a.example"], sticky=True,
              tls={"certificate": "site"}, canaryHeader={"name": "X-Try", "value": "yes"},
              previewHosts=["next.example"]),
        route("acme/a", line=41, instance="web", hosts=["c.example"], port="admin", path="/x",
              stripPrefix=True, entryPoint="web"),
        plane(router=ROUTER),
    )  # fmt: skip
    assert state.plane.router == RouterConfig("traefik", {"entryPoints": ROUTER["entryPoints"]})
    found = state.instances[parse_address("instance/acme/web")]
    assert found.has_preview
    assert found.routes == (
        DesiredRoute(parse_address("route/acme/a"), ("c.example",), "/x", "admin", "web", True),
        DesiredRoute(
            parse_address("route/acme/b"),
            ("a.example", "b.example"),
            "/",
            "http",
            "websecure",
            certificate=parse_address("secret/acme/site"),
            is_sticky=True,
            canary_header=("X-Try", "yes"),
            preview_hosts=("next.example",),
            health=RouteHealth("/healthz", timedelta(seconds=3), timedelta(seconds=1)),
        ),
    )


def test_a_strategy_comes_with_its_own_parameters() -> None:
    strategy = STRATEGY | {
        "type": "canary",
        "canary": {"steps": [{"weight": 5, "pause": "manual"}, {"weight": 60, "pause": "1m"},
                             {"weight": 100}]},
    }  # fmt: skip
    state = built(tenant(), instance(), deployment(strategy=strategy))
    assert state.instances[parse_address("instance/acme/web")].params.canary_steps == (
        CanaryStep(5, None),
        CanaryStep(60, timedelta(minutes=1)),
        CanaryStep(100),
    )
    strategy = STRATEGY | {
        "type": "blueGreen",
        "blueGreen": {"autoPromote": False, "scaleDownDelay": "5s", "bakeTime": "7s"},
    }
    params = get(built(tenant(), instance(), deployment(strategy=strategy))).params
    assert not params.is_auto_promote
    assert params.scale_down_delay == timedelta(seconds=5)
    assert params.bake_time == timedelta(seconds=7)


def test_who_observes_drift_is_said_by_the_instance_else_the_tenant_else_the_plane() -> None:
    def is_observed(plane_says: str | None, tenant_says: str | None, says: str | None) -> bool:
        def given(mode: str | None) -> dict[str, str]:
            return {} if mode is None else {"drift": mode}

        state = built(
            plane(**given(plane_says)), tenant(**given(tenant_says)), instance(**given(says)),
            deployment(),
        )  # fmt: skip
        return get(state).is_drift_observed

    assert not is_observed(None, None, None)
    assert is_observed("observe", None, None)
    assert not is_observed("observe", "enforce", None)
    assert is_observed("enforce", "observe", None)
    assert not is_observed(None, "observe", "enforce")
