//! A workload under random faults, for a given time:
//!
//! ```console
//! $ cargo run --release -p mooq-integration-tests --bin soak -- --minutes 30 --seed 7
//! ```
//!
//! Exits with 1 if a confirmed message is lost, a call overdue, or a copy of a message unexplained.

use std::process::ExitCode;
use std::time::Duration;

use mooq_integration_tests::faults::Site;
use mooq_integration_tests::faults::soak::soak;
use mooq_integration_tests::rabbitmq::container::Image;

const USAGE: &str = "Usage: soak [--minutes N] [--seed S] [--threads T] [--memory]

Publishes and consumes numbered messages, on RabbitMQ in a container of MOOQ_RABBITMQ_IMAGE or, with
--memory, on the in-memory broker, while faults strike that the seed chooses: 1 minute with seed 0
unless said otherwise. Prints what became of the messages and calls. Ends with 1 if a message that
was confirmed is lost, a call ended after its deadline, or a message came twice without a reason.

With more than the one thread that it has unless said otherwise, one thread may be held up by other
processes while another measures that none is: on a busy machine calls can seem overdue then.";

struct Arguments {
    lasting: Duration,
    seed: u64,
    threads: usize,
    memory: bool,
}

fn main() -> ExitCode {
    let Some(arguments) = read(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(arguments.threads)
        .enable_all()
        .build()
        .expect("a tokio runtime starts");
    let soaked = runtime.block_on(async {
        let site = match arguments.memory {
            true => Site::memory("soak"),
            false => Site::rabbitmq(&Image::current()).await,
        };
        soak(&site, arguments.lasting, arguments.seed).await
    });
    soaked.print();
    match soaked.is_good() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn read(mut arguments: impl Iterator<Item = String>) -> Option<Arguments> {
    let mut read = Arguments {
        lasting: Duration::from_secs(60),
        seed: 0,
        threads: 1,
        memory: false,
    };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--minutes" => {
                let minutes: u64 = arguments.next()?.parse().ok()?;
                read.lasting = Duration::from_secs(minutes * 60);
            }
            "--seed" => read.seed = arguments.next()?.parse().ok()?,
            "--threads" => read.threads = arguments.next()?.parse().ok().filter(|n| *n > 0)?,
            "--memory" => read.memory = true,
            _ => return None,
        }
    }
    Some(read)
}
