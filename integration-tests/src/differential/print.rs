//! A failure as a scenario: the sequence as calls, RabbitMQ's effects as assertions.

use std::collections::BTreeSet;
use std::fmt::Write;

use mooq_core::{
    Binding, BindingDestination, CloseReason, Consume, ExchangeDeclare, FieldTable, FieldValue,
    Message, Publish, QueueDeclare, Settlement,
};

use super::lockstep::{Divergence, Step};
use super::names::is_name;
use super::observation::{Event, Failure, Observation, QueueState, Reply, Source};
use super::operation::{Action, EXCHANGES, Pick, QUEUES, REPLY_ADDRESS, SERVER_NAMED, USER};

/// The variables that stand for the channels.
const CHANNELS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// The shortest sequence that fails, and the brokers' last observations.
#[must_use]
pub(super) fn divergence(seed: u64, divergence: &Divergence) -> String {
    let mut text = format!("The brokers differ (seed {seed}).\n\n");
    let Some(last) = divergence.steps.last() else {
        return text;
    };
    text += &differences(&divergence.memory, &last.rabbit);
    let _ = write!(
        text,
        "\nasync fn differential_{seed}(fixture: Fixture) {{\n"
    );
    text += "    let mut a = fixture.raw().await;\n    let mut b = a.sibling().await;\n";
    let of_user = "user(&fixture, EVERYTHING)"; // As in scenarios::permissions.
    let _ = writeln!(text, "    let (user, mut c) = {of_user}.await;");
    text += "    let mut d = c.sibling().await;\n";
    for name in QUEUES.iter().chain(&EXCHANGES) {
        let _ = writeln!(text, "    let {name} = fixture.name(\"{name}\");");
    }
    for step in &divergence.steps {
        for line in statements(step) {
            let _ = writeln!(text, "    {line}");
        }
    }
    text + "}\n"
}

/// The differences between two observations.
fn differences(memory: &Observation, rabbit: &Observation) -> String {
    let mut text = String::new();
    let mut differ = |what: &str, memory: String, rabbit: String| {
        if memory != rabbit {
            let _ = writeln!(text, "{what}\n  memory:   {memory}\n  RabbitMQ: {rabbit}");
        }
    };
    let debug = |value: &dyn std::fmt::Debug| format!("{value:?}");
    differ("the answer", debug(&memory.answer), debug(&rabbit.answer));
    let sources: BTreeSet<_> = memory.events.keys().chain(rabbit.events.keys()).collect();
    for source in sources {
        let of = |observed: &Observation| debug(&observed.events.get(source));
        differ(&format!("{source:?}"), of(memory), of(rabbit));
    }
    let queues: BTreeSet<_> = memory.queues.keys().chain(rabbit.queues.keys()).collect();
    for queue in queues {
        let of = |observed: &Observation| debug(&observed.queues.get(queue));
        differ(queue, of(memory), of(rabbit));
    }
    text
}

/// An operation, and assertions of RabbitMQ's effects.
fn statements(step: &Step) -> Vec<String> {
    let channel = CHANNELS[step.operation.channel];
    let call = call(channel, &step.operation.action);
    let mut lines = Vec::new();
    let mut reopened = false;
    match &step.rabbit.answer {
        Ok(Reply::Done) if step.operation.action.is_by_administrator() => {
            lines.push(format!("{call}.await;"));
            if step.operation.action == Action::AddVhost {
                let options = "fixture.options().vhost(fixture.name(\"vhost\"))";
                lines.push(format!("let mut e = fixture.raw_with(&{options}).await;"));
            }
        }
        Ok(Reply::Done) if step.operation.has_no_answer() => lines.push(format!("{call};")),
        Ok(Reply::Done | Reply::Consuming(_)) => lines.push(format!("{call}.await.unwrap();")),
        Ok(Reply::Count(count)) => {
            lines.push(format!("assert_eq!({call}.await.unwrap(), {count});"));
        }
        Ok(Reply::Declared(declared)) => {
            lines.push(format!("let declared = {call}.await.unwrap();"));
            if SERVER_NAMED.contains(&declared.name.as_str()) {
                lines.push(format!(
                    "let {} = declared.name.to_string();",
                    declared.name
                ));
            }
            lines.push(format!(
                "assert_eq!((declared.message_count, declared.consumer_count), ({}, {}));",
                declared.message_count, declared.consumer_count
            ));
        }
        Ok(Reply::Empty) => lines.push(format!("assert_eq!({call}.await.unwrap(), None);")),
        Ok(Reply::Fetched {
            redelivered,
            message_count,
            message,
        }) => {
            lines.push(format!("let fetched = {call}.await.unwrap().unwrap();"));
            lines.push(format!(
                "assert_eq!((body(&fetched.message), fetched.redelivered, \
                 fetched.message_count), ({:?}, {redelivered}, {message_count}));",
                utf8(message)
            ));
        }
        Err(Failure {
            reason: Some(reason),
            scope: mooq_core::ErrorScope::Channel,
            ..
        }) => {
            lines.push(format!("let outcome = {call}.await;"));
            lines.push(format!(
                "{channel}.refused(outcome, {}).await;",
                close(reason)
            ));
            reopened = true;
        }
        Err(failure) => {
            lines.push(format!("{call}.await.unwrap_err(); // {failure:?}"));
        }
    }
    for (source, events) in &step.rabbit.events {
        if reopened && *source == Source::Channel(step.operation.channel) {
            continue;
        }
        lines.extend(events.iter().flat_map(|event| expected(source, event)));
    }
    for (queue, state) in &step.rabbit.queues {
        if let QueueState::There { ready, consumers } = state {
            lines.push(format!("// {queue}: {ready} ready, {consumers} consumers"));
        }
    }
    lines
}

