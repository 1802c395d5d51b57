"""The calls of the Kubernetes API that providers and routers are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeAlias, TypeVar

from ctrlplane_gitops.cluster.connection import APPLY, JSON, MERGE, Answer, Connection
from ctrlplane_gitops.cluster.failure import ApiError
from ctrlplane_gitops.cluster.owner import FIELD_MANAGER as FIELD_MANAGER
from ctrlplane_gitops.cluster.resource import ResourceType, label_selector
from ctrlplane_gitops.errors import ProviderError
from ctrlplane_gitops.value import struct

Object: TypeAlias = dict[str, Any]
_T = TypeVar("_T")

# A page is held in memory as text and as objects for a moment: some 6 MB. A little more than a
# thousand: of a full page the server does not tell whether others that are asked for follow.
PAGE_SIZE = 1200
_META = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


@struct
class Applied:
    """The object as it is now. ``warnings`` are the server's, or admission's."""

    object: Object
    is_created: bool
    warnings: tuple[str, ...] = ()


@struct
class Write:
    """One that may have been done. ``object`` is as it is now, or was before its end (``is_end``;
    a ``Status`` may be all that is said of it then); None where the answer was lost."""

    kind: ResourceType
    object: Object | None
    is_end: bool = False


@struct
class Listing(Generic[_T]):
    """``rows`` by namespace and name. All that came before ``version`` is in them."""

    rows: Mapping[tuple[str, str], _T]
    version: int


class Api:
    """Objects are JSON as it comes. Errors are those of ``Connection``.

    ``on_write`` is told of every write."""

    def __init__(
        self, connection: Connection, on_write: Callable[[Write], None] = lambda write: None
    ) -> None:
        self.connection = connection
        self._on_write = on_write

    def read_all(
        self,
        kind: ResourceType,
        labels: Mapping[str, str],
        read: Callable[[Object], _T],
        *,
        namespace: str | None = None,
        is_meta: bool = False,
    ) -> list[_T]:
        """What ``read`` makes of each object that carries these labels, page by page, so that no
        more than one page of them is held. A list that takes too long to read is begun again, for
        its second half would be of another time. ``is_meta``: their metadata alone is asked for,
        which is all that leaves the server of a Secret then."""
        found: list[_T] = []

        def take(item: Object) -> None:
            found.append(read(item))

        self._list(kind, labels, take, found.clear, namespace, is_meta)
        return found

    def list_all(
        self,
        kind: ResourceType,
        labels: Mapping[str, str],
        read: Callable[[Object], _T],
        *,
        namespace: str | None = None,
        is_meta: bool = False,
    ) -> Listing[_T]:
        """The same, with whose they are and the version they are of."""
        rows: dict[tuple[str, str], _T] = {}

        def take(item: Object) -> None:
            rows[identity(item)] = read(item)

        version = self._list(kind, labels, take, rows.clear, namespace, is_meta)
        return Listing(rows, version)

    def read_version(self, kind: ResourceType) -> int:
        """That of everything of the kind, as it is now."""
        answer = self.connection.request(
            "GET", kind.path(), f"list {kind.plural}", query={"limit": 1}, accept=_META
        )
        return read_version(answer.json())

    def _list(
        self,
        kind: ResourceType,
        labels: Mapping[str, str],
        take: Callable[[Object], None],
        forget: Callable[[], None],
        namespace: str | None,
        is_meta: bool,
    ) -> int:
        for _ in range(3):
            try:
                return self._list_once(kind, labels, take, namespace, _META if is_meta else JSON)
            except ApiError as error:
                if error.status != 410:
                    raise
                forget()
                expired = error
        raise expired

    def _list_once(
        self,
        kind: ResourceType,
        labels: Mapping[str, str],
        take: Callable[[Object], None],
        namespace: str | None,
        accept: str,
    ) -> int:
        query: dict[str, Any] = {"limit": PAGE_SIZE}
        if labels:
            query["labelSelector"] = label_selector(labels)
        while True:
            answer = self.connection.request(
                "GET", kind.path(namespace), f"list {kind.plural}", query=query, accept=accept
            )
            page = answer.json()
            for item in page.get("items") or ():
                take(item)
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                # Every page is of the time of the first.
                return read_version(page)
            query["continue"] = token

    def get(self, kind: ResourceType, namespace: str | None, name: str) -> Object | None:
        """None when there is none."""
        try:
            answer = self.connection.request(
                "GET", kind.path(namespace, name), f"read {_words(kind, namespace, name)}"
            )
        except ApiError as error:
            if error.is_absent:
                return None
            raise
        found: Object = answer.json()
        return found

    def apply(
        self,
        kind: ResourceType,
        desired: Object,
        *,
        is_forced: bool = False,
        manager: str = FIELD_MANAGER,
    ) -> Applied:
        """Server-side apply: made where missing, changed where different. ApiError with ``owners``
        where somebody else has set one of our fields to another value; ``is_forced`` takes those
        fields over, which is to be said to whoever asked. ``manager`` is who we are of an object
        that is not ours alone: what it said before and does not say now is taken away."""
        metadata = desired["metadata"]
        namespace, name = metadata.get("namespace"), metadata["name"]
        query = {"fieldManager": manager, "force": str(is_forced).lower()}
        body = {"apiVersion": kind.api_version, "kind": kind.kind} | desired
        answer = self._write(
            kind,
            "PATCH",
            kind.path(namespace, name),
            f"apply {_words(kind, namespace, name)}",
            query=query,
            body=body,
            content_type=APPLY,
        )
        return Applied(answer.json(), answer.status == 201, answer.warnings)

    def create(self, kind: ResourceType, desired: Object) -> Applied:
        """ApiError with the reason ``AlreadyExists`` where there is one of that name."""
        metadata = desired["metadata"]
        namespace, name = metadata.get("namespace"), metadata["name"]
        answer = self._write(
            kind,
            "POST",
            kind.path(namespace),
            f"create {_words(kind, namespace, name)}",
            query={"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"},
            body={"apiVersion": kind.api_version, "kind": kind.kind} | desired,
        )
        return Applied(answer.json(), True, answer.warnings)

    def replace(self, kind: ResourceType, desired: Object) -> Object:
        """The whole object, as it was read but for what is to change: what somebody else has put
        into it goes. ApiError (retryable) when it has changed since."""
        metadata = desired["metadata"]
        namespace, name = metadata.get("namespace"), metadata["name"]
        answer = self._write(
            kind,
            "PUT",
            kind.path(namespace, name),
            f"replace {_words(kind, namespace, name)}",
            query={"fieldManager": FIELD_MANAGER},
            body={"apiVersion": kind.api_version, "kind": kind.kind} | desired,
        )
        found: Object = answer.json()
        return found

    def patch(
        self,
        kind: ResourceType,
        namespace: str | None,
        name: str,
        body: Any,
        *,
        content_type: str = MERGE,
        subresource: str = "",
    ) -> Object:
        answer = self._write(
            kind,
            "PATCH",
            kind.path(namespace, name, subresource),
            f"change {_words(kind, namespace, name)}",
            query={"fieldManager": FIELD_MANAGER},
            body=body,
            content_type=content_type,
        )
        found: Object = answer.json()
        return found

    def delete(
        self,
        kind: ResourceType,
        namespace: str | None,
        name: str,
        *,
        uid: str | None = None,
        grace_s: int | None = None,
        propagation: str = "Background",
    ) -> bool:
        """Ask for its end, and that of what it owns; False when it is gone already, or when there
        is another one by that name (``uid`` is the one that was meant). It may take its time;
        ``propagation`` ``Foreground`` keeps it until what it owns has gone."""
        options: Object = {"propagationPolicy": propagation}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        try:
            self._write(
                kind,
                "DELETE",
                kind.path(namespace, name),
                f"delete {_words(kind, namespace, name)}",
                body=options,
                content_type=JSON,
            )
        except ApiError as error:
            if error.is_absent or (error.status == 409 and uid is not None):
                return False
            raise
        return True

    def _write(self, kind: ResourceType, method: str, path: str, what: str, **rest: Any) -> Answer:
        try:
            answer = self.connection.request(method, path, what, **rest)
        except ProviderError as error:
            if not isinstance(error, ApiError) or error.status >= 500:
                # It may have been done all the same.
                self._on_write(Write(kind, None))
            raise
        self._on_write(Write(kind, answer.json(), method == "DELETE"))
        return answer


def identity(item: Object) -> tuple[str, str]:
    """Namespace ("" where it has none) and name."""
    metadata = item["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def read_version(item: Object) -> int:
    """The ``resourceVersion`` of an object or of a list; 0 where it has none that can be compared.

    >>> read_version({"metadata": {"resourceVersion": "42"}}), read_version({})
    (42, 0)
    """
    text = str((item.get("metadata") or {}).get("resourceVersion", ""))
    return int(text) if text.isdecimal() else 0


def _words(kind: ResourceType, namespace: str | None, name: str) -> str:
    """
    >>> _words(ResourceType("", "v1", "Pod", "pods"), "prod", "web")
    "Pod 'prod/web'"
    """
    return f"{kind.kind} {(f'{namespace}/{name}' if namespace else name)!r}"
