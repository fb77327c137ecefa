//! Pairs of programs on RabbitMQ, each a process of its own: the tutorial's two services, and those
//! of docs/direct.md.

use std::fs;
use std::path::Path;

use mooq_conformance::Broker;
use mooq_integration_tests::example::{self, Service};
use mooq_integration_tests::rabbitmq::container::{Image, RabbitContainer};
use tokio::runtime::Runtime;

#[test]
#[ignore = "needs Docker: run integration-tests/run-all"]
fn pairs_of_programs_talk_as_two_processes() {
    let [hello, loud, consumer, producer] =
        ["hello", "loud", "direct_consumer", "direct_producer"].map(example::build);
    let rabbit = RabbitContainer::start(&Image::current()).expect("RabbitMQ starts");
    let runtime = Runtime::new().expect("a tokio runtime starts");
    let url = rabbit.url();
    // As a task, so that the container is removed even if it panics.
    let pairs = runtime.spawn(async move {
        hello_and_loud(&hello, &loud, &url).await;
        direct(&consumer, &producer, &url).await;
    });
    let outcome = runtime.block_on(pairs);
    drop(rabbit);
    outcome.expect("the pairs of programs run as expected");
}

async fn hello_and_loud(hello: &Path, loud: &Path, url: &str) {
    let mut loud = Service::start(loud, &["--url", url]);
    // The service ticks as soon as it consumes.
    loud.prints("tick loud 0").await;

    // The service ticks and publishes concurrently, at its own intervals.
    let mut hello = Service::start(hello, &["--url", url]);
    hello.prints("tick hello 0").await;
    hello.prints_all(&["published!", "tick hello 1"]).await;
    loud.prints("HELLO WORLD!").await;
    hello.prints("published!").await;
    loud.prints("HELLO WORLD!").await;

    hello.ends_on_ctrl_c().await;
    loud.ends_on_ctrl_c().await;
}

async fn direct(consumer: &Path, producer: &Path, url: &str) {
    let [consumed, produced] =
        <[Vec<String>; 2]>::try_from(outputs()).expect("docs/direct.md has two blocks of output");
    let (first, rest) = consumed.split_first().expect("the consumer prints");
    let mut consumer = Service::start(consumer, &[url]);
    consumer.prints(first).await;
    let mut producer = Service::start(producer, &[url]);
    producer.prints_all(&produced).await;
    // The lines are in order, with no other lines in between.
    for line in rest {
        assert_eq!(consumer.next_line().await.as_ref(), Some(line));
    }
    consumer.ends_on_ctrl_c().await;
}

fn repository() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the repository is above")
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).expect("the file can be read")
}

/// The output of the programs in docs/direct.md.
fn outputs() -> Vec<Vec<String>> {
    let page = read("docs/direct.md");
    let consoles = page.split("```console\n").skip(1);
    consoles
        .map(|console| {
            let lines = console.lines().skip(1).take_while(|line| *line != "```");
            lines.map(str::to_owned).collect()
        })
        .collect()
}

#[test]
fn the_page_about_direct_exchanges_shows_the_programs_as_they_are() {
    let page = read("docs/direct.md");
    for example in ["direct_consumer", "direct_producer"] {
        let source = read(&format!("examples/{example}.rs"));
        let shown = format!("```rust,no_run\n{source}```\n");
        assert!(
            page.contains(&shown),
            "docs/direct.md shows another version of {example}"
        );
    }
}