/// The assertions of an event.
fn expected(source: &Source, event: &Event) -> Vec<String> {
    let (Source::Channel(index) | Source::Consumer(index, _)) = source else {
        return vec![format!("// {source:?}: {event:?}")];
    };
    let channel = CHANNELS[*index];
    match event {
        Event::Deliver {
            redelivered,
            message,
        } => {
            let mut lines = vec![
                format!("let delivery = {channel}.delivery().await;"),
                format!(
                    "assert_eq!((text(&delivery), delivery.redelivered), ({:?}, {redelivered}));",
                    utf8(message)
                ),
            ];
            if event.is_request() {
                let property = "delivery.message.properties.reply_to";
                lines.push(format!("let reply_address = {property}.clone().unwrap();"));
            }
            lines
        }
        Event::Cancelled => vec![format!("{channel}.cancelled().await;")],
        Event::Return { message, .. } => vec![format!(
            "assert_eq!(body(&{channel}.returned().await.message), {:?});",
            utf8(message)
        )],
        Event::Confirm(sequence) => {
            vec![format!(
                "assert_eq!({channel}.confirmed().await, {sequence});"
            )]
        }
        Event::Closed(Failure {
            reason: Some(reason),
            scope: mooq_core::ErrorScope::Channel,
            ..
        }) => vec![format!("{channel}.closes({}).await;", close(reason))],
        Event::Closed(_) => vec![
            format!("{channel}.closed().await;"),
            format!("{channel}.reopen().await;"),
        ],
        Event::Nack(_) | Event::Blocked => vec![format!("{channel}.event().await; // {event:?}")],
    }
}

fn close(reason: &CloseReason) -> String {
    format!(
        "{}, ({}, {}), {}",
        reason.code,
        reason.class_id,
        reason.method_id,
        reply_text(&reason.text)
    )
}

/// A reply text with the sequence's names in it.
fn reply_text(text: &str) -> String {
    let mut named = text.replace('{', "{{").replace('}', "}}");
    for name in QUEUES.iter().chain(&EXCHANGES) {
        while let Some(at) = named.find(&format!("/{name}'")) {
            let begins = named[..at].rfind('\'').map_or(0, |quote| quote + 1);
            named.replace_range(begins..at + 1 + name.len(), &format!("{{{name}}}"));
        }
    }
    format!("&format!({named:?})")
}

fn utf8(message: &Message) -> &str {
    std::str::from_utf8(&message.body).unwrap_or("?")
}

