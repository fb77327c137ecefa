//! The command `mooq`: publishes to RabbitMQ, looks into queues, taps exchanges, lists queues.

mod broker;
mod consume;
mod failure;
mod header;
mod management;
mod message;
mod output;
mod publish;
mod queues;
mod tap;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use broker::BrokerArguments;
use failure::{Failure, Result};

const AFTER_HELP: &str = "\
Exit codes:
  0  done; also when an interrupt or a closed output ended a tap
  1  failed: the broker refused something, or the connection was lost
  2  wrong usage
  3  nothing there: a queue or an exchange does not exist, a queue is empty, or a mandatory message
     has reached no queue";

/// Publishes to RabbitMQ, looks into queues, taps exchanges, lists queues
#[derive(Debug, Parser)]
#[command(name = "mooq", version, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    broker: BrokerArguments,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publishes a message, or one for each line of the input, and waits for the confirms
    Publish(Box<publish::Arguments>),
    /// Prints the messages that wait in a queue, one a line, and leaves them there unless told to
    /// take them
    Consume(consume::Arguments),
    /// Prints a copy of each message that passes an exchange from now on, and takes none
    Tap(tap::Arguments),
    /// Lists queues with their numbers of messages and consumers, by the management API
    Queues(queues::Arguments),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(err) => Err(Failure::failed(format!("no runtime starts: {err}"))),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("mooq: {failure}");
            failure.code()
        }
    }
}

async fn run(cli: Cli) -> Result<()> {
    let Cli { broker, command } = cli;
    match command {
        Command::Publish(arguments) => publish::run(&broker, *arguments).await,
        Command::Consume(arguments) => consume::run(&broker, arguments).await,
        Command::Tap(arguments) => tap::run(&broker, arguments).await,
        Command::Queues(arguments) => queues::run(&broker, arguments).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
