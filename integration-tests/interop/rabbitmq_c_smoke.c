// A transcript of a broker as seen by rabbitmq-c, a C client,: the same for every broker.
//
// Usage: rabbitmq_c_smoke AMQP_URL
//
// The broker must be fresh: the names of queues are fixed. When the program is ready for a restart
// of the broker, it waits for a line of standard input: an empty line means that there was none.

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/tcp_socket.h>

#define QUEUE "interop.c.queue"
#define DEAD "interop.c.dead"
#define LARGE (250 * 40000)

static const char *url;

static amqp_bytes_t text(const char *string) { return amqp_cstring_bytes(string); }

static void say(const char *what, const char *format, ...) {
  va_list values;
  va_start(values, format);
  printf("%s: ", what);
  vprintf(format, values);
  puts("");
  va_end(values);
}

static void fail(const char *what) {
  fprintf(stderr, "failed: %s\n", what);
  exit(1);
}

static void say_bytes(amqp_bytes_t bytes) {
  const uint8_t *at = bytes.bytes;
  for (size_t i = 0; i < bytes.len; i++) printf(at[i] < 32 || at[i] > 126 ? "\\x%02x" : "%c", at[i]);
}

static void say_value(amqp_field_value_t field);

// The order of a table's entries has no meaning.
static void sort(amqp_table_t table) {
  qsort(table.entries, table.num_entries, sizeof(amqp_table_entry_t), amqp_table_entry_cmp);
}

static void say_entry(amqp_table_entry_t entry) {
  say_bytes(entry.key);
  printf(": ");
  // Times of deaths differ between runs.
  if (entry.key.len == 4 && !memcmp(entry.key.bytes, "time", 4)) {
    printf("a time");
  } else {
    say_value(entry.value);
  }
}

// A value, after the letter of its type.
static void say_value(amqp_field_value_t field) {
  printf("%c ", field.kind);
  switch (field.kind) {
    case AMQP_FIELD_KIND_BOOLEAN: printf("%s", field.value.boolean ? "true" : "false"); break;
    case AMQP_FIELD_KIND_I8: printf("%" PRId8, field.value.i8); break;
    case AMQP_FIELD_KIND_U8: printf("%" PRIu8, field.value.u8); break;
    case AMQP_FIELD_KIND_I16: printf("%" PRId16, field.value.i16); break;
    case AMQP_FIELD_KIND_U16: printf("%" PRIu16, field.value.u16); break;
    case AMQP_FIELD_KIND_I32: printf("%" PRId32, field.value.i32); break;
    case AMQP_FIELD_KIND_U32: printf("%" PRIu32, field.value.u32); break;
    case AMQP_FIELD_KIND_I64: printf("%" PRId64, field.value.i64); break;
    case AMQP_FIELD_KIND_U64:
    case AMQP_FIELD_KIND_TIMESTAMP: printf("%" PRIu64, field.value.u64); break;
    case AMQP_FIELD_KIND_F32: printf("%g", field.value.f32); break;
    case AMQP_FIELD_KIND_F64: printf("%g", field.value.f64); break;
    case AMQP_FIELD_KIND_DECIMAL:
      printf("%" PRIu32 "e-%" PRIu8, field.value.decimal.value, field.value.decimal.decimals);
      break;
    case AMQP_FIELD_KIND_UTF8:
    case AMQP_FIELD_KIND_BYTES: say_bytes(field.value.bytes); break;
    case AMQP_FIELD_KIND_ARRAY:
      for (int i = 0; i < field.value.array.num_entries; i++) {
        printf(i ? ", " : "[");
        say_value(field.value.array.entries[i]);
      }
      printf("]");
      break;
    case AMQP_FIELD_KIND_TABLE:
      sort(field.value.table);
      for (int i = 0; i < field.value.table.num_entries; i++) {
        printf(i ? ", " : "{");
        say_entry(field.value.table.entries[i]);
      }
      printf("}");
      break;
  }
}

static void say_headers(const char *what, const amqp_message_t *message) {
  amqp_table_t headers = message->properties.headers;
  sort(headers);
  for (int i = 0; i < headers.num_entries; i++) {
    printf("%s, ", what);
    say_entry(headers.entries[i]);
    puts("");
  }
}