/// The call, without its await.
fn call(channel: &str, action: &Action) -> String {
    let on = format!("{channel}.channel");
    match action {
        Action::DeclareQueue(declare) => {
            format!("{on}.declare_queue({})", queue_declare(declare))
        }
        Action::DeleteQueue {
            queue,
            if_unused,
            if_empty,
        } => format!(
            "{on}.delete_queue({}, {if_unused}, {if_empty})",
            name(queue)
        ),
        Action::Purge(queue) => format!("{on}.purge_queue({})", name(queue)),
        Action::DeclareExchange(declare) => {
            format!("{on}.declare_exchange({})", exchange_declare(declare))
        }
        Action::DeleteExchange {
            exchange,
            if_unused,
        } => format!("{on}.delete_exchange({}, {if_unused})", name(exchange)),
        Action::Bind(bound) => format!("{on}.bind({})", binding(bound)),
        Action::Unbind(bound) => format!("{on}.unbind({})", binding(bound)),
        Action::Publish(published) => format!("{channel}.send({})", publish(published)),
        Action::Get { queue, no_ack } => format!("{on}.get({}, {no_ack})", name(queue)),
        Action::Consume(consume) => format!("{on}.consume({})", consumer(consume)),
        Action::Cancel(tag) => format!("{on}.cancel({:?}.try_into().unwrap())", tag.as_str()),
        Action::Settle {
            delivery,
            multiple,
            settlement,
        } => {
            let (Pick::Tag(tag), how) = (delivery, settle(*settlement)) else {
                return format!("{on}.settle(/* {delivery:?} */)");
            };
            let method = if *multiple { "settle_up_to" } else { "settle" };
            format!("{channel}.{method}({tag}, {how})")
        }
        Action::Recover { requeue } => format!("{channel}.methods().recover({requeue})"),
        Action::Qos { count, global } => format!("{on}.qos({count}, {global})"),
        Action::ConfirmSelect => format!("{on}.confirm_select()"),
        Action::TxSelect => format!("{channel}.methods().tx_select()"),
        Action::TxCommit => format!("{channel}.methods().tx_commit()"),
        Action::TxRollback => format!("{channel}.methods().tx_rollback()"),
        Action::CloseChannel => format!("{on}.close()"),
        Action::CloseConnection => format!("{channel}.connection.close()"),
        Action::SetPolicy(_)
        | Action::ClearPolicy(_)
        | Action::SetPermissions(_)
        | Action::ClearPermissions
        | Action::AddVhost
        | Action::DeleteVhost
        | Action::RaiseAlarm(_)
        | Action::ClearAlarm(_) => administration(action),
    }
}

/// An administrator's action, without its await.
fn administration(action: &Action) -> String {
    match action {
        Action::SetPolicy(policy) => format!(
            "fixture.control().set_policy(&fixture.name({:?}), &format!(\"^{{{}}}$\"), \
             ApplyTo::Queues, {}, &{})",
            policy.name,
            policy.queue.as_str(),
            policy.priority,
            table(&policy.definition)
        ),
        Action::ClearPolicy(policy) => {
            format!("fixture.control().clear_policy(&fixture.name({policy:?}))")
        }
        Action::SetPermissions(permissions) => {
            let patterns = permissions.patterns(|name| format!("{{{name}}}"));
            let patterns = patterns.map(|pattern| format!("&format!({pattern:?})"));
            let patterns = patterns.join(", ");
            format!("fixture.control().set_permissions(&user, [{patterns}])")
        }
        Action::ClearPermissions => "fixture.control().clear_permissions(&user)".to_owned(),
        Action::AddVhost => "fixture.control().add_vhost(&fixture.name(\"vhost\"))".to_owned(),
        Action::DeleteVhost => {
            "fixture.control().delete_vhost(&fixture.name(\"vhost\"))".to_owned()
        }
        Action::RaiseAlarm(alarm) => {
            format!("let alarm_of_{alarm:?} = fixture.control().raise_alarm(Alarm::{alarm:?})")
        }
        Action::ClearAlarm(alarm) => format!("alarm_of_{alarm:?}.clear()"),
        _ => String::new(),
    }
}

fn settle(settlement: Settlement) -> String {
    format!("Settlement::{settlement:?}")
}

/// A queue's or an exchange's name, or any other text, as a `&str`.
fn text(text: &str) -> String {
    if is_name(text) {
        format!("&{text}")
    } else if text == USER {
        "&user".to_owned()
    } else if text == REPLY_ADDRESS {
        "&reply_address".to_owned()
    } else {
        format!("{text:?}")
    }
}

/// The same text as the receiver of `try_into` and `into`.
fn converted(of: &str) -> String {
    match text(of).strip_prefix('&') {
        Some(variable) => format!("{variable}.as_str()"),
        None => text(of),
    }
}

fn name(of: &str) -> String {
    format!("{}.try_into().unwrap()", converted(of))
}

/// A struct with some fields set and the others from `rest`.
fn with(what: &str, fields: &[(&str, String)], rest: &str) -> String {
    if fields.is_empty() {
        return rest.to_owned();
    }
    let fields = fields
        .iter()
        .map(|(field, value)| format!("{field}: {value}, "));
    format!("{what} {{ {}..{rest} }}", fields.collect::<String>())
}

