"""A transcript of a broker as seen by aio-pika, a Python client for asyncio,: the same for every broker.

Usage: aio_pika_smoke.py AMQP_URL

The broker must be fresh: the names of queues are fixed. When the program is ready for a restart of
the broker, it waits for a line of standard input: an empty line means that there was none.
"""

import asyncio
import datetime
import decimal
import hashlib
import logging
import sys

import aio_pika
import aiormq
from aio_pika import Message
from yarl import URL

logging.disable()
url = URL(sys.argv[1])


def say(what, *values):
    print(f"{what}:", *(repr(value) for value in values), flush=True)


async def refused(what, call):
    """Prints the error that a call ends with."""
    try:
        await asyncio.wait_for(call, 60)
        say(what, "not refused")
    except aiormq.AMQPError as error:
        # Without the address of an object.
        say(what, type(error).__name__, *(str(text).partition(" object at ")[0] for text in error.args))


def headers_of(message):
    """The headers of a message, without the times of its deaths, which differ between runs."""
    headers = dict(sorted(message.headers.items()))
    for death in headers.get("x-death", []):
        say("death", sorted((key, value) for key, value in death.items() if key != "time"))
    headers.pop("x-death", None)
    return headers


async def first_of(queue):
    """The first message of a queue, once it is there."""
    async with queue.iterator(no_ack=True) as messages:
        async for message in messages:
            return message


async def logins():
    await refused("wrong password", aio_pika.connect(url.with_password("wrong")))
    await refused("unknown virtual host", aio_pika.connect(url.with_path("nowhere")))


async def confirms_and_returns(connection):
    channel = await connection.channel(on_return_raises=True)
    limit = {"x-max-length": 1, "x-overflow": "reject-publish"}
    await channel.declare_queue("interop.aio-pika.full", durable=True, arguments=limit)
    exchange = channel.default_exchange
    confirmed = await exchange.publish(Message(b"1"), "interop.aio-pika.full")
    say("confirmed", confirmed.name, confirmed.delivery_tag)
    try:
        await exchange.publish(Message(b"2"), "interop.aio-pika.full")
    except aiormq.exceptions.DeliveryError as error:
        say("full", type(error).__name__, error.frame.name)
    try:
        await exchange.publish(Message(b"lost", type="t"), "interop.aio-pika.nowhere")
    except aiormq.exceptions.PublishError as error:
        frame = error.frame
        say("returned", frame.reply_code, frame.reply_text, frame.exchange, frame.routing_key)
        say("returned, content", error.message.header.properties.message_type, error.message.body)
    await channel.queue_delete("interop.aio-pika.full")
    await channel.close()


async def consuming(connection):
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=2)
    queue = await channel.declare_queue("interop.aio-pika.consumed", durable=True)
    for number in range(3):
        await channel.default_exchange.publish(Message(b"%d" % number), queue.name)
    deliveries = asyncio.Queue()
    tag = await queue.consume(deliveries.put, consumer_tag="tag")

    async def delivered():
        message = await deliveries.get()
        say("delivered", message.consumer_tag, message.delivery_tag, message.redelivered, message.body)
        return message

    first, second = await delivered(), await delivered()
    await first.reject(requeue=True)
    await (await delivered()).ack()
    await (await delivered()).ack()
    await second.nack(requeue=False)
    say("cancelled", (await queue.cancel(tag)).consumer_tag)
    # A queue that is deleted ends its consumers, and their tag can be used again.
    cancelled = asyncio.Queue()
    (await channel.get_underlay_channel()).on_consumer_cancel_callbacks.add(cancelled.put)
    await queue.consume(deliveries.put, consumer_tag="tag")
    other = await connection.channel()
    await other.queue_delete(queue.name)
    say("cancelled by the broker", (await cancelled.get()).consumer_tag)
    queue = await channel.declare_queue(queue.name, durable=True)
    say("consumer again", await queue.consume(deliveries.put, consumer_tag="tag"))
    await channel.default_exchange.publish(Message(b"again"), queue.name)
    await (await delivered()).ack()
    await channel.close()
    say("deleted", (await other.queue_delete(queue.name)).message_count)
    await other.close()


async def dead_letters(channel):
    dead = await channel.declare_queue("interop.aio-pika.dead", durable=True)
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead.name}
    source = await channel.declare_queue("interop.aio-pika.source", durable=True, arguments=arguments)
    await channel.default_exchange.publish(Message(b"rejected", headers={"mine": 1}), source.name)
    await (await source.get()).reject()
    letter = await first_of(dead)
    say("rejected", letter.exchange, letter.routing_key, letter.body, headers_of(letter))
    await channel.default_exchange.publish(Message(b"expired", expiration=0.01), source.name)
    letter = await first_of(dead)
    say("expired", letter.expiration, letter.body, headers_of(letter))
    await source.delete()
    await dead.delete()


