//! The cases in which one fault strikes a workload once.

use std::time::Duration;

use futures_util::future::BoxFuture;
use mooq::{ErrorKind, Event};
use tokio::time::Instant;

use super::channel_errors::channels_closed_403_404_405_406;
use super::cluster::cluster_leader_killed;
use super::endurance::{
    futures_dropped_at_random, handles_dropped_without_closing,
    thousands_of_channels_closed_by_the_broker,
};
use super::queue_deletion::queue_deleted_under_its_consumers;
use super::site::{Fault, Site};
use super::workload::{Plan, Workload};
use mooq_conformance::expect::LIMIT;

/// The deadline of every call, so short that some are over before a fault is.
pub(super) const DEADLINE: Duration = Duration::from_secs(3);

/// The deadline where no call is to end by it.
pub(super) const PATIENCE: Duration = LIMIT;

/// So long that no connection is given up because the machine is busy.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// Short, so that a broker that freezes is given up soon.
const SHORT_HEARTBEAT: Duration = Duration::from_secs(2);

/// How many attempts of a connection to come back may fail once the broker answers: one that had
/// begun before, and one that failed before and is told late.
pub(super) const LATE_FAILURES: usize = 2;

/// How long a fault may take to be felt, and to be over. Reached only if it never is.
const FELT: Duration = LIMIT;

/// How many publishes may fail or go through before a fault counts as felt.
const SOME: u64 = 20;

/// A case: its name, and what it does on a broker. It fails by panicking.
#[derive(Clone, Copy)]
pub struct Case {
    /// Its name, which says what goes wrong.
    pub name: &'static str,
    /// The brokers that it can be tried on.
    pub on: On,
    /// What it does.
    pub run: for<'a> fn(&'a Site, &'static str) -> BoxFuture<'a, ()>,
}

/// The brokers that a case can be tried on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// In memory and RabbitMQ.
    Both,
    /// RabbitMQ alone: its fault is none that the in-memory broker knows.
    RabbitMq,
}

/// Every case.
#[must_use]
pub fn all() -> Vec<Case> {
    macro_rules! cases {
        ($($name:ident: $fault:ident,)+) => { vec![$(Case {
            name: stringify!($name),
            on: On::Both,
            run: |site, name| Box::pin(survives(site, name, Fault::$fault)),
        }),+] };
    }
    let mut all = cases! {
        killed: Killed,
        stopped_and_started: Stopped,
        paused: Paused,
        network_cut: NetworkCut,
        network_frozen: NetworkFrozen,
        network_slow: NetworkSlow,
        connections_closed_by_rabbitmqctl: ConnectionsClosed,
        memory_alarm: MemoryAlarm,
        disk_alarm: DiskAlarm,
        password_changed_and_changed_back: PasswordChanged,
    };
    all.extend([
        Case {
            name: "channels_closed_403_404_405_406",
            on: On::Both,
            run: |site, name| Box::pin(channels_closed_403_404_405_406(site, name)),
        },
        Case {
            name: "queue_deleted_under_its_consumers",
            on: On::Both,
            run: |site, name| Box::pin(queue_deleted_under_its_consumers(site, name)),
        },
        Case {
            name: "thousands_of_channels_closed_by_the_broker",
            on: On::Both,
            run: |site, name| Box::pin(thousands_of_channels_closed_by_the_broker(site, name)),
        },
        Case {
            name: "futures_dropped_at_random",
            on: On::Both,
            run: |site, name| Box::pin(futures_dropped_at_random(site, name)),
        },
        Case {
            name: "handles_dropped_without_closing",
            on: On::Both,
            run: |site, name| Box::pin(handles_dropped_without_closing(site, name)),
        },
        Case {
            name: "cluster_leader_killed",
            on: On::RabbitMq,
            run: |_, name| Box::pin(cluster_leader_killed(name)),
        },
    ]);
    all
}

/// A workload on `site` that flows.
pub(super) async fn flowing(site: &Site, name: &str) -> Workload {
    flowing_with(site, name, HEARTBEAT, PATIENCE).await
}

/// One with this heartbeat, whose calls have this deadline.
async fn flowing_with(
    site: &Site,
    name: &str,
    heartbeat: Duration,
    deadline: Duration,
) -> Workload {
    let options = site.options().heartbeat(heartbeat);
    let workload = Workload::begin(Plan::new(name, options, deadline)).await;
    workload.flows().await.expect("the workload is at work");
    workload
}

