"""An application of your own with a control plane in it: ``python examples/flask/app.py``.

Yours is at ``/``, what runs your customers' instances at ``/platform/``. Who may come in there is
said by tokens in Git (``spec.access``); with ``CTRLPLANE_INSECURE`` whoever reaches it, which is
for an application that keeps others out itself, as the check below would.
"""

import os
import sys
from pathlib import Path

from flask import Flask

from ctrlplane_gitops.extension import CtrlPlaneGitOps

app = Flask(__name__)
app.config.from_mapping(
    CTRLPLANE_SOURCE=str(Path(__file__).parents[1] / "quickstart"),
    CTRLPLANE_PREFIX="/platform",
    CTRLPLANE_INSECURE=True,
)
ctrlplane = CtrlPlaneGitOps(app)


@app.before_request
def keep_others_out():
    """Your own checks are made for the control plane's paths too."""


@app.get("/")
def home():
    return "This is the shop's own page. What runs it is at /platform/.\n"


if __name__ == "__main__":
    with ctrlplane.running():
        app.run(port=int(os.environ.get("PORT", "5000")), threaded=True)
    sys.exit(0)
