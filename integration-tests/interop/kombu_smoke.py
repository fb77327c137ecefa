"""A transcript of a broker as seen by kombu, a Python client over py-amqp,: the same for every broker.

Usage: kombu_smoke.py AMQP_URL

The broker must be fresh: the names of queues are fixed. When the program is ready for a restart of
the broker, it waits for a line of standard input: an empty line means that there was none.
"""

import datetime
import decimal
import hashlib
import sys

import amqp
import kombu
from kombu import Consumer, Exchange, Producer, Queue

URL = sys.argv[1]


def say(what, *values):
    print(f"{what}:", *(repr(value) for value in values), flush=True)


def refused(what, call, *arguments, **named):
    """Prints the error that a call ends with."""
    try:
        call(*arguments, **named)
        say(what, "not refused")
    except amqp.AMQPError as error:
        say(what, type(error).__name__, error.reply_code, error.reply_text)


def connect(url=URL):
    connection = kombu.Connection(url, transport_options={"confirm_publish": True})
    connection.connect()
    return connection


def queue(name, **arguments):
    return Queue(name, Exchange(""), name, durable=True, queue_arguments=arguments)


def sorted_headers(message):
    """Headers in the order of their names, without the times of deaths, which differ between runs."""
    headers = dict(sorted(message.headers.items()))
    for death in headers.get("x-death", []):
        death["time"] = "a time"
    if "x-death" in headers:
        headers["x-death"] = [sorted(death.items()) for death in headers["x-death"]]
    return headers


def consume(channel, queue, **options):
    """Consumes a queue; returns a function that waits for the next message."""
    messages = []
    consumer = Consumer(channel, [queue], on_message=messages.append, **options)
    consumer.consume()

    def following():
        while not messages:
            channel.connection.client.drain_events()
        return messages.pop(0)

    return consumer, following


def logins():
    refused("wrong password", connect, URL.replace("guest:guest", "guest:wrong"))
    refused("unknown virtual host", connect, URL.rpartition("/")[0] + "/nowhere")


def confirms_and_returns(connection):
    channel = connection.channel()
    full = queue("interop.kombu.full", **{"x-max-length": 1, "x-overflow": "reject-publish"})
    full(channel).declare()
    returns = []
    producer = Producer(channel, on_return=lambda *returned: returns.append(returned))
    producer.publish("1", routing_key=full.name)
    say("confirmed", full(channel).queue_declare(passive=True).message_count)
    try:
        producer.publish("2", routing_key=full.name)
        say("full", "taken")
    except amqp.exceptions.MessageNacked as error:
        say("full", type(error).__name__)
    producer.publish("lost", routing_key="interop.kombu.nowhere", mandatory=True)
    (error, exchange, routing_key, message), = returns
    say("returned", error.reply_code, error.reply_text, exchange, routing_key, message.body)
    say("deleted", full(channel).delete())
    channel.close()


def consuming(connection):
    channel = connection.channel()
    consumed = queue("interop.kombu.consumed")(channel)
    consumed.declare()
    producer = Producer(channel)
    for number in range(3):
        producer.publish(number, routing_key=consumed.name)
    consumer, following = consume(channel, consumed, prefetch_count=2, tag_prefix="tag")

    def delivered():
        message = following()
        say("delivered", message.delivery_tag, message.delivery_info["redelivered"], message.payload)
        return message

    first, second = delivered(), delivered()
    first.requeue()
    delivered().ack()
    delivered().ack()
    second.reject()
    consumer.cancel()
    say("deleted", consumed.delete())
    # A queue that is deleted ends its consumers.
    consumed.declare()
    cancelled = []
    channel.basic_consume(consumed.name, "tag", on_cancel=cancelled.append)
    other = connection.channel()
    consumed(other).delete()
    while not cancelled:
        connection.drain_events()
    say("cancelled by the broker", cancelled)
    channel.close()
    other.close()


def dead_letters(channel):
    dead = queue("interop.kombu.dead")(channel)
    dead.declare()
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead.name}
    source = queue("interop.kombu.source", **arguments)(channel)
    source.declare()
    producer = Producer(channel)
    consumer, following = consume(channel, dead, no_ack=True)
    producer.publish("rejected", routing_key=source.name, headers={"mine": 1})
    source.get().reject()
    letter = following()
    say("rejected", letter.delivery_info["exchange"], letter.delivery_info["routing_key"], letter.body)
    say("rejected, headers", sorted_headers(letter))
    producer.publish("expired", routing_key=source.name, expiration=0.01)
    letter = following()
    say("expired", letter.properties.get("expiration"), letter.body)
    say("expired, headers", sorted_headers(letter))
    consumer.cancel()
    source.delete()
    dead.delete()


