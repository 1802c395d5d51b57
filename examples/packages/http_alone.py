"""http alone: an outgoing webhook's signature (Standard Webhooks), and an address it refuses."""

from ctrlplane_gitops.http.address import AddressError, resolve
from ctrlplane_gitops.http.webhook import decode_key, sign

key = decode_key(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
print(sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}').decode())
try:
    resolve("169.254.169.254", 80)
except AddressError as error:
    print(f"refused: {error}")
else:
    raise AssertionError("the metadata service of a cloud is an address like any other")
