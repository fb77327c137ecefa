//! The management API of the in-memory broker, compared with that of RabbitMQ of the same version:
//! the same requests go to both, and every answer must have the same status and the same JSON.
//!
//! [`differences`] lists what RabbitMQ tells and the in-memory broker does not, what differs from one
//! broker to the next, and the few answers that differ otherwise. `rabbitmqadmin`, which RabbitMQ
//! serves up to 4.0, runs on both as well, and needs Python 3.

mod differences;
mod rabbitmqadmin;
mod requests;
mod side;

use std::time::{Duration, Instant};

use mooq_conformance::within;
use mooq_memory::Profile;
use mooq_rig::management::{Answer, Method};
use mooq_rig::rabbitmq::Image;
use serde_json::Value;

use differences::{answers, differences, read_differences};
use requests::{READ, preparations};
use side::{Side, in_memory, live};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker and Python 3: run integration-tests/run-all"]
async fn management_api_is_that_of_3_10() {
    compare(&Image::oldest(), Profile::V3_10).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker and Python 3: run integration-tests/run-all"]
async fn management_api_is_that_of_4_0() {
    compare(&Image::current(), Profile::V4_0).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker and Python 3: run integration-tests/run-all"]
async fn management_api_is_that_of_4_3() {
    compare(&Image::newest(), Profile::V4_3).await;
}

async fn compare(image: &Image, profile: Profile) {
    let live = live(image).await;
    let memory = in_memory(profile).await;
    let mut differences = Vec::new();
    for (method, path, body) in preparations() {
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let asked = format!("{method} {path} {body}");
        let ours = memory.side.ask(&method, path, &body).await;
        let theirs = live.side.ask(&method, path, &body).await;
        differences.extend(answers(&asked, &ours, &theirs, |answer| answer.json()));
    }
    let ours = memory.side.connect().await;
    let theirs = live.side.connect().await;
    let own_names = memory.side.names().await;
    within("RabbitMQ's statistics", async {
        while live.side.names().await.0 == "no connection" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let live_names = live.side.names().await;
    differences.extend(reads((&memory.side, &own_names), (&live.side, &live_names)).await);
    for (user, password) in [
        ("monitor", "p"),
        ("maker", "p"),
        ("untagged", "p"),
        ("guest", "x"),
    ] {
        for path in [
            "/api/overview",
            "/api/nodes",
            "/api/users",
            "/api/queues/shop",
            "/api/whoami",
        ] {
            let of = |side: &Side| side.http.as_user(user, password);
            let ours = of(&memory.side).ask(Method::GET, path, "").await;
            let theirs = of(&live.side).ask(Method::GET, path, "").await;
            let asked = format!("GET {path} as {user}");
            // What they see has been compared.
            let refused = |answer: &Answer| match answer.status {
                200 => Value::Null,
                _ => answer.json(),
            };
            differences.extend(answers(&asked, &ours, &theirs, refused));
        }
    }
    drop((ours, theirs));
    differences.extend(definitions_go_both_ways(&memory.side, &live.side).await);
    differences.extend(rabbitmqadmin::run(&memory.side, &live.side).await);
    memory.management.stop().await;
    assert!(
        differences.is_empty(),
        "{}:\n{}",
        image.name(),
        differences.join("\n")
    );
}

/// Time after which a difference is none of RabbitMQ's statistics, which are at most 5 s old. It
/// only ends a test that fails.
const STATISTICS: Duration = Duration::from_secs(60);

/// A broker, and the names of its connection and its node.
type Named<'a> = (&'a Side, &'a (String, String));

/// Reads every path of both brokers. RabbitMQ's statistics are a few seconds old, so that what is a
/// difference now may be none when the path is read once more.
async fn reads((memory, own_names): Named<'_>, (live, live_names): Named<'_>) -> Vec<String> {
    let began = Instant::now();
    let mut pending = READ.to_vec();
    loop {
        let (mut found, mut differing) = (Vec::new(), Vec::new());
        for path in pending {
            let ours = memory.read(path, own_names).await;
            let theirs = live.read(path, live_names).await;
            let new = read_differences(path, (&ours, own_names), (&theirs, live_names));
            if !new.is_empty() {
                differing.push(path);
                found.extend(new);
            }
        }
        if differing.is_empty() || began.elapsed() > STATISTICS {
            return found;
        }
        pending = differing;
    }
}

/// Each broker's definitions of a virtual host are imported by the other one.
async fn definitions_go_both_ways(memory: &Side, live: &Side) -> Vec<String> {
    let mut found = Vec::new();
    for (from, to, what) in [(memory, live, "in memory"), (live, memory, "RabbitMQ's")] {
        let whole = from.ask(&Method::GET, "/api/definitions", "").await.text;
        let imported = to.ask(&Method::POST, "/api/definitions", &whole).await;
        if imported.status != 204 {
            found.push(format!(
                "definitions {what}: {} {}",
                imported.status, imported.text
            ));
        }
        let own = from.ask(&Method::GET, "/api/definitions/%2F", "").await;
        let put = to.ask(&Method::PUT, "/api/vhosts/copy", "").await;
        assert!([201, 204].contains(&put.status), "{}", put.text);
        let imported = to
            .ask(&Method::POST, "/api/definitions/copy", &own.text)
            .await;
        if imported.status != 204 {
            found.push(format!(
                "definitions {what} of /: {} {}",
                imported.status, imported.text
            ));
            continue;
        }
        let copy = to
            .ask(&Method::GET, "/api/definitions/copy", "")
            .await
            .json();
        let own = own.json();
        for kind in ["queues", "exchanges", "bindings", "policies", "parameters"] {
            let (own, copy) = (without_vhost(&own[kind]), without_vhost(&copy[kind]));
            differences(
                &format!("definitions {what} {kind}"),
                &own,
                &copy,
                &mut found,
            );
        }
        to.ask(&Method::DELETE, "/api/vhosts/copy", "").await;
    }
    found
}

/// Objects without their virtual host, which 3.10 tells of policies alone, and without the types of
/// queues, which 4.3 tells twice.
fn without_vhost(objects: &Value) -> Value {
    let mut objects = objects.clone();
    for object in objects.as_array_mut().into_iter().flatten() {
        if let Value::Object(entries) = object {
            entries.remove("vhost");
            if entries.contains_key("auto_delete") && !entries.contains_key("internal") {
                entries.remove("type");
            }
        }
    }
    objects
}

/// Some request must take each route in the source.
#[test]
fn every_route_is_compared() {
    let source = include_str!("../../../crates/mooq-management/src/routes.rs");
    let quoted = source.split('"').skip(1).step_by(2);
    let routes = quoted.filter(|text| text.starts_with('/'));
    let routes = routes.filter(|route| *route != "/api" && *route != "/health/checks/{check}");
    let prepared = preparations();
    let paths = prepared
        .iter()
        .map(|(_, path, _)| *path)
        .chain(READ.iter().copied());
    let paths: Vec<Vec<&str>> = paths
        .map(|path| {
            let path = path.split('?').next().unwrap_or_default();
            path.trim_start_matches("/api/").split('/').collect()
        })
        .collect();
    let is_taken = |route: &&str| {
        let route: Vec<_> = route.trim_start_matches('/').split('/').collect();
        paths.iter().any(|path| {
            let same = |(part, own): (&&str, &&str)| part.starts_with('{') || part == own;
            path.len() == route.len() && route.iter().zip(path).all(same)
        })
    };
    let missing: Vec<_> = routes.filter(|route| !is_taken(route)).collect();
    assert!(missing.is_empty(), "no request takes {missing:?}");
}