static void say_method(const char *what, amqp_method_t method) {
  printf("%s: %s ", what, amqp_method_name(method.id));
  if (method.id == AMQP_CHANNEL_CLOSE_METHOD) {
    amqp_channel_close_t *close = method.decoded;
    printf("%d ", close->reply_code);
    say_bytes(close->reply_text);
  } else if (method.id == AMQP_CONNECTION_CLOSE_METHOD) {
    amqp_connection_close_t *close = method.decoded;
    printf("%d ", close->reply_code);
    say_bytes(close->reply_text);
  } else if (method.id == AMQP_BASIC_RETURN_METHOD) {
    amqp_basic_return_t *returned = method.decoded;
    printf("%d ", returned->reply_code);
    say_bytes(returned->reply_text);
    printf(" ");
    say_bytes(returned->routing_key);
  } else if (method.id == AMQP_BASIC_ACK_METHOD) {
    printf("%" PRIu64, ((amqp_basic_ack_t *)method.decoded)->delivery_tag);
  } else if (method.id == AMQP_BASIC_NACK_METHOD) {
    printf("%" PRIu64, ((amqp_basic_nack_t *)method.decoded)->delivery_tag);
  } else if (method.id == AMQP_BASIC_CANCEL_METHOD) {
    say_bytes(((amqp_basic_cancel_t *)method.decoded)->consumer_tag);
  }
  puts("");
}

static void say_reply(const char *what, amqp_rpc_reply_t reply) {
  if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION) {
    say_method(what, reply.reply);
  } else if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION) {
    say(what, "%s", amqp_error_string2(reply.library_error));
  } else {
    say(what, "not refused");
  }
}

static amqp_table_entry_t entry(const char *key, amqp_field_value_kind_t kind) {
  return (amqp_table_entry_t){.key = text(key), .value = {.kind = kind}};
}

static amqp_connection_state_t log_in(const char *password, const char *vhost,
                                      amqp_rpc_reply_t *reply) {
  struct amqp_connection_info info;
  char *parsed = strdup(url);
  if (amqp_parse_url(parsed, &info) != AMQP_STATUS_OK) fail("the URL");
  amqp_connection_state_t connection = amqp_new_connection();
  if (amqp_socket_open(amqp_tcp_socket_new(connection), info.host, info.port)) fail("connecting");
  // The broker sends a client only the notifications of its capabilities.
  amqp_table_entry_t notify = entry("consumer_cancel_notify", AMQP_FIELD_KIND_BOOLEAN);
  notify.value.value.boolean = 1;
  amqp_table_entry_t capabilities = entry("capabilities", AMQP_FIELD_KIND_TABLE);
  capabilities.value.value.table = (amqp_table_t){.num_entries = 1, .entries = &notify};
  *reply = amqp_login_with_properties(connection, vhost ? vhost : info.vhost, 0, 131072, 0,
                                      &(amqp_table_t){.num_entries = 1, .entries = &capabilities},
                                      AMQP_SASL_METHOD_PLAIN, info.user,
                                      password ? password : info.password);
  free(parsed);
  return connection;
}

static amqp_connection_state_t connect_to_broker(void) {
  amqp_rpc_reply_t reply;
  amqp_connection_state_t connection = log_in(NULL, NULL, &reply);
  if (reply.reply_type != AMQP_RESPONSE_NORMAL) fail("logging in");
  amqp_channel_open(connection, 1);
  return connection;
}

static void expect_answer(amqp_connection_state_t connection, const char *what) {
  if (amqp_get_rpc_reply(connection).reply_type != AMQP_RESPONSE_NORMAL) fail(what);
}

static void declare(amqp_connection_state_t connection, const char *name, amqp_table_t arguments) {
  amqp_queue_declare(connection, 1, text(name), 0, 1, 0, 0, arguments);
  expect_answer(connection, name);
}

static void delete_queue(amqp_connection_state_t connection, const char *name) {
  amqp_queue_delete_ok_t *deleted = amqp_queue_delete(connection, 1, text(name), 0, 0);
  expect_answer(connection, name);
  say("deleted", "%s with %u messages", name, deleted->message_count);
}

static void publish(amqp_connection_state_t connection, const char *key, amqp_basic_properties_t *properties,
                    const char *body) {
  if (amqp_basic_publish(connection, 1, amqp_empty_bytes, text(key), 1, 0, properties, text(body))) {
    fail("publishing");
  }
}

static void consume(amqp_connection_state_t connection, const char *queue, int no_ack) {
  amqp_basic_consume(connection, 1, text(queue), text("tag"), 0, no_ack, 0, amqp_empty_table);
  expect_answer(connection, queue);
}

