"""``python gitlab_note.py FILE``: the text of FILE as the one note of ours on the merge request of
this pipeline. Its first line is what the note is found by the next time.

API: https://docs.gitlab.com/api/notes/#merge-requests (GET, POST and PUT of notes).
"""

import json
import os
import sys
import urllib.request
from pathlib import Path

NOTES = "{CI_API_V4_URL}/projects/{CI_PROJECT_ID}/merge_requests/{CI_MERGE_REQUEST_IID}/notes"


def ask(method, url, body=None):
    headers = {"PRIVATE-TOKEN": os.environ["NOTE_TOKEN"], "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer), answer.headers.get("X-Next-Page", "")


def find(url, mark):
    page = "1"
    while page:
        notes, page = ask("GET", f"{url}?per_page=100&page={page}")
        for note in notes:
            if note["body"].startswith(mark):
                return note["id"]
    return None


def main(path):
    # GitLab takes a million characters; nobody reads as many.
    text = Path(path).read_text()[:100_000]
    url = NOTES.format(**os.environ)
    known = find(url, text.splitlines()[0])
    if known is None:
        ask("POST", url, {"body": text})
    else:
        ask("PUT", f"{url}/{known}", {"body": text})


if __name__ == "__main__":
    main(sys.argv[1])