async def requests(channel):
    requests = await channel.declare_queue("interop.aio-pika.requests", durable=True)
    replies = asyncio.Queue()
    replying = await channel.get_queue("amq.rabbitmq.reply-to", ensure=False)
    await replying.consume(replies.put, no_ack=True)
    request = Message(b"request", reply_to="amq.rabbitmq.reply-to", correlation_id="c")
    await channel.default_exchange.publish(request, requests.name)
    request = await requests.get(no_ack=True)
    say("request", request.reply_to.startswith("amq.rabbitmq.reply-to."), request.correlation_id)
    reply = Message(b"reply", correlation_id=request.correlation_id)
    await channel.default_exchange.publish(reply, request.reply_to)
    reply = await replies.get()
    say("reply", reply.exchange, reply.correlation_id, reply.body)
    await requests.delete()


async def content(channel):
    queue = await channel.declare_queue("interop.aio-pika.content", durable=True)
    headers = {
        "true": True,
        "8 bits": -1,
        "16 bits": -1000,
        "unsigned 16 bits": 40000,
        "32 bits": -(2**31),
        "unsigned 32 bits": 2**32 - 1,
        "64 bits": 2**40,
        "float": 0.5,
        "decimal": decimal.Decimal("1.23"),
        "text": "gr\u00fcn",
        "octets": bytearray(b"\xff\xfe"),
        "time": datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc),
        "table": {"inner": {"innermost": True}},
        "list": [1, "two", [3], {"four": 4}],
        "none": None,
    }
    properties = {
        "content_type": "text/plain",
        "content_encoding": "utf-8",
        "delivery_mode": 2,
        "priority": 9,
        "correlation_id": "c",
        "reply_to": "r",
        "expiration": 60,
        "message_id": "m",
        "timestamp": 1,
        "type": "t",
        "user_id": "guest",
        "app_id": "a",
    }
    await channel.default_exchange.publish(Message(b"", headers=headers, **properties), queue.name)
    message = await queue.get(no_ack=True)
    for name, value in sorted(message.headers.items()):
        say(f"header, {name}", value)
    for name in properties:
        say(f"property, {name}", getattr(message, name))
    body = bytes(range(250)) * 40_000
    await channel.default_exchange.publish(Message(body), queue.name)
    message = await queue.get(no_ack=True)
    say("large body", len(message.body), hashlib.sha256(message.body).hexdigest())
    await queue.delete()


async def channel_errors(connection):
    owner = await aio_pika.connect(url)
    channel = await owner.channel()
    await channel.declare_queue("interop.aio-pika.exclusive", exclusive=True)
    await channel.declare_queue("interop.aio-pika.queue", durable=True)

    async def declare(name, **options):
        await (await connection.channel()).declare_queue(name, **options)

    async def publish(exchange, message):
        channel = await connection.channel()
        exchange = await channel.get_exchange(exchange, ensure=False)
        await exchange.publish(message, "interop.aio-pika.queue")

    async def bind_to_the_default_exchange():
        queue = await (await connection.channel()).get_queue("interop.aio-pika.queue")
        await queue.bind("", "key")

    async def ack_of_nothing():
        channel = await connection.channel()
        await (await channel.get_underlay_channel()).basic_ack(7, wait=False)
        await channel.closed()
        raise (await channel.get_underlay_channel()).closing.exception()

    await refused("unknown queue", declare("interop.aio-pika.missing", passive=True))
    await refused("unknown exchange", publish("interop.aio-pika.missing", Message(b"")))
    await refused("other properties", declare("interop.aio-pika.queue", durable=True, auto_delete=True))
    await refused("bad argument", declare("interop.aio-pika.bad", arguments={"x-message-ttl": -1}))
    await refused("exclusive", declare("interop.aio-pika.exclusive", exclusive=True))
    await refused("reserved name", declare("amq.mine"))
    await refused("default exchange", bind_to_the_default_exchange())
    await refused("another user", publish("", Message(b"", user_id="nobody")))
    await refused("unknown tag", ack_of_nothing())
    say("open", not connection.is_closed)
    await channel.queue_delete("interop.aio-pika.queue")
    await owner.close()


async def connection_errors():
    for what, call in {
        "immediate": lambda channel: channel.basic_publish(b"", immediate=True),
        "second open": lambda channel: channel.rpc(aiormq.spec.Channel.Open()),
    }.items():
        connection = await aio_pika.connect(url)
        channel = await connection.channel()
        await refused(what, call(await channel.get_underlay_channel()))


async def restart(connection):
    closed = connection.transport.connection.closing
    print("ready for a restart", flush=True)
    if not (await asyncio.to_thread(sys.stdin.readline)).strip():
        return
    await refused("restarted", asyncio.shield(closed))
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("interop.aio-pika.restarted", durable=True)
        await channel.default_exchange.publish(Message(b"after"), queue.name)
        say("after the restart", (await queue.get(no_ack=True)).body)
        await queue.delete()


async def main():
    connection = await aio_pika.connect(url)
    server = connection.transport.connection.server_properties
    say("greeting", server["product"], ".".join(server["version"].split(".")[:2]))
    await logins()
    await confirms_and_returns(connection)
    await consuming(connection)
    channel = await connection.channel()
    await dead_letters(channel)
    await requests(channel)
    await content(channel)
    await channel_errors(connection)
    await connection_errors()
    await restart(connection)


asyncio.run(main())