// Waits for the next method of the broker.
static amqp_method_t next_method(amqp_connection_state_t connection) {
  amqp_frame_t frame;
  do {
    if (amqp_simple_wait_frame(connection, &frame)) fail("waiting for a method");
  } while (frame.frame_type != AMQP_FRAME_METHOD);
  return frame.payload.method;
}

// Waits for a delivery, and prints it.
static amqp_envelope_t delivered(amqp_connection_state_t connection, const char *what) {
  amqp_envelope_t envelope;
  amqp_rpc_reply_t reply = amqp_consume_message(connection, &envelope, NULL, 0);
  if (reply.reply_type != AMQP_RESPONSE_NORMAL) fail("waiting for a delivery");
  printf("%s: ", what);
  say_bytes(envelope.consumer_tag);
  printf(" %" PRIu64 " %s ", envelope.delivery_tag, envelope.redelivered ? "redelivered" : "first");
  say_bytes(envelope.message.body);
  puts("");
  return envelope;
}

static uint64_t tag_of_delivered(amqp_connection_state_t connection) {
  amqp_envelope_t envelope = delivered(connection, "delivered");
  amqp_destroy_envelope(&envelope);
  return envelope.delivery_tag;
}

// Gets a message, which must be ready.
static amqp_message_t get(amqp_connection_state_t connection, const char *queue, int no_ack) {
  amqp_message_t message;
  amqp_rpc_reply_t reply = amqp_basic_get(connection, 1, text(queue), no_ack);
  if (reply.reply_type != AMQP_RESPONSE_NORMAL || reply.reply.id != AMQP_BASIC_GET_OK_METHOD) fail("getting");
  reply = amqp_read_message(connection, 1, &message, 0);
  if (reply.reply_type != AMQP_RESPONSE_NORMAL) fail("reading a message");
  return message;
}

static void logins(void) {
  amqp_rpc_reply_t reply;
  amqp_connection_state_t connection = log_in("wrong", NULL, &reply);
  say_reply("wrong password", reply);
  amqp_destroy_connection(connection);
  connection = log_in(NULL, "nowhere", &reply);
  say_reply("unknown virtual host", reply);
  amqp_destroy_connection(connection);
}

static amqp_table_entry_t text_entry(const char *key, const char *value) {
  amqp_table_entry_t made = entry(key, AMQP_FIELD_KIND_UTF8);
  made.value.value.bytes = text(value);
  return made;
}

static amqp_table_entry_t number_entry(const char *key, int32_t value) {
  amqp_table_entry_t made = entry(key, AMQP_FIELD_KIND_I32);
  made.value.value.i32 = value;
  return made;
}

static void confirms_and_returns(void) {
  amqp_connection_state_t connection = connect_to_broker();
  amqp_table_entry_t limit[] = {number_entry("x-max-length", 1), text_entry("x-overflow", "reject-publish")};
  declare(connection, QUEUE, (amqp_table_t){.num_entries = 2, .entries = limit});
  amqp_confirm_select(connection, 1);
  publish(connection, QUEUE, NULL, "1");
  say_method("confirmed", next_method(connection));
  publish(connection, QUEUE, NULL, "2");
  say_method("full", next_method(connection));
  publish(connection, "interop.c.nowhere", NULL, "lost");
  say_method("returned", next_method(connection));
  amqp_message_t message;
  amqp_read_message(connection, 1, &message, 0);
  printf("returned, content: ");
  say_bytes(message.body);
  puts("");
  amqp_destroy_message(&message);
  say_method("returned, confirm", next_method(connection));
  delete_queue(connection, QUEUE);
  amqp_connection_close(connection, AMQP_REPLY_SUCCESS);
  amqp_destroy_connection(connection);
}

