"""A transcript of a broker as seen by pika, a Python client,: the same for every broker.

Usage: pika_smoke.py AMQP_URL

The broker must be fresh: the names of queues and exchanges are fixed. When the program is ready for
a restart of the broker, it waits for a line of standard input: an empty line means that there was
none.
"""

import datetime
import decimal
import hashlib
import sys

import pika
from pika.exceptions import (
    AMQPConnectionError,
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    NackError,
    UnroutableError,
)

URL = sys.argv[1]


def connect(**changes):
    parameters = pika.URLParameters(URL)
    for name, value in changes.items():
        setattr(parameters, name, value)
    return pika.BlockingConnection(parameters)


def say(what, *values):
    print(f"{what}:", *(repr(value) for value in values), flush=True)


def refused(what, call, *arguments, **named):
    """Prints the code and text with which the broker closes the channel or the connection."""
    try:
        call(*arguments, **named)
    except (ChannelClosedByBroker, ConnectionClosedByBroker) as error:
        say(what, type(error).__name__, error.reply_code, error.reply_text)
    else:
        say(what, "not refused")


def properties_of(properties):
    """The properties that are set, without those that differ between runs."""
    shown = {}
    for name, value in sorted(vars(properties).items()):
        if value is None:
            continue
        if name == "headers":
            value = {key: without_time(header) for key, header in sorted(value.items())}
        shown[name] = value
    return shown


def without_time(header):
    if isinstance(header, list):
        return [without_time(entry) for entry in header]
    if isinstance(header, dict) and "time" in header:
        return {key: "a time" if key == "time" else value for key, value in sorted(header.items())}
    return header


def fetch(channel, queue, what):
    method, properties, body = channel.basic_get(queue, auto_ack=True)
    if method is None:
        say(what, "empty")
    else:
        say(what, method.exchange, method.routing_key, method.redelivered, method.message_count)
        say(f"{what}, content", properties_of(properties), body)


def greeting(connection):
    server = connection._impl.server_properties
    say("product", server["product"])
    say("version", ".".join(server["version"].split(".")[:2]))
    say("capabilities", sorted(server["capabilities"].items()))
    limits = connection._impl.params
    say("limits", limits.channel_max, limits.frame_max, limits.heartbeat)


def logins():
    for what, changes in {
        "wrong password": {"credentials": pika.PlainCredentials("guest", "wrong")},
        "unknown user": {"credentials": pika.PlainCredentials("nobody", "guest")},
        "unknown virtual host": {"virtual_host": "nowhere"},
    }.items():
        try:
            connect(**changes).close()
            say(what, "taken")
        except ConnectionClosedByBroker as error:
            say(what, error.reply_code, error.reply_text)
        except AMQPConnectionError as error:
            say(what, type(error).__name__, [str(argument) for argument in error.args])


def routing(channel):
    for kind in ["direct", "fanout", "topic", "headers"]:
        channel.exchange_declare(f"interop.{kind}", kind, durable=True)
        declared = channel.queue_declare(f"interop.by-{kind}", durable=True).method
        say("declared", declared.queue, declared.message_count, declared.consumer_count)
    channel.queue_bind("interop.by-direct", "interop.direct", "key")
    channel.queue_bind("interop.by-fanout", "interop.fanout")
    channel.queue_bind("interop.by-topic", "interop.topic", "a.*.#")
    arguments = {"x-match": "any", "number": 1, "text": "x"}
    channel.queue_bind("interop.by-headers", "interop.headers", arguments=arguments)
    channel.basic_publish("interop.direct", "key", b"direct")
    channel.basic_publish("interop.direct", "other", b"nowhere")
    channel.basic_publish("interop.fanout", "", b"fanout")
    channel.basic_publish("interop.topic", "a.b", b"topic")
    channel.basic_publish("interop.topic", "a", b"nowhere")
    headers = pika.BasicProperties(headers={"number": 1})
    channel.basic_publish("interop.headers", "", b"headers", headers)
    for kind in ["direct", "fanout", "topic", "headers"]:
        fetch(channel, f"interop.by-{kind}", kind)
        fetch(channel, f"interop.by-{kind}", f"{kind} again")
        say("unbound", type(channel.queue_unbind(f"interop.by-{kind}", f"interop.{kind}", "x")).__name__)
        say("deleted", channel.queue_delete(f"interop.by-{kind}").method.message_count)
        channel.exchange_delete(f"interop.{kind}")