def requests(channel):
    requested = queue("interop.kombu.requests")(channel)
    requested.declare()
    replying = Queue("amq.rabbitmq.reply-to", no_declare=True)
    consumer, following = consume(channel, replying, no_ack=True)
    producer = Producer(channel)
    producer.publish("request", routing_key=requested.name, reply_to=replying.name, correlation_id="c")
    request = requested.get(no_ack=True)
    address = request.properties["reply_to"]
    say("request", address.startswith("amq.rabbitmq.reply-to."), request.body)
    producer.publish("reply", routing_key=address, correlation_id=request.properties["correlation_id"])
    reply = following()
    say("reply", reply.delivery_info["exchange"], reply.properties["correlation_id"], reply.body)
    consumer.cancel()
    requested.delete()


def content(channel):
    contents = queue("interop.kombu.content")(channel)
    contents.declare()
    producer = Producer(channel)
    headers = {
        "true": True,
        "32 bits": -(2**31) + 1,
        "64 bits": 2**40,
        "float": 0.1,
        "decimal": decimal.Decimal("1.23"),
        "text": "gr\u00fcn",
        "time": datetime.datetime(2026, 1, 2, 3, 4, 5),
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
        "cluster_id": "k",
    }
    producer.publish("", routing_key=contents.name, headers=headers, **properties)
    message = contents.get(no_ack=True)
    for name, value in sorted_headers(message).items():
        say(f"header, {name}", value)
    del message.properties["application_headers"]
    say("properties", sorted(message.properties.items()), message.content_type, message.content_encoding)
    body = bytes(range(250)) * 40_000
    producer.publish(body, routing_key=contents.name)
    body = contents.get(no_ack=True).body
    say("large body", len(body), hashlib.sha256(body).hexdigest())
    contents.delete()


def channel_errors(connection):
    owner = connect()
    Queue("interop.kombu.exclusive", exclusive=True)(owner.channel()).declare()
    other = queue("interop.kombu.queue")
    other(connection.channel()).declare()
    for what, call in {
        "unknown queue": lambda c: c.queue_declare("interop.kombu.missing", passive=True),
        "unknown exchange": lambda c: Producer(c).publish("", exchange="interop.kombu.missing"),
        "other properties": lambda c: c.queue_declare(other.name, durable=True, auto_delete=True),
        "bad argument": lambda c: c.queue_declare("interop.kombu.bad", arguments={"x-max-length": -1}),
        "exclusive": lambda c: c.queue_declare("interop.kombu.exclusive", exclusive=True),
        "reserved name": lambda c: c.exchange_declare("amq.mine", "direct"),
        "default exchange": lambda c: c.queue_bind(other.name, "", "key"),
        "another user": lambda c: Producer(c).publish("", routing_key=other.name, user_id="nobody"),
        "unknown tag": lambda c: (c.basic_ack(7), c.queue_declare(other.name, passive=True)),
    }.items():
        refused(what, call, connection.channel())
    say("open", connection.connected)
    other(connection.channel()).delete()
    owner.release()


def connection_errors():
    for what, call in {
        "immediate": lambda c: Producer(c).publish("", routing_key="key", immediate=True),
        "second open": lambda c: (setattr(c, "is_open", False), c.open()),
    }.items():
        connection = connect()
        refused(what, call, connection.channel())


def restart(connection):
    print("ready for a restart", flush=True)
    if not sys.stdin.readline().strip():
        return
    refused("restarted", connection.drain_events)
    connection = connect()
    channel = connection.channel()
    again = queue("interop.kombu.restarted")(channel)
    again.declare()
    Producer(channel).publish("after", routing_key=again.name)
    say("after the restart", again.get(no_ack=True).body)
    again.delete()
    connection.release()


def main():
    connection = connect()
    server = connection.connection.server_properties
    say("greeting", server["product"], ".".join(server["version"].split(".")[:2]))
    logins()
    confirms_and_returns(connection)
    consuming(connection)
    channel = connection.channel()
    dead_letters(channel)
    requests(channel)
    content(channel)
    channel.close()
    channel_errors(connection)
    connection_errors()
    restart(connection)


main()
