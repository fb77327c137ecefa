//! The command `mooq-server`: an in-memory RabbitMQ in a process of its own.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs};

use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use mooq_memory::{InMemoryBroker, Options, Profile};
use mooq_server::{Listen, Server};

const AFTER_HELP: &str = "\
The first line of the output is the address as JSON, {\"host\":\"127.0.0.1\",\"port\":40123}, and the
second is `Server startup complete`, as in RabbitMQ's log. The server ends on SIGTERM or an
interrupt: its clients are sent 320, CONNECTION_FORCED. Nothing is kept.

Environment, without --definitions:
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
    /// File with definitions to import, as `rabbitmqctl export_definitions` writes it. They take
    /// the place of the default user and virtual host
    #[arg(long, value_name = "FILE")]
    definitions: Option<PathBuf>,
    /// Port for the management HTTP API, RabbitMQ's 15672; 0 stands for any free port. The API is
    /// off unless a port is given
    #[cfg(feature = "management")]
    #[arg(long, value_name = "PORT")]
    management_port: Option<u16>,
    /// Path of a Unix socket to listen on as well
    #[cfg(unix)]
    #[arg(long, value_name = "PATH")]
    unix: Option<PathBuf>,
    #[cfg(feature = "tls")]
    #[command(flatten)]
    tls: TlsArguments,
}

/// Another socket, for clients that speak TLS.
#[cfg(feature = "tls")]
#[derive(Debug, clap::Args)]
struct TlsArguments {
    /// Port for clients that speak TLS; 0 stands for any free port
    #[arg(long, value_name = "PORT", requires_all = ["certfile", "keyfile"])]
    tls_port: Option<u16>,
    /// PEM file with the server's certificate and those that lead to its authority
    #[arg(long, value_name = "FILE", requires = "tls_port")]
    certfile: Option<PathBuf>,
    /// PEM file with the certificate's private key
    #[arg(long, value_name = "FILE", requires = "tls_port")]
    keyfile: Option<PathBuf>,
    /// PEM file with the authorities of clients' certificates, without which clients are refused
    #[arg(long, value_name = "FILE", requires = "tls_port")]
    cacertfile: Option<PathBuf>,
    /// Serve clients without a certificate as well, as RabbitMQ does with `verify_peer` and without
    /// `fail_if_no_peer_cert`
    #[arg(long, requires = "cacertfile")]
    allow_no_peer_cert: bool,
    /// Offer EXTERNAL: a client logs in as the user that this part of its certificate names, by
    /// RabbitMQ's names for the parts
    #[arg(long, value_name = "PART", requires = "cacertfile", value_parser = certificate_names())]
    ssl_cert_login_from: Option<mooq_server::CertificateName>,
}

/// Takes the names of a certificate's parts, and lists them in the help.
#[cfg(feature = "tls")]
fn certificate_names() -> impl TypedValueParser<Value = mooq_server::CertificateName> {
    use mooq_server::CertificateName;
    PossibleValuesParser::new(CertificateName::ALL.map(CertificateName::as_str))
        .try_map(|name: String| name.parse::<CertificateName>())
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
    match &cli.definitions {
        Some(file) => import(&broker, file)?,
        None => set_defaults(&broker)?,
    }
    let address = SocketAddr::new(cli.bind, cli.port);
    let server = named(address, broker.listen(address).await)?;
    let tls = listen_tls(cli, &broker).await?;
    #[cfg(unix)]
    let unix = match &cli.unix {
        Some(path) => Some(broker.listen_unix(path).await?),
        None => None,
    };
    let management = listen_management(cli, &broker).await?;
    // Before the startup line: a process that reads the line may send the signal at once.
    let mut ending = Ending::listen()?;
    let ports = [
        (
            "tls_port",
            tls.as_ref().map(|server| server.address().port()),
        ),
        ("management_port", management_port(management.as_ref())),
    ];
    announce(server.address(), ports)?;
    ending.signal().await;
    let _outage = broker.faults().stop();
    let tls = async {
        if let Some(tls) = tls {
            tls.drain(GOODBYE).await;
        }
    };
    #[cfg(unix)]
    let unix = async {
        if let Some(unix) = unix {
            unix.drain(GOODBYE).await;
        }
    };
    #[cfg(not(unix))]
    let unix = async {};
    tokio::join!(server.drain(GOODBYE), tls, unix);
    stop_management(management).await;
    Ok(())
}

