//! RabbitMQ's `rabbitmqadmin`.

use std::fs;
use std::process::Command;

use mooq_rig::management::Method;

use crate::side::Side;

/// Runs RabbitMQ's own `rabbitmqadmin` on both brokers. 4.3 serves none.
pub(crate) async fn run(memory: &Side, live: &Side) -> Vec<String> {
    let script = live.ask(&Method::GET, "/cli/rabbitmqadmin", "").await;
    if script.status == 404 {
        return Vec::new();
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("rabbitmqadmin"), &script.text).unwrap();
    let output_of = |side: &Side, arguments: &[&str]| {
        let output = Command::new("python3")
            .arg(at("rabbitmqadmin"))
            .args(["--host=127.0.0.1", &format!("--port={}", side.http.port())])
            .args(arguments)
            .output()
            .expect("Python 3 runs");
        let (out, err) = (&output.stdout, &output.stderr);
        format!(
            "{}{}",
            String::from_utf8_lossy(out),
            String::from_utf8_lossy(err)
        )
    };
    let exported = format!("export {}", at("exported.json"));
    let imported = format!("import {}", at("exported.json"));
    let mut found = Vec::new();
    for command in [
        "declare vhost name=admin",
        "declare queue name=admin durable=true arguments={\"x-max-length\":10}",
        "declare exchange name=admin type=topic",
        "declare binding source=admin destination=admin routing_key=a.*",
        "declare user name=admin password=secret tags=administrator",
        "declare permission vhost=/ user=admin configure=.* write=.* read=.*",
        "declare policy name=admin pattern=^admin definition={\"max-length\":5} apply-to=queues",
        "publish exchange=admin routing_key=a.b payload=hello",
        "publish exchange=admin routing_key=nope payload=hello",
        "get queue=admin ackmode=ack_requeue_true",
        "get queue=admin ackmode=ack_requeue_false",
        "get queue=admin ackmode=ack_requeue_false",
        "get queue=nope",
        "list queues name durable auto_delete arguments",
        "list exchanges name type vhost",
        "list bindings",
        "list users name tags",
        "list vhosts name",
        "list permissions",
        "list policies",
        "list connections name",
        "list consumers",
        "list parameters",
        "show overview cluster_tags",
        "--vhost=admin list queues name",
        &exported,
        &imported,
        "purge queue name=admin",
        "delete binding source=admin destination_type=queue destination=admin properties_key=a.%2A",
        "delete queue name=admin",
        "delete queue name=admin",
        "delete exchange name=admin",
        "delete policy name=admin",
        "delete user name=admin",
        "delete vhost name=admin",
    ] {
        let arguments: Vec<_> = command.split(' ').collect();
        let (ours, theirs) = (output_of(memory, &arguments), output_of(live, &arguments));
        let visible = |text: &str| {
            let own =
                |line: &&str| !line.contains("aliveness-test") && !line.contains("rabbitmq.log");
            text.lines().filter(own).collect::<Vec<_>>().join("\n")
        };
        if visible(&ours) != visible(&theirs) {
            found.push(format!(
                "rabbitmqadmin {command}:\n{ours}\nRabbitMQ:\n{theirs}"
            ));
        }
    }
    found
}
