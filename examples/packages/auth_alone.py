"""auth alone: a token is made once and known by its digest from then on; what its role may."""

from datetime import UTC, datetime

from ctrlplane_gitops.auth.roles import Permission
from ctrlplane_gitops.auth.tokens import digest_of, find_token, new_token, principal_of
from ctrlplane_gitops.state.access import AccessToken, Role

now = datetime(2026, 1, 1, tzinfo=UTC)
text = new_token()
declared = AccessToken("ci", digest_of(text), Role.OPERATOR, frozenset({"acme"}))
found = find_token([declared], text, now)
assert found is declared and find_token([declared], new_token(), now) is None
who = principal_of(found)
print(who.actor, [item.value for item in Permission if who.may(item)])
assert who.can_see("acme") and not who.can_see("globex")
assert who.may(Permission.PROMOTE) and not who.may(Permission.EXEC)