#[cfg(feature = "tls")]
async fn listen_tls(cli: &Cli, broker: &InMemoryBroker) -> io::Result<Option<Server>> {
    let TlsArguments {
        tls_port: Some(port),
        certfile: Some(certificate),
        keyfile: Some(key),
        cacertfile,
        allow_no_peer_cert,
        ssl_cert_login_from,
    } = &cli.tls
    else {
        return Ok(None);
    };
    let mut tls = mooq_server::ServerTls::new(certificate, key);
    if let Some(ca) = cacertfile {
        tls = match allow_no_peer_cert {
            true => tls.ask_for_client_certificate(ca),
            false => tls.require_client_certificate(ca),
        };
    }
    if let Some(name) = ssl_cert_login_from {
        tls = tls.login_by_certificate(*name);
    }
    let address = SocketAddr::new(cli.bind, *port);
    named(address, broker.listen_tls(address, &tls).await).map(Some)
}

#[cfg(not(feature = "tls"))]
async fn listen_tls(_: &Cli, _: &InMemoryBroker) -> io::Result<Option<Server>> {
    Ok(None)
}

#[cfg(feature = "management")]
type Management = mooq_server::ManagementServer;

/// Stands for a server that is never there.
#[cfg(not(feature = "management"))]
enum Management {}

#[cfg(feature = "management")]
async fn listen_management(cli: &Cli, broker: &InMemoryBroker) -> io::Result<Option<Management>> {
    use mooq_server::ListenManagement;

    let Some(port) = cli.management_port else {
        return Ok(None);
    };
    let address = SocketAddr::new(cli.bind, port);
    named(address, broker.listen_management(address).await).map(Some)
}

#[cfg(not(feature = "management"))]
async fn listen_management(_: &Cli, _: &InMemoryBroker) -> io::Result<Option<Management>> {
    Ok(None)
}

#[cfg(feature = "management")]
fn management_port(management: Option<&Management>) -> Option<u16> {
    management.map(|server| server.address().port())
}

#[cfg(not(feature = "management"))]
fn management_port(_: Option<&Management>) -> Option<u16> {
    None
}

#[cfg(feature = "management")]
async fn stop_management(management: Option<Management>) {
    if let Some(management) = management {
        management.stop().await;
    }
}

#[cfg(not(feature = "management"))]
async fn stop_management(_: Option<Management>) {}

/// Adds the address to an error.
fn named<T>(address: SocketAddr, listening: io::Result<T>) -> io::Result<T> {
    listening.map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))
}

/// Sets the user and the virtual host that the environment names, in place of RabbitMQ's defaults.
fn set_defaults(broker: &InMemoryBroker) -> io::Result<()> {
    let user = env::var("RABBITMQ_DEFAULT_USER");
    let password = env::var("RABBITMQ_DEFAULT_PASS");
    if user.is_ok() || password.is_ok() {
        broker.delete_user("guest");
        let or_guest = |given: Result<String, _>| given.unwrap_or_else(|_| "guest".into());
        let user = or_guest(user);
        broker.add_user(user.as_str(), or_guest(password));
        let tagged = broker.set_user_tags(&user, ["administrator"]);
        tagged.map_err(io::Error::other)?;
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

/// Imports definitions, in place of RabbitMQ's defaults.
fn import(broker: &InMemoryBroker, file: &Path) -> io::Result<()> {
    let wrong = |error: &dyn std::fmt::Display| {
        let text = format!("{}: {error}", file.display());
        io::Error::new(io::ErrorKind::InvalidInput, text)
    };
    let definitions = fs::read_to_string(file).map_err(|error| wrong(&error))?;
    broker.delete_user("guest");
    let cleared = broker.delete_vhost("/");
    let imported = cleared.and_then(|()| broker.import_definitions(&definitions));
    for left_out in imported.map_err(|error| wrong(&error))? {
        eprintln!("mooq-server: not imported: {left_out}");
    }
    Ok(())
}

/// Tells where the broker is, and further ports by name.
fn announce(address: SocketAddr, ports: [(&str, Option<u16>); 2]) -> io::Result<()> {
    let mut output = io::stdout().lock();
    // An IP address and numbers need no escapes in JSON.
    write!(
        output,
        "{{\"host\":\"{}\",\"port\":{}",
        address.ip(),
        address.port()
    )?;
    for (name, port) in ports {
        if let Some(port) = port {
            write!(output, ",\"{name}\":{port}")?;
        }
    }
    writeln!(output, "}}")?;
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
