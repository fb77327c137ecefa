# A transcript of a broker as seen by bunny, a Ruby client,: the same for every broker.
#
# Usage: bunny_smoke.rb AMQP_URL
#
# The broker must be fresh: the names of queues are fixed. When the program is ready for a restart of
# the broker, it waits for a line of standard input: an empty line means that there was none.

require "bigdecimal"
require "bunny"
require "digest"

$stdout.sync = true
URL = ARGV.fetch(0)

def say(what, *values)
  puts "#{what}: #{values.map(&:inspect).join(" ")}"
end

# Prints the error that a block ends with.
def refused(what)
  yield
  say(what, "not refused")
rescue Bunny::ChannelLevelException, Bunny::ConnectionLevelException => error
  say(what, error.class, error.message)
rescue Bunny::Exception => error
  say(what, error.class)
end

# The errors that connections end with.
class Errors < Queue
  alias raise push
end

ERRORS = Errors.new

def connect(url = URL)
  Bunny.new(
    url,
    automatically_recover: false,
    recover_from_connection_close: false,
    session_error_handler: ERRORS,
    logger: Logger.new(IO::NULL)
  ).start
end

# Headers in the order of their names, without times, which differ between runs.
def sorted(value)
  case value
  when Hash then value.sort.to_h { |name, inner| [name, name == "time" ? "a time" : sorted(inner)] }
  when Array then value.map { |inner| sorted(inner) }
  else value
  end
end

# A queue of a consumer's deliveries.
def consume(queue, **options)
  deliveries = Queue.new
  consumer = Bunny::Consumer.new(queue.channel, queue.name, options[:tag] || queue.channel.generate_consumer_tag,
                                 !options[:manual_ack])
  consumer.on_delivery { |*delivery| deliveries << delivery }
  consumer.on_cancellation { |cancel| deliveries << cancel }
  queue.subscribe_with(consumer)
  deliveries
end

def logins
  refused("wrong password") { connect(URL.sub("guest:guest", "guest:wrong")) }
  refused("unknown virtual host") { connect(URL.sub(%r{/[^/]*\z}, "/nowhere")) }
  ERRORS.clear
end

def confirms_and_returns(channel)
  limit = { "x-max-length" => 1, "x-overflow" => "reject-publish" }
  queue = channel.queue("interop.bunny.full", durable: true, arguments: limit)
  channel.confirm_select
  queue.publish("1")
  say("confirmed", channel.wait_for_confirms)
  queue.publish("2")
  say("full", channel.wait_for_confirms, channel.nacked_set.to_a)
  exchange = channel.default_exchange
  returns = Queue.new
  exchange.on_return { |*returned| returns << returned }
  exchange.publish("lost", routing_key: "interop.bunny.nowhere", mandatory: true, type: "t")
  info, properties, body = returns.pop
  say("returned", info.reply_code, info.reply_text, info.exchange, info.routing_key)
  say("returned, content", properties[:type], body)
  say("deleted", queue.delete.message_count)
end

def consuming(connection)
  channel = connection.create_channel
  channel.prefetch(2)
  queue = channel.queue("interop.bunny.consumed", durable: true)
  3.times { |number| queue.publish(number.to_s) }
  deliveries = consume(queue, tag: "tag", manual_ack: true)
  delivered = lambda do
    info, _, body = deliveries.pop
    say("delivered", info.consumer_tag, info.delivery_tag.to_i, info.redelivered?, body)
    info.delivery_tag
  end
  first = delivered.call
  second = delivered.call
  channel.reject(first, true)
  channel.ack(delivered.call)
  channel.ack(delivered.call)
  channel.nack(second, false, false)
  say("cancelled", channel.basic_cancel("tag").consumer_tag)
  # A queue that is deleted ends its consumers, and their tag can be used again.
  deliveries = consume(queue, tag: "tag", manual_ack: true)
  other = connection.create_channel
  other.queue_delete(queue.name)
  say("cancelled by the broker", deliveries.pop.consumer_tag)
  channel.queue_declare(queue.name, durable: true)
  deliveries = consume(queue, tag: "tag", manual_ack: true)
  queue.publish("again")
  channel.ack(delivered.call)
  channel.close
  say("deleted", other.queue_delete("interop.bunny.consumed").message_count)
end

def dead_letters(channel)
  dead = channel.queue("interop.bunny.dead", durable: true)
  arguments = { "x-dead-letter-exchange" => "", "x-dead-letter-routing-key" => dead.name }
  source = channel.queue("interop.bunny.source", durable: true, arguments: arguments)
  letters = consume(dead)
  source.publish("rejected", headers: { "mine" => 1 })
  info, = source.pop(manual_ack: true)
  channel.reject(info.delivery_tag)
  info, properties, body = letters.pop
  say("rejected", info.exchange, info.routing_key, body)
  sorted(properties.headers).each { |name, value| say("rejected, #{name}", value) }
  source.publish("expired", expiration: 10)
  _, properties, body = letters.pop
  say("expired", properties.expiration, body)
  sorted(properties.headers).each { |name, value| say("expired, #{name}", value) }
  source.delete
  dead.delete
