"""The JSON that programs read, as JSON Schemas: what is promised, and nothing else required."""

from typing import Any

TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}
ADDRESS = {"type": "string", "pattern": "^[a-z]+(/[a-z0-9-]+){1,2}$"}


def record(**fields: Any) -> dict[str, Any]:
    """An object with all of these fields, and maybe more."""
    return {"type": "object", "required": list(fields), "properties": fields}


def closed(**fields: Any) -> dict[str, Any]:
    """An object with exactly these fields."""
    return {**record(**fields), "additionalProperties": False}


def array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


STATUS = closed(
    control_plane=TEXT,
    commit=TEXT,
    instances=array(
        closed(
            address=ADDRESS,
            tenant=TEXT,
            name=TEXT,
            provider=TEXT,
            phase={
                "enum": [
                    "unknown", "pending", "progressing", "rollingBack", "failed", "idle",
                    "suspended", "stopped", "down", "degraded", "rolledBack", "running",
                ]
            },
            release={"type": ["integer", "null"]},
            revision={"type": ["string", "null"]},
            replicas=closed(
                desired=COUNT, ready=COUNT, owner={"enum": ["specs", "autoscaler"]}
            ),
            endpoints=array(closed(port=TEXT, url={"type": "string", "pattern": "^http://.+:\\d+$"})),
            certificates=array(
                closed(
                    route=ADDRESS,
                    hosts=array(TEXT),
                    expires_at={"type": ["string", "null"]},
                    is_issued={"type": "boolean"},
                )
            ),
            traffic={"oneOf": [array(closed(release=COUNT, percent=COUNT)), {"type": "null"}]},
            conditions=array(
                closed(
                    type=TEXT,
                    status={"enum": ["True", "False", "Unknown"]},
                    reason={"type": "string", "pattern": "^[A-Za-z]+$"},
                    message=TEXT,
                )
            ),
        )
    ),
)  # fmt: skip

# What Terraform's consumers (Atlantis, conftest, comment tools) switch on.
ACTIONS = {
    "enum": [["create"], ["update"], ["delete", "create"], ["delete"], ["no-op"]],
}
OBJECT_OR_NULL = {"type": ["object", "null"]}
CHANGE = record(actions=ACTIONS, before=OBJECT_OR_NULL, after=OBJECT_OR_NULL)
# Each kind of change says what there is before it and after it.
CHANGE["allOf"] = [
    {
        "if": {"properties": {"actions": {"const": actions}}},
        "then": {"properties": {"before": {"type": before}, "after": {"type": after}}},
    }
    for actions, before, after in (
        (["create"], "null", "object"),
        (["update"], "object", "object"),
        (["delete", "create"], "object", "object"),
        (["delete"], "object", "null"),
    )
]

PLAN = record(
    format_version={"const": "1.0"},
    resource_changes=array(
        record(
            address=ADDRESS,
            type={"enum": ["tenant", "secret", "instance", "deployment", "route"]},
            name=TEXT,
            change=CHANGE,
            action_reason=TEXT,
        )
    ),
    resource_drift=array(record(address=ADDRESS, type=TEXT, name=TEXT, change=CHANGE)),
    diagnostics=array(
        record(severity={"enum": ["error", "warning"]}, summary=TEXT, detail=TEXT, address=TEXT)
    ),
    refusals=array(closed(code=TEXT, reason=TEXT, hint=TEXT)),
    summary=record(
        add=COUNT, change=COUNT, destroy=COUNT, blocked=COUNT, is_empty={"type": "boolean"}
    ),
)

APPLY = closed(
    exit_code=COUNT,
    meaning=TEXT,
    ending={"enum": ["complete", "cancelled", "timedOut", "lost"]},
    commit=TEXT,
    summary=closed(add=COUNT, change=COUNT, destroy=COUNT, adopt=COUNT),
    effects=COUNT,
    results=array(
        closed(
            address=ADDRESS,
            state={
                "enum": [
                    "done",
                    "started",
                    "waiting",
                    "rolledBack",
                    "failed",
                    "skipped",
                    "cancelled",
                ]
            },
            message=TEXT,
        )
    ),
    errors=array(closed(code=TEXT, message=TEXT)),
    warnings=array(TEXT),
)