fn flags(flags: &[(&'static str, bool, bool)]) -> Vec<(&'static str, String)> {
    let set = flags.iter().filter(|(_, value, usual)| value != usual);
    set.map(|(flag, value, _)| (*flag, value.to_string()))
        .collect()
}

fn queue_declare(declare: &QueueDeclare) -> String {
    let mut fields = flags(&[
        ("passive", declare.passive, false),
        ("durable", declare.durable, true),
        ("exclusive", declare.exclusive, false),
        ("auto_delete", declare.auto_delete, false),
    ]);
    fields.extend(arguments("arguments", &declare.arguments));
    with(
        "QueueDeclare",
        &fields,
        &format!("queue({})", text(&declare.name)),
    )
}

fn exchange_declare(declare: &ExchangeDeclare) -> String {
    let mut fields = flags(&[
        ("passive", declare.passive, false),
        ("durable", declare.durable, true),
        ("auto_delete", declare.auto_delete, false),
        ("internal", declare.internal, false),
    ]);
    fields.extend(arguments("arguments", &declare.arguments));
    let rest = format!(
        "exchange({}, ExchangeKind::{:?})",
        text(&declare.name),
        declare.kind
    );
    with("ExchangeDeclare", &fields, &rest)
}

fn binding(binding: &Binding) -> String {
    let (source, key) = (text(&binding.source), text(&binding.routing_key));
    let rest = match &binding.destination {
        BindingDestination::Queue(queue) => format!("binding({}, {source}, {key})", text(queue)),
        BindingDestination::Exchange(exchange) => {
            format!("exchange_binding({}, {source}, {key})", text(exchange))
        }
    };
    let fields: Vec<_> = arguments("arguments", &binding.arguments)
        .into_iter()
        .collect();
    with("Binding", &fields, &rest)
}

fn consumer(consume: &Consume) -> String {
    let mut fields = vec![("tag", name(&consume.tag))];
    fields.extend(flags(&[
        ("no_ack", consume.no_ack, false),
        ("exclusive", consume.exclusive, false),
    ]));
    fields.extend(arguments("arguments", &consume.arguments));
    with(
        "Consume",
        &fields,
        &format!("consumer({})", text(&consume.queue)),
    )
}

fn publish(publish: &Publish) -> String {
    let message = &publish.message;
    let properties = &message.properties;
    let mut fields = Vec::new();
    if !properties.headers.is_empty() {
        fields.push(format!("p.headers = {};", table(&properties.headers)));
    }
    if let Some(priority) = properties.priority {
        fields.push(format!("p.priority = Some({priority});"));
    }
    if let Some(mode) = properties.delivery_mode {
        fields.push(format!("p.delivery_mode = Some(DeliveryMode::{mode:?});"));
    }
    if let Some(timestamp) = properties.timestamp {
        fields.push(format!("p.timestamp = Some({timestamp});"));
    }
    for (property, value) in [
        ("expiration", &properties.expiration),
        ("user_id", &properties.user_id),
        ("correlation_id", &properties.correlation_id),
        ("reply_to", &properties.reply_to),
    ] {
        if let Some(value) = value {
            fields.push(format!("p.{property} = Some({});", name(value)));
        }
    }
    let plain = format!(
        "message({}, {}, {:?})",
        text(&message.exchange),
        text(&message.routing_key),
        utf8(message)
    );
    let message = if fields.is_empty() {
        plain
    } else {
        let set = fields.join(" ");
        format!(
            "{{ let mut p = Properties::default(); {set} \
             Message {{ properties: p.into(), ..{plain} }} }}"
        )
    };
    let flags = flags(&[
        ("mandatory", publish.mandatory, false),
        ("immediate", publish.immediate, false),
    ]);
    with("Publish", &flags, &format!("Publish::new({message})"))
}

fn arguments(field: &'static str, arguments: &FieldTable) -> Option<(&'static str, String)> {
    (!arguments.is_empty()).then(|| (field, table(arguments)))
}

fn table(of: &FieldTable) -> String {
    let entries = of
        .iter()
        .map(|(key, field)| format!("({:?}, {})", key.as_str(), value(field)));
    format!("table([{}])", entries.collect::<Vec<_>>().join(", "))
}

fn value(field: &FieldValue) -> String {
    match field {
        FieldValue::String(string) => format!("{}.into()", converted(string)),
        FieldValue::Array(values) => {
            let values: Vec<_> = values.iter().map(value).collect();
            format!("FieldValue::Array(vec![{}])", values.join(", "))
        }
        other => format!("FieldValue::{other:?}"),
    }
}