static void consuming(void) {
  amqp_connection_state_t connection = connect_to_broker(), other = connect_to_broker();
  declare(connection, QUEUE, amqp_empty_table);
  amqp_basic_qos(connection, 1, 0, 2, 0);
  publish(connection, QUEUE, NULL, "0");
  publish(connection, QUEUE, NULL, "1");
  publish(connection, QUEUE, NULL, "2");
  consume(connection, QUEUE, 0);
  uint64_t first = tag_of_delivered(connection), second = tag_of_delivered(connection);
  amqp_basic_reject(connection, 1, first, 1);
  amqp_basic_ack(connection, 1, tag_of_delivered(connection), 0);
  amqp_basic_ack(connection, 1, tag_of_delivered(connection), 0);
  amqp_basic_nack(connection, 1, second, 0, 0);
  amqp_basic_cancel(connection, 1, text("tag"));
  say_reply("cancelled", amqp_get_rpc_reply(connection));
  // A queue that is deleted ends its consumers, and their tag can be used again.
  consume(connection, QUEUE, 0);
  delete_queue(other, QUEUE);
  say_method("cancelled by the broker", next_method(connection));
  amqp_connection_close(connection, AMQP_REPLY_SUCCESS);
  amqp_destroy_connection(connection);
  amqp_connection_close(other, AMQP_REPLY_SUCCESS);
  amqp_destroy_connection(other);
}

static void dead_letters(amqp_connection_state_t connection) {
  declare(connection, DEAD, amqp_empty_table);
  amqp_table_entry_t to_dead[] = {
      text_entry("x-dead-letter-exchange", ""),
      text_entry("x-dead-letter-routing-key", DEAD),
  };
  declare(connection, QUEUE, (amqp_table_t){.num_entries = 2, .entries = to_dead});
  // Before the first letter: RabbitMQ 4.3 marks letters that had to wait as redelivered.
  consume(connection, DEAD, 1);
  amqp_table_entry_t mine = number_entry("mine", 1);
  amqp_basic_properties_t properties = {
      ._flags = AMQP_BASIC_HEADERS_FLAG,
      .headers = {.num_entries = 1, .entries = &mine},
  };
  publish(connection, QUEUE, &properties, "rejected");
  amqp_message_t message = get(connection, QUEUE, 0);
  amqp_destroy_message(&message);
  amqp_basic_reject(connection, 1, 1, 0);
  amqp_envelope_t letter = delivered(connection, "rejected");
  say_headers("rejected", &letter.message);
  amqp_destroy_envelope(&letter);
  properties = (amqp_basic_properties_t){._flags = AMQP_BASIC_EXPIRATION_FLAG, .expiration = text("10")};
  publish(connection, QUEUE, &properties, "expired");
  letter = delivered(connection, "expired");
  say("expired, expiration is set", "%d", !!(letter.message.properties._flags & AMQP_BASIC_EXPIRATION_FLAG));
  say_headers("expired", &letter.message);
  amqp_destroy_envelope(&letter);
  amqp_basic_cancel(connection, 1, text("tag"));
  delete_queue(connection, QUEUE);
  delete_queue(connection, DEAD);
}

static void requests(amqp_connection_state_t connection) {
  declare(connection, QUEUE, amqp_empty_table);
  consume(connection, "amq.rabbitmq.reply-to", 1);
  amqp_basic_properties_t properties = {
      ._flags = AMQP_BASIC_REPLY_TO_FLAG,
      .reply_to = text("amq.rabbitmq.reply-to"),
  };
  publish(connection, QUEUE, &properties, "request");
  amqp_message_t message = get(connection, QUEUE, 1);
  say("request", "%.22s", (char *)message.properties.reply_to.bytes);
  amqp_basic_publish(connection, 1, amqp_empty_bytes, message.properties.reply_to, 0, 0, NULL, text("reply"));
  amqp_destroy_message(&message);
  amqp_envelope_t reply = delivered(connection, "reply");
  amqp_destroy_envelope(&reply);
  amqp_basic_cancel(connection, 1, text("tag"));
  delete_queue(connection, QUEUE);
}