def properties(connection):
    channel = connection.channel()
    channel.queue_declare("interop.properties", durable=True)
    when = datetime.datetime(2026, 1, 2, 3, 4, 5)
    headers = {
        "list": [1, "two", [3], {"four": 4}],
        "table": {"inner": {"innermost": True}},
        "decimal": decimal.Decimal("1.23"),
        "time": when,
        "none": None,
        "small": -1,
        "large": 2**40,
        "text": "gr\u00fcn",
        "octets": b"\xff\xfe",
        "": "no key",
    }
    for what, sent in {
        "none": pika.BasicProperties(),
        "no headers": pika.BasicProperties(headers={}),
        "headers": pika.BasicProperties(headers=headers),
        "octets": pika.BasicProperties(correlation_id=b"\xff\xfe", message_id=b"\x80"),
        "mode 3": pika.BasicProperties(delivery_mode=3),
        "all": pika.BasicProperties(
            content_type="text/plain",
            content_encoding="utf-8",
            delivery_mode=2,
            priority=9,
            correlation_id="c",
            reply_to="r",
            expiration="60000",
            message_id="m",
            timestamp=1,
            type="t",
            user_id="guest",
            app_id="a",
            cluster_id="k",
        ),
    }.items():
        try:
            channel.basic_publish("", "interop.properties", what.encode(), sent)
            fetch(channel, "interop.properties", f"properties, {what}")
        except ChannelClosedByBroker as error:
            say(f"properties, {what}", error.reply_code, error.reply_text)
            channel = connection.channel()
    body = bytes(range(250)) * 40_000
    channel.basic_publish("", "interop.properties", body)
    _, _, back = channel.basic_get("interop.properties", auto_ack=True)
    say("large body", len(back), hashlib.sha256(back).hexdigest())
    channel.queue_delete("interop.properties")
    channel.close()