/// Ends a workload that flows, says what came of it, and asserts what always must hold.
pub(super) async fn ends_well(workload: Workload, name: &str, site: &Site) {
    workload.flows().await.expect("the workload is at work");
    let verdict = workload.finish().await;
    println!("{} on {}: {verdict}", name, site.kind());
    verdict.assert();
}

async fn survives(site: &Site, name: &str, fault: Fault) {
    let heartbeat = match fault {
        Fault::Paused | Fault::NetworkFrozen => SHORT_HEARTBEAT,
        _ => HEARTBEAT,
    };
    let workload = flowing_with(site, name, heartbeat, DEADLINE).await;
    let mark = workload.journal().mark();
    let struck = site.strike(fault).await;
    let lost = felt(&workload, mark, fault, site).await;

    let mending = Instant::now();
    // Confirms come between the faults that interrupt nothing, and again when the others end.
    let begin = lost.filter(|_| fault == Fault::ConnectionsClosed);
    let first = workload
        .record()
        .first_confirm(begin.unwrap_or(mending), FELT);
    let (answering, confirmed) = tokio::join!(struck.mend(), first);
    let confirmed = confirmed.expect("publishes are confirmed again");
    let answering = begin.unwrap_or(answering);
    let took = confirmed.saturating_duration_since(answering);
    println!("{name} on {}: first confirm after {took:?}", site.kind());
    // How long that is depends on the machine, and how many attempts it takes does not.
    comes_back_at_once(&workload, answering, confirmed, LATE_FAILURES);

    ends_well(workload, name, site).await;
}

/// Asserts that a broker which answers is found by the next attempt: between its first answer and
/// the first confirm hardly any fails. The waits between attempts are the client's own, half a
/// second at most.
pub(super) fn comes_back_at_once(
    workload: &Workload,
    answering: Instant,
    confirmed: Instant,
    most_failures: usize,
) {
    let journal = workload.journal().since(0);
    for of in ["publishing", "consuming"] {
        let late = journal.iter().filter(|entry| {
            entry.of == of
                && matches!(entry.event, Event::AttemptFailed(_))
                && (answering..confirmed).contains(&entry.at)
        });
        let late: Vec<_> = late.collect();
        assert!(late.len() <= most_failures, "the broker answers: {late:?}");
    }
}

/// Waits until `fault` is felt. If connections are lost by it, the time when the last was.
async fn felt(workload: &Workload, mark: usize, fault: Fault, site: &Site) -> Option<Instant> {
    match fault {
        Fault::Killed | Fault::Stopped | Fault::NetworkCut | Fault::ConnectionsClosed => {
            Some(lost(workload, mark).await)
        }
        // Only RabbitMQ has heartbeats that can fail to come.
        Fault::Paused | Fault::NetworkFrozen if site.is_rabbitmq() => {
            Some(lost(workload, mark).await)
        }
        Fault::Paused | Fault::NetworkFrozen | Fault::MemoryAlarm | Fault::DiskAlarm => {
            more(workload, |counts| counts.unknown).await;
            None
        }
        Fault::NetworkSlow => {
            more(workload, |counts| counts.confirmed).await;
            None
        }
        Fault::PasswordChanged => {
            let at = lost(workload, mark).await;
            let refused = workload.journal().first(mark, FELT, |entry| {
                matches!(&entry.event, Event::AttemptFailed(err)
                    if err.kind() == ErrorKind::AuthenticationFailed)
            });
            refused.await.expect("the old password is refused");
            Some(at)
        }
    }
}

/// Waits until both connections are lost, and says when.
async fn lost(workload: &Workload, mark: usize) -> Instant {
    let mut last = None;
    for of in ["publishing", "consuming"] {
        let lost = workload.journal().first(mark, FELT, |entry| {
            entry.of == of && matches!(entry.event, Event::Lost(_))
        });
        let lost = lost
            .await
            .unwrap_or_else(|| panic!("the {of} connection is lost"));
        last = last.max(Some(lost.at));
    }
    last.expect("there are two")
}

/// Waits until a count has grown.
async fn more(workload: &Workload, count: impl Fn(&super::record::Counts) -> u64) {
    let before = count(&workload.record().counts());
    let grown = workload
        .record()
        .until(FELT, |counts| count(counts) >= before + SOME);
    grown.await.expect("the fault is felt");
}