static void content(amqp_connection_state_t connection) {
  declare(connection, QUEUE, amqp_empty_table);
  amqp_table_entry_t innermost = entry("innermost", AMQP_FIELD_KIND_BOOLEAN);
  innermost.value.value.boolean = 1;
  amqp_table_entry_t inner = entry("inner", AMQP_FIELD_KIND_TABLE);
  inner.value.value.table = (amqp_table_t){.num_entries = 1, .entries = &innermost};
  amqp_field_value_t list[] = {number_entry("", 1).value, text_entry("", "two").value, inner.value};
  amqp_table_entry_t headers[] = {
      entry("boolean", AMQP_FIELD_KIND_BOOLEAN), entry("i8", AMQP_FIELD_KIND_I8),
      entry("u8", AMQP_FIELD_KIND_U8),           entry("i16", AMQP_FIELD_KIND_I16),
      entry("u16", AMQP_FIELD_KIND_U16),         entry("i32", AMQP_FIELD_KIND_I32),
      entry("u32", AMQP_FIELD_KIND_U32),         entry("i64", AMQP_FIELD_KIND_I64),
      entry("f32", AMQP_FIELD_KIND_F32),         entry("f64", AMQP_FIELD_KIND_F64),
      entry("decimal", AMQP_FIELD_KIND_DECIMAL), entry("array", AMQP_FIELD_KIND_ARRAY),
      entry("when", AMQP_FIELD_KIND_TIMESTAMP),  entry("bytes", AMQP_FIELD_KIND_BYTES),
      entry("void", AMQP_FIELD_KIND_VOID),       text_entry("text", "gr\xc3\xbcn"),
      inner,
  };
  headers[0].value.value.boolean = 1;
  headers[1].value.value.i8 = -1;
  headers[2].value.value.u8 = 200;
  headers[3].value.value.i16 = -1000;
  headers[4].value.value.u16 = 40000;
  headers[5].value.value.i32 = INT32_MIN;
  headers[6].value.value.u32 = UINT32_MAX;
  headers[7].value.value.i64 = INT64_C(1) << 40;
  headers[8].value.value.f32 = 0.5;
  headers[9].value.value.f64 = 0.1;
  headers[10].value.value.decimal = (amqp_decimal_t){.decimals = 2, .value = 123};
  headers[11].value.value.array = (amqp_array_t){.num_entries = 3, .entries = list};
  headers[12].value.value.u64 = 1767323045;
  headers[13].value.value.bytes = text("\xff\xfe");
  amqp_basic_properties_t properties = {
      ._flags = AMQP_BASIC_HEADERS_FLAG | AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG |
                AMQP_BASIC_PRIORITY_FLAG | AMQP_BASIC_TIMESTAMP_FLAG | AMQP_BASIC_USER_ID_FLAG,
      .headers = {.num_entries = sizeof headers / sizeof *headers, .entries = headers},
      .content_type = text("text/plain"),
      .delivery_mode = AMQP_DELIVERY_PERSISTENT,
      .priority = 9,
      .timestamp = 1,
      .user_id = text("guest"),
  };
  publish(connection, QUEUE, &properties, "");
  amqp_message_t message = get(connection, QUEUE, 1);
  say_headers("header", &message);
  say("properties", "%x %d %d %" PRIu64, message.properties._flags, message.properties.delivery_mode,
      message.properties.priority, message.properties.timestamp);
  amqp_destroy_message(&message);
  uint8_t *body = malloc(LARGE);
  for (int i = 0; i < LARGE; i++) body[i] = i % 250;
  amqp_basic_publish(connection, 1, amqp_empty_bytes, text(QUEUE), 0, 0, NULL,
                     (amqp_bytes_t){.len = LARGE, .bytes = body});
  message = get(connection, QUEUE, 1);
  say("large body", "%zu, %s", message.body.len,
      message.body.len == LARGE && !memcmp(message.body.bytes, body, LARGE) ? "the same" : "different");
  amqp_destroy_message(&message);
  free(body);
  delete_queue(connection, QUEUE);
}

// Prints the error that a channel was closed with, and opens it again.
static void say_closed(amqp_connection_state_t connection, const char *what, amqp_method_t close) {
  say_method(what, close);
  amqp_channel_close_ok_t closed = {0};
  amqp_send_method(connection, 1, AMQP_CHANNEL_CLOSE_OK_METHOD, &closed);
  amqp_channel_open(connection, 1);
  expect_answer(connection, "opening a channel again");
}

