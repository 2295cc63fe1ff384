#!/usr/bin/env python3
"""A Router in Python: what stands behind the gateway's route `decide`. Needs nats-py.

    router.py [NATS_URL]

It serves plain NATS requests and does not know that a gateway sent them. Start as many as are
needed: they share the work as one queue group. SIGINT or SIGTERM: it takes no new requests, answers
those that it has, and ends.
"""

import asyncio
import json
import signal
import sys

import nats
from nats.aio.msg import Msg

SUBJECT = "beamline.router.v1.decide"
GROUP = "routers"


def refuse(request_id: str, message: str) -> dict:
    error = {"code": "invalid_request", "message": message}
    return {"ok": False, "error": error, "context": {"request_id": request_id}}


def decide(payload: bytes) -> dict:
    """The answer to a request: a decision, or an error that says what is wrong."""
    try:
        request = json.loads(payload)
    except ValueError:
        request = None
    if not isinstance(request, dict):
        return refuse("", "the request is not a JSON object")
    request_id = request.get("request_id")
    if not isinstance(request_id, str):
        return refuse("", "request_id is missing")
    if not isinstance(request.get("tenant_id"), str):
        return refuse(request_id, "tenant_id is missing")
    decision = {
        "provider_id": "provider-1",
        "priority": 50,
        "expected_latency_ms": 120,
        "expected_cost": 0.001,
        "reason": "best_score",
    }
    return {"ok": True, "decision": decision, "context": {"request_id": request_id}}


async def main() -> None:
    url = sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222"
    answered = 0

    async def serve(message: Msg) -> None:
        nonlocal answered
        # Without a reply subject nobody waits for the answer.
        if message.reply:
            await message.respond(json.dumps(decide(message.data)).encode())
            answered += 1

    connection = await nats.connect(url)
    await connection.subscribe(SUBJECT, queue=GROUP, cb=serve)
    # The server has the subscription when the flush has come back.
    await connection.flush()
    print("ready", flush=True)

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
    await connection.drain()
    print(f"{answered} answered")


if __name__ == "__main__":
    asyncio.run(main())
