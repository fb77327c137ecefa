//! Evaluation of Erlang expressions by the RabbitMQ in a container, in milliseconds where
//! rabbitmqctl takes a second.

use std::io::{self, Read, Write};
use std::sync::Arc;

use mooq_conformance::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::OnceCell;

use super::ctl;

/// The port in the container on which the evaluator listens.
pub(super) const EVALUATOR_PORT: u16 = 15699;

/// A process to start in RabbitMQ by rabbitmqctl: it answers each line, an expression, with a line,
/// its value.
const START: &str = r#"
    Test = self(),
    Evaluate = fun(Line) ->
        {ok, Tokens, _} = erl_scan:string(Line),
        {ok, Expressions} = erl_parse:parse_exprs(Tokens),
        {value, Value, _} = erl_eval:exprs(Expressions, []),
        Value
    end,
    spawn(fun() ->
        Options = [{packet, line}, {buffer, 65536}, {active, false}, {reuseaddr, true}],
        {ok, Listening} = gen_tcp:listen(PORT, Options),
        Test ! listening,
        Serve = fun Serve() ->
            {ok, Socket} = gen_tcp:accept(Listening),
            case gen_tcp:recv(Socket, 0) of
                {ok, Line} ->
                    gen_tcp:send(Socket, io_lib:format("~0p~n", [catch Evaluate(Line)]));
                _ -> ok
            end,
            gen_tcp:close(Socket),
            Serve()
        end,
        Serve()
    end),
    receive listening -> ok end."#;

/// An evaluator in a RabbitMQ, started when it is first used.
#[derive(Debug, Clone)]
pub(super) struct Evaluator {
    /// The evaluator's port on this machine.
    port: u16,
    is_started: Arc<OnceCell<()>>,
}

impl Evaluator {
    /// The evaluator behind this port of this machine.
    pub(super) fn behind(port: u16) -> Self {
        Self {
            port,
            is_started: Arc::default(),
        }
    }

    /// The value of an expression, as Erlang prints it, in the RabbitMQ of this container.
    pub(super) async fn evaluate(&self, container: &str, expression: &str) -> String {
        let start = START.replace("PORT", &EVALUATOR_PORT.to_string());
        let start = ["eval", &start];
        let starting = || ctl::rabbitmqctl(container, &start);
        self.is_started.get_or_init(starting).await;
        let value = within("RabbitMQ's value of an expression", async {
            let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await?;
            stream
                .write_all(format!("{expression}\n").as_bytes())
                .await?;
            let mut value = String::new();
            stream.read_to_string(&mut value).await?;
            io::Result::Ok(value)
        });
        let value = value.await.expect("RabbitMQ evaluates");
        value.trim_end().to_owned()
    }

    /// Evaluates an expression where nothing can be awaited. The evaluator must have been used
    /// before.
    pub(super) fn evaluate_now(&self, expression: &str) -> io::Result<()> {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port))?;
        writeln!(stream, "{expression}")?;
        stream.read_to_end(&mut Vec::new())?;
        Ok(())
    }
}
