"""Takes calls that the ingester passes on, in a Flask application: INGEST_FORWARD_URL=http://127.0.0.1:8080/hooks."""

import os

from flask import Flask, abort, request
from standardwebhooks import Webhook, WebhookVerificationError

app = Flask(__name__)
webhook = Webhook(os.environ["INGEST_FORWARD_SECRET"])


@app.post("/hooks")
def take() -> tuple[str, int]:
    """One call; an exception (500) has it come again later."""
    try:
        webhook.verify(request.get_data(), dict(request.headers), json_parse=False)  # before `form` takes the body
    except WebhookVerificationError:
        abort(401)
    fields = request.form
    print(f"{request.headers['webhook-id']} {fields['type']} {fields.get('recipient')}\n", end="", flush=True)
    return "", 204
