//! The command `mooq-broker-ctl`: the library, from a shell.

use std::collections::BTreeSet;
use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::iter;
use std::num::ParseFloatError;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, Args, Command, CommandFactory, Parser, Subcommand, ValueEnum};
use mooq_broker_ctl::{BrokerStatus, ControlError, ControlMethod, MethodError, RabbitMQBroker};

const WRONG_USAGE: u8 = 2;
const TIMED_OUT: u8 = 3;

/// Prefix of the command's own environment variables.
const PREFIX: &str = "MOOQ_BROKER_";

const EXIT_CODES: &str = "\
Exit codes:
  0  done; for status: the broker is running
  1  the operation failed; for status: the broker is not running
  2  wrong usage
  3  the timeout passed";

/// Restarts, stops and watches a RabbitMQ broker. Restart and wait return when it answers an AMQP
/// handshake, stop when it no longer does.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(subcommand)]
    operation: Operation,
}

#[derive(Debug, Args)]
struct BrokerArgs {
    /// Host that the broker listens at
    #[arg(
        long,
        global = true,
        env = "MOOQ_BROKER_HOST",
        default_value = "localhost"
    )]
    host: String,
    /// Port that the broker listens at
    #[arg(long, global = true, env = "MOOQ_BROKER_PORT", default_value_t = 5672)]
    port: u16,
    /// Time limit of the operation, in seconds
    #[arg(long, global = true, env = "MOOQ_BROKER_TIMEOUT", default_value = "60",
          value_name = "SECONDS", value_parser = seconds)]
    timeout: Duration,
}

#[derive(Debug, Subcommand)]
enum Operation {
    /// Restart the broker, or start it if it is stopped
    Restart(ControlArgs),
    /// Stop the broker
    Stop(ControlArgs),
    /// Check if the broker is running
    Status,
    /// Wait until the broker is running
    Wait,
}

#[derive(Debug, Args)]
struct ControlArgs {
    /// Method to control the broker
    #[arg(long, env = "TEST_DISTRIBUTION")]
    method: Option<MethodName>,
    /// The broker's container, for the method docker
    #[arg(
        long,
        env = "MOOQ_BROKER_CONTAINER",
        value_name = "NAME",
        required_if_eq("method", "docker")
    )]
    container: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum MethodName {
    /// systemctl restart rabbitmq.service
    Arch,
    /// service rabbitmq-server restart
    Ubuntu,
    /// docker restart NAME
    Docker,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Cli { broker, operation } = Cli::parse();
    if let Err(message) = check_environment() {
        eprintln!("mooq-broker-ctl: {message}");
        return ExitCode::from(WRONG_USAGE);
    }
    let broker = RabbitMQBroker::new(broker.host, broker.port).timeout(broker.timeout);
    match carry_out(operation, broker).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("mooq-broker-ctl: {}", with_sources(&error));
            exit_code(&error)
        }
    }
}

/// Refuses a variable with the command's prefix that the command does not read: a misspelled name
/// would be ignored in silence.
fn check_environment() -> Result<(), String> {
    let command = Cli::command();
    let commands = iter::once(&command).chain(command.get_subcommands());
    let arguments = commands.flat_map(Command::get_arguments);
    let read: BTreeSet<_> = arguments
        .filter_map(Arg::get_env)
        .map(ToOwned::to_owned)
        .collect();
    let is_own = |name: &OsString| name.to_string_lossy().starts_with(PREFIX);
    let mut names = env::vars_os().map(|(name, _)| name).filter(is_own);
    let Some(unknown) = names.find(|name| !read.contains(name)) else {
        return Ok(());
    };
    let read: Vec<_> = read.iter().filter(|name| is_own(name)).collect();
    Err(format!(
        "{unknown:?} is not a variable of this command; those are {read:?}"
    ))
}

async fn carry_out(operation: Operation, broker: RabbitMQBroker) -> Result<ExitCode, ControlError> {
    let address = broker.address().clone();
    match operation {
        Operation::Restart(control) => {
            broker.method(control.method()?).run().await?;
            println!("RabbitMQ at {address} is running");
        }
        Operation::Stop(control) => {
            broker.method(control.method()?).close().await?;
            println!("RabbitMQ at {address} is stopped");
        }
        Operation::Wait => {
            broker.wait().await?;
            println!("RabbitMQ at {address} is running");
        }
        Operation::Status => match broker.status().await {
            BrokerStatus::Running => println!("RabbitMQ at {address} is running"),
            BrokerStatus::NotRunning(reason) => {
                let reason = with_sources(&reason);
                println!("RabbitMQ at {address} is not running: {reason}");
                return Ok(ExitCode::FAILURE);
            }
        },
    }
    Ok(ExitCode::SUCCESS)
}

impl ControlArgs {
    fn method(self) -> Result<ControlMethod, MethodError> {
        match (self.method, self.container) {
            (Some(MethodName::Arch), _) => Ok(ControlMethod::Arch),
            (Some(MethodName::Ubuntu), _) => Ok(ControlMethod::Ubuntu),
            (Some(MethodName::Docker), Some(container)) => Ok(ControlMethod::docker(container)),
            (Some(MethodName::Docker), None) => Err(MethodError::NoContainer),
            (None, _) => Err(MethodError::Missing),
        }
    }
}

fn exit_code(error: &ControlError) -> ExitCode {
    match error {
        ControlError::Method(_) => ExitCode::from(WRONG_USAGE),
        error if error.is_timeout() => ExitCode::from(TIMED_OUT),
        _ => ExitCode::FAILURE,
    }
}

/// The error and all its causes, on one line.
fn with_sources(error: &(dyn Error + 'static)) -> String {
    iter::successors(Some(error), |&error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse()
        .map_err(|error: ParseFloatError| error.to_string())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
