//! The command `mooq-server`: an in-memory RabbitMQ in a process of its own.

use std::env;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use mooq_memory::{InMemoryBroker, Options, Profile};
use mooq_server::{Listen, Server};

const AFTER_HELP: &str = "\
The first line of the output is the address as JSON, {\"host\":\"127.0.0.1\",\"port\":40123}, and the
second is `Server startup complete`, as in RabbitMQ's log. The server ends on SIGTERM or an
interrupt: its clients are sent 320, CONNECTION_FORCED. Nothing is kept.

Environment:
  RABBITMQ_DEFAULT_USER   the user [default: guest]
  RABBITMQ_DEFAULT_PASS   the user's password [default: guest]
  RABBITMQ_DEFAULT_VHOST  the virtual host [default: /]

Exit codes:
  0  ended by a signal
  1  the server could not start
  2  wrong usage";

/// Time limit for clients to hang up once they are sent the reason.
const GOODBYE: Duration = Duration::from_secs(2);

/// Serves an in-memory RabbitMQ over AMQP 0-9-1, for tests of services in any language
#[derive(Debug, Parser)]
#[command(name = "mooq-server", version, after_help = AFTER_HELP)]
struct Cli {
    /// Port to listen on; 0 stands for any free port
    #[arg(long, default_value_t = 5672)]
    port: u16,
    /// Address to listen on. Every client that reaches it may log in
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,
    /// RabbitMQ version to behave as
    #[arg(long, value_parser = profiles(), default_value_t = Profile::default())]
    profile: Profile,
}

/// Takes the names of versions, and lists them in the help.
fn profiles() -> impl TypedValueParser<Value = Profile> {
    PossibleValuesParser::new(Profile::ALL.map(Profile::name))
        .try_map(|name: String| name.parse::<Profile>())
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    match runtime.and_then(|runtime| runtime.block_on(run(&cli))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mooq-server: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: &Cli) -> io::Result<()> {
    let broker = InMemoryBroker::start_with_options(Options::of(cli.profile));
    set_defaults(&broker)?;
    let address = SocketAddr::new(cli.bind, cli.port);
    let server = broker
        .listen(address)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))?;
    // Before the startup line: a process that reads the line may send the signal at once.
    let mut ending = Ending::listen()?;
    announce(&server)?;
    ending.signal().await;
    let _outage = broker.faults().stop();
    server.drain(GOODBYE).await;
    Ok(())
}

/// Sets the user and the virtual host that the environment names, in place of RabbitMQ's defaults.
fn set_defaults(broker: &InMemoryBroker) -> io::Result<()> {
    let user = env::var("RABBITMQ_DEFAULT_USER");
    let password = env::var("RABBITMQ_DEFAULT_PASS");
    if user.is_ok() || password.is_ok() {
        broker.delete_user("guest");
        let or_guest = |given: Result<String, _>| given.unwrap_or_else(|_| "guest".into());
        broker.add_user(or_guest(user), or_guest(password));
    }
    if let Ok(vhost) = env::var("RABBITMQ_DEFAULT_VHOST")
        && vhost != "/"
    {
        let wrong = |error| {
            let text = format!("RABBITMQ_DEFAULT_VHOST: {error}");
            io::Error::new(io::ErrorKind::InvalidInput, text)
        };
        broker.add_vhost(&vhost).map_err(wrong)?;
        broker.delete_vhost("/").map_err(wrong)?;
    }
    Ok(())
}

fn announce(server: &Server) -> io::Result<()> {
    let address = server.address();
    let mut output = io::stdout().lock();
    // An IP address and a number need no escapes in JSON.
    writeln!(
        output,
        "{{\"host\":\"{}\",\"port\":{}}}",
        address.ip(),
        address.port()
    )?;
    writeln!(output, "Server startup complete")?;
    output.flush()
}

/// The signals that end the server.
#[cfg(unix)]
struct Ending {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Ending {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn signal(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The signal that ends the server.
#[cfg(not(unix))]
struct Ending;

#[cfg(not(unix))]
impl Ending {
    fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    async fn signal(&mut self) {
        // If interrupts cannot be caught, the server runs until it is killed.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