def confirms(connection):
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare("interop.full", durable=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    say("confirmed", channel.basic_publish("", "interop.full", b"1"))
    try:
        channel.basic_publish("", "interop.full", b"2")
        say("full", "taken")
    except NackError as error:
        say("full", "nacked", len(error.messages))
    try:
        channel.basic_publish("", "interop.nowhere", b"lost", mandatory=True)
        say("mandatory", "taken")
    except UnroutableError as error:
        method = error.messages[0].method
        say("mandatory", method.reply_code, method.reply_text, method.exchange, method.routing_key)
    channel.queue_delete("interop.full")
    channel.close()


def consuming(connection):
    channel = connection.channel()
    channel.queue_declare("interop.consumed", durable=True)
    channel.basic_qos(prefetch_count=2)
    for number in range(4):
        channel.basic_publish("", "interop.consumed", str(number).encode())
    deliveries = []
    tag = channel.basic_consume("interop.consumed", lambda *delivery: deliveries.append(delivery))

    def until_delivered(count):
        while len(deliveries) < count:
            connection.process_data_events(time_limit=1)
        for _, method, _, body in deliveries:
            say("delivered", method.delivery_tag, method.redelivered, body)
        deliveries.clear()

    # One step at a time: RabbitMQ's queues take acks before nacks that came earlier.
    until_delivered(2)
    channel.basic_nack(1, requeue=True)
    until_delivered(1)
    channel.basic_ack(2)
    until_delivered(1)
    channel.basic_ack(0, multiple=True)
    until_delivered(1)
    say("cancelled", channel.basic_cancel(tag))
    channel.basic_nack(0, multiple=True, requeue=True)
    say("left", channel.queue_purge("interop.consumed").method.message_count)
    # The broker tells a consumer that its queue is gone.
    gone = []
    channel.add_on_cancel_callback(lambda frame: gone.append(frame.method.consumer_tag))
    channel.basic_consume("interop.consumed", lambda *_: None, consumer_tag="watcher")
    other = connection.channel()
    other.queue_delete("interop.consumed")
    while not gone:
        connection.process_data_events(time_limit=1)
    say("cancelled by the broker", gone)
    channel.close()
    other.close()


def dead_letters(channel):
    channel.queue_declare("interop.dead", durable=True)
    arguments = {
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "interop.dead",
        "x-max-length": 1,
    }
    channel.queue_declare("interop.source", durable=True, arguments=arguments)
    channel.basic_publish("", "interop.source", b"dropped")
    headers = {"mine": 1}
    properties = pika.BasicProperties(headers=headers, expiration="100000")
    channel.basic_publish("", "interop.source", b"rejected", properties)
    method, _, _ = channel.basic_get("interop.source")
    channel.basic_reject(method.delivery_tag, requeue=False)
    # Dead letters arrive at any time.
    while channel.queue_declare("interop.dead", passive=True).method.message_count < 2:
        pass
    fetch(channel, "interop.dead", "dead letter")
    fetch(channel, "interop.dead", "dead letter")
    channel.basic_publish("", "interop.source", b"expired", pika.BasicProperties(expiration="10"))
    while channel.queue_declare("interop.dead", passive=True).method.message_count < 1:
        pass
    fetch(channel, "interop.dead", "expired")
    channel.queue_delete("interop.source")
    channel.queue_delete("interop.dead")


def transactions(connection):
    channel = connection.channel()
    channel.queue_declare("interop.tx", durable=True)
    channel.tx_select()
    channel.basic_publish("", "interop.tx", b"rolled back")
    channel.tx_rollback()
    channel.basic_publish("", "interop.tx", b"committed")
    fetch(channel, "interop.tx", "before the commit")
    channel.tx_commit()
    fetch(channel, "interop.tx", "after the commit")
    channel.queue_delete("interop.tx")
    channel.close()


def direct_reply(connection):
    channel = connection.channel()
    channel.queue_declare("interop.requests", durable=True)
    replies = []
    channel.basic_consume(
        "amq.rabbitmq.reply-to",
        lambda _, method, properties, body: replies.append((method.exchange, body)),
        auto_ack=True,
    )
    request = pika.BasicProperties(reply_to="amq.rabbitmq.reply-to")
    channel.basic_publish("", "interop.requests", b"request", request)
    server = connection.channel()
    _, properties, _ = server.basic_get("interop.requests", auto_ack=True)
    say("address", properties.reply_to.startswith("amq.rabbitmq.reply-to."))
    server.basic_publish("", properties.reply_to, b"reply")
    while not replies:
        connection.process_data_events(time_limit=1)
    say("replies", replies)
    server.queue_delete("interop.requests")
    server.close()
    channel.close()


def channel_errors(connection):
    connection.channel().queue_declare("interop.queue", durable=True)

    def on_a_channel(what, call):
        channel = connection.channel()
        refused(what, call, channel)
        say("open", channel.is_open, connection.is_open)
        if channel.is_open:
            channel.close()

    def publish_to_nowhere(channel):
        channel.basic_publish("interop.missing", "", b"lost")
        # A call with an answer: the close comes before that.
        channel.queue_declare("interop.queue", passive=True)

    for what, call in {
        "missing queue": lambda c: c.queue_declare("interop.missing", passive=True),
        "missing exchange": publish_to_nowhere,
        "other properties": lambda c: c.queue_declare("interop.queue", durable=False),
        "reserved name": lambda c: c.queue_declare("amq.mine"),
        "unknown tag": lambda c: (c.basic_ack(7), c.queue_declare("interop.queue", passive=True)),
        "default exchange": lambda c: c.queue_bind("interop.queue", "", "key"),
        "bad argument": lambda c: c.queue_declare("interop.bad", arguments={"x-message-ttl": -1}),
        "not empty": lambda c: (
            c.basic_publish("", "interop.queue", b"1"),
            c.queue_delete("interop.queue", if_empty=True),
        ),
    }.items():
        on_a_channel(what, call)

    # This error ends the channel, or before RabbitMQ 4.0 the connection.
    other = connect()
    refused("unknown kind", other.channel().exchange_declare, "interop.bad", "sideways")
    if other.is_open:
        other.close()

    # Both sides close the channel at once.
    channel = connection.channel()
    channel.basic_publish("interop.missing", "", b"lost")
    refused("closed by both", channel.close)
    say("open", channel.is_open, connection.is_open)

    owner = connect()
    owner.channel().queue_declare("interop.exclusive", exclusive=True)
    on_a_channel("exclusive", lambda c: c.queue_declare("interop.exclusive", exclusive=True))
    owner.close()
    channel = connection.channel()
    name = channel.queue_declare("", exclusive=True).method.queue
    say("server-named", name.startswith("amq.gen-"), len(name))
    say("deleted", channel.queue_delete("interop.queue").method.message_count)
    channel.close()


def connection_errors():
    for what, call in {
        "same consumer tag": lambda c: [
            c._impl._send_method(pika.spec.Basic.Consume(queue="interop.tags", consumer_tag="t"))
            for _ in range(2)
        ],
        "immediate": lambda c: c._impl._send_method(
            pika.spec.Basic.Publish(exchange="", routing_key="x", immediate=True),
            (pika.BasicProperties(), b"body"),
        ),
        "second open": lambda c: c._impl._send_method(pika.spec.Channel.Open()),
    }.items():
        connection = connect()
        channel = connection.channel()
        channel.queue_declare("interop.tags", exclusive=True)

        def until_closed():
            call(channel)
            while True:
                connection.process_data_events(time_limit=1)

        refused(what, until_closed)


def restart(connection):
    print("ready for a restart", flush=True)
    if not sys.stdin.readline().strip():
        return

    def until_closed():
        while True:
            connection.process_data_events(time_limit=1)

    refused("restarted", until_closed)
    connection = connect()
    channel = connection.channel()
    channel.queue_declare("interop.restarted", durable=True)
    channel.basic_publish("", "interop.restarted", b"after")
    fetch(channel, "interop.restarted", "after the restart")
    channel.queue_delete("interop.restarted")
    connection.close()


def main():
    connection = connect()
    greeting(connection)
    channel = connection.channel()
    routing(channel)
    properties(connection)
    dead_letters(channel)
    channel.close()
    confirms(connection)
    consuming(connection)
    transactions(connection)
    direct_reply(connection)
    channel_errors(connection)
    other = connect()
    other.close()
    say("closed", other.is_open)
    logins()
    connection_errors()
    restart(connection)


main()