end

def requests(channel)
  queue = channel.queue("interop.bunny.requests", durable: true)
  replies = consume(channel.queue("amq.rabbitmq.reply-to", no_declare: true))
  queue.publish("request", reply_to: "amq.rabbitmq.reply-to", correlation_id: "c")
  _, properties, body = queue.pop
  say("request", properties.reply_to.start_with?("amq.rabbitmq.reply-to."), body)
  channel.default_exchange.publish("reply", routing_key: properties.reply_to, correlation_id: properties.correlation_id)
  info, properties, body = replies.pop
  say("reply", info.exchange, properties.correlation_id, body)
  queue.delete
end

def content(channel)
  queue = channel.queue("interop.bunny.content", durable: true)
  headers = {
    "true" => true,
    "integer" => -(2**40),
    "float" => 0.1,
    "decimal" => BigDecimal("123"),
    "text" => "gr\u00fcn",
    "octets" => "\xff\xfe".b,
    "when" => Time.at(1_767_323_045).utc,
    "table" => { "inner" => { "innermost" => false } },
    "list" => [1, "two", [3], { "four" => 4 }],
    "nil" => nil
  }
  properties = {
    content_type: "text/plain",
    content_encoding: "utf-8",
    persistent: true,
    priority: 9,
    correlation_id: "c",
    reply_to: "r",
    expiration: "60000",
    message_id: "m",
    timestamp: 1,
    type: "t",
    user_id: "guest",
    app_id: "a"
  }
  queue.publish("", headers: headers, **properties)
  _, back, = queue.pop
  back = back.to_h
  sorted(back.delete(:headers)).each do |name, value|
    say("header, #{name}", value.is_a?(Time) ? value.to_i : value)
  end
  back.each { |name, value| say("property, #{name}", value.is_a?(Time) ? value.to_i : value) }
  queue.publish((0...250).to_a.pack("C*") * 40_000)
  _, _, body = queue.pop
  say("large body", body.bytesize, Digest::SHA256.hexdigest(body))
  queue.delete
end

def channel_errors(connection)
  owner = connect
  owner.create_channel.queue("interop.bunny.exclusive", exclusive: true)
  connection.create_channel.queue("interop.bunny.queue", durable: true)
  on_a_channel = lambda do |what, &call|
    refused(what) { call.call(connection.create_channel) }
  end
  # A call without an answer, which waits for the close as other calls do.
  unanswered = lambda do |what, &call|
    channel = connection.create_channel
    call.call(channel)
    close = channel.send(:wait_on_continuations)
    say(what, close.reply_code, close.reply_text)
  end
  on_a_channel.call("unknown queue") { |c| c.queue("interop.bunny.missing", passive: true) }
  unanswered.call("unknown exchange") { |c| c.basic_publish("lost", "interop.bunny.missing", "") }
  on_a_channel.call("other properties") { |c| c.queue("interop.bunny.queue", durable: true, auto_delete: true) }
  on_a_channel.call("bad argument") { |c| c.queue("interop.bunny.bad", arguments: { "x-max-length" => "x" }) }
  on_a_channel.call("exclusive") { |c| c.queue("interop.bunny.exclusive", exclusive: true) }
  on_a_channel.call("reserved name") { |c| c.queue("amq.mine", durable: true) }
  on_a_channel.call("default exchange") { |c| c.queue_bind("interop.bunny.queue", "", routing_key: "key") }
  unanswered.call("another user") { |c| c.basic_publish("", "", "interop.bunny.queue", user_id: "nobody") }
  errors = Queue.new
  channel = connection.create_channel
  channel.on_error { |_, close| errors << close }
  channel.basic_ack(7, false)
  say("unknown tag", errors.pop.reply_text)
  say("open", connection.open?)
  connection.create_channel.queue_delete("interop.bunny.queue")
  owner.close
end

def connection_errors
  connection = connect
  channel = connection.create_channel
  connection.send_frame(AMQ::Protocol::Channel::Open.encode(channel.id, ""))
  refused("second open") { raise ERRORS.pop }
end

def restart
  puts "ready for a restart"
  return if $stdin.gets.to_s.strip.empty?

  refused("restarted") { raise ERRORS.pop }
  connection = connect
  queue = connection.create_channel.queue("interop.bunny.restarted", durable: true)
  queue.publish("after")
  say("after the restart", queue.pop.last)
  queue.delete
  connection.close
end

connection = connect
server = connection.server_properties
say("greeting", server["product"], server["version"].split(".").first(2).join("."))
logins
confirms_and_returns(connection.create_channel)
consuming(connection)
channel = connection.create_channel
dead_letters(channel)
requests(channel)
content(channel)
channel_errors(connection)
connection_errors
restart