static void channel_errors(amqp_connection_state_t connection) {
  amqp_connection_state_t owner = connect_to_broker();
  amqp_queue_declare(owner, 1, text("interop.c.exclusive"), 0, 0, 1, 0, amqp_empty_table);
  expect_answer(owner, "an exclusive queue");
  declare(connection, QUEUE, amqp_empty_table);

  amqp_queue_declare(connection, 1, text("interop.c.missing"), 1, 1, 0, 0, amqp_empty_table);
  say_closed(connection, "unknown queue", amqp_get_rpc_reply(connection).reply);
  amqp_basic_publish(connection, 1, text("interop.c.missing"), text(""), 0, 0, NULL, text("lost"));
  say_closed(connection, "unknown exchange", next_method(connection));
  amqp_queue_declare(connection, 1, text(QUEUE), 0, 1, 0, 1, amqp_empty_table);
  say_closed(connection, "other properties", amqp_get_rpc_reply(connection).reply);
  amqp_table_entry_t bad = number_entry("x-max-priority", 1000);
  amqp_queue_declare(connection, 1, text("interop.c.bad"), 0, 1, 0, 0,
                     (amqp_table_t){.num_entries = 1, .entries = &bad});
  say_closed(connection, "bad argument", amqp_get_rpc_reply(connection).reply);
  amqp_queue_purge(connection, 1, text("interop.c.exclusive"));
  say_closed(connection, "exclusive", amqp_get_rpc_reply(connection).reply);
  amqp_queue_declare(connection, 1, text("amq.mine"), 0, 1, 0, 0, amqp_empty_table);
  say_closed(connection, "reserved name", amqp_get_rpc_reply(connection).reply);
  amqp_queue_bind(connection, 1, text(QUEUE), text(""), text("key"), amqp_empty_table);
  say_closed(connection, "default exchange", amqp_get_rpc_reply(connection).reply);
  amqp_basic_properties_t properties = {._flags = AMQP_BASIC_USER_ID_FLAG, .user_id = text("nobody")};
  publish(connection, QUEUE, &properties, "");
  say_closed(connection, "another user", next_method(connection));
  amqp_basic_ack(connection, 1, 7, 0);
  say_closed(connection, "unknown tag", next_method(connection));

  delete_queue(connection, QUEUE);
  amqp_destroy_connection(owner);
}

static void connection_errors(void) {
  amqp_connection_state_t connection = connect_to_broker();
  amqp_basic_publish(connection, 1, amqp_empty_bytes, text("key"), 0, 1, NULL, text("body"));
  say_method("immediate", next_method(connection));
  amqp_destroy_connection(connection);
  connection = connect_to_broker();
  amqp_channel_open(connection, 1);
  say_reply("second open", amqp_get_rpc_reply(connection));
  amqp_destroy_connection(connection);
  // An unsigned number of 64 bits, which RabbitMQ reads as a signed one. Before 4.0 it left the type.
  connection = connect_to_broker();
  amqp_table_entry_t unsigned_entry = entry("u64", AMQP_FIELD_KIND_U64);
  unsigned_entry.value.value.u64 = UINT64_MAX;
  amqp_basic_properties_t properties = {
      ._flags = AMQP_BASIC_HEADERS_FLAG,
      .headers = {.num_entries = 1, .entries = &unsigned_entry},
  };
  publish(connection, "interop.c.nowhere", &properties, "unsigned");
  amqp_method_t method = next_method(connection);
  say_method("unsigned 64 bits", method);
  if (method.id == AMQP_BASIC_RETURN_METHOD) {
    amqp_message_t message;
    amqp_read_message(connection, 1, &message, 0);
    say("unsigned 64 bits", "%" PRId64, message.properties.headers.entries[0].value.value.i64);
    amqp_destroy_message(&message);
  }
  amqp_destroy_connection(connection);
}

static void restart(amqp_connection_state_t connection) {
  char line[80];
  puts("ready for a restart");
  if (!fgets(line, sizeof line, stdin) || line[0] == '\n') return;
  say_method("restarted", next_method(connection));
  amqp_destroy_connection(connection);
  connection = connect_to_broker();
  declare(connection, QUEUE, amqp_empty_table);
  publish(connection, QUEUE, NULL, "after");
  amqp_message_t message = get(connection, QUEUE, 1);
  say("after the restart", "%.*s", (int)message.body.len, (char *)message.body.bytes);
  amqp_destroy_message(&message);
  delete_queue(connection, QUEUE);
  amqp_connection_close(connection, AMQP_REPLY_SUCCESS);
  amqp_destroy_connection(connection);
}

int main(int count, char **arguments) {
  if (count != 2) fail("there is one argument, a URL");
  url = arguments[1];
  setvbuf(stdout, NULL, _IOLBF, 0);
  amqp_connection_state_t connection = connect_to_broker();
  amqp_table_t *server = amqp_get_server_properties(connection);
  for (int i = 0; i < server->num_entries; i++) {
    if (server->entries[i].key.len == 7 && !memcmp(server->entries[i].key.bytes, "version", 7)) {
      say("version", "%.3s", (char *)server->entries[i].value.value.bytes.bytes);
    }
  }
  logins();
  confirms_and_returns();
  consuming();
  dead_letters(connection);
  requests(connection);
  content(connection);
  channel_errors(connection);
  connection_errors();
  restart(connection);
  return 0;
}
