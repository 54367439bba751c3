"""Takes calls that the ingester passes on, in a FastAPI application: INGEST_FORWARD_URL=http://127.0.0.1:8080/hooks."""

import os
from urllib.parse import parse_qsl

from fastapi import FastAPI, HTTPException, Request
from standardwebhooks import Webhook, WebhookVerificationError

app = FastAPI()
webhook = Webhook(os.environ["INGEST_FORWARD_SECRET"])


@app.post("/hooks", status_code=204)
async def take(request: Request) -> None:
    """One call; an exception (500) has it come again later."""
    body = await request.body()
    try:
        webhook.verify(body, dict(request.headers), json_parse=False)
    except WebhookVerificationError:
        raise HTTPException(401) from None
    fields = dict(parse_qsl(body.decode(), keep_blank_values=True))
    print(f"{request.headers['webhook-id']} {fields['type']} {fields.get('recipient')}\n", end="", flush=True)
