//! The tutorial's two services, as two processes on RabbitMQ.

use std::path::Path;
use std::process::Stdio;

use mooq_integration_tests::container::{Image, RabbitContainer};
use mooq_integration_tests::{example, within};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::runtime::Runtime;

#[test]
#[ignore = "needs Docker: run integration-tests/run-all"]
fn hello_and_loud_talk_as_two_processes() {
    let hello = example::build("hello");
    let loud = example::build("loud");
    let rabbit = RabbitContainer::start(&Image::current()).expect("RabbitMQ starts");
    let runtime = Runtime::new().expect("a tokio runtime starts");
    let url = rabbit.url();
    // As a task, so that the container is removed even if it panics.
    let tutorial = runtime.spawn(async move {
        let mut loud = Service::start(&loud, &url);
        // It ticks as soon as it listens.
        loud.prints("tick loud 0").await;

        let mut hello = Service::start(&hello, &url);
        hello.prints("tick hello 0").await;
        hello.prints("published!").await;
        hello.prints("tick hello 1").await;
        hello.prints("tick hello 2").await;
        hello.prints("published!").await;

        loud.prints("HELLO WORLD!").await;
        loud.prints("HELLO WORLD!").await;

        hello.ends_on_ctrl_c().await;
        loud.ends_on_ctrl_c().await;
    });
    let outcome = runtime.block_on(tutorial);
    rabbit.remove();
    outcome.expect("the tutorial goes as it is told");
}

/// One of the two processes.
struct Service {
    process: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Service {
    fn start(program: &Path, url: &str) -> Self {
        let mut process = Command::new(program)
            .args(["--url", url])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the example starts");
        let output = process.stdout.take().expect("its output is piped");
        Self {
            process,
            output: BufReader::new(output).lines(),
        }
    }

    /// Reads on until it has printed `line`.
    async fn prints(&mut self, line: &str) {
        let printed = async {
            while let Some(next) = self.output.next_line().await.expect("its output is text") {
                if next == line {
                    return;
                }
            }
            panic!("it ended before it printed '{line}'");
        };
        within(&format!("'{line}'"), printed).await;
    }

    async fn ends_on_ctrl_c(mut self) {
        let id = self.process.id().expect("it still runs").to_string();
        let interrupted = Command::new("kill").args(["-INT", &id]).status().await;
        assert!(interrupted.expect("kill runs").success());
        let status = within("its end", self.process.wait()).await;
        assert!(status.expect("it has ended").success());
    }
}
